//! What existing action images and templates may rely on, with real containers.
//!
//! Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Success, Timeout};
use server::{action, message};

fn host_pid() -> Option<proto::Namespaces> {
    Some(proto::Namespaces { pid: Some("host".into()), network: None })
}

fn sh(image: &str, id: &str, script: &str) -> ActionResponse {
    ActionResponse { command: vec!["/bin/sh".into(), "-c".into(), script.into()], ..action(id, image) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_images_user_directory_and_names_are_honoured() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let entries = [
        ("etc/", ""),
        ("etc/passwd", "build:x:1000:100::/home/build:/bin/sh\n"),
        ("etc/group", "users:x:100:\ndisk:x:6:build\n"),
        ("etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf", ""),
    ];
    let image = lab.image("user", r#"{"User":"build","WorkingDir":"/srv/work"}"#, &entries);
    // For a user other than root, devices are present and capabilities are removed.
    let script = "id; pwd; echo $HOME; grep CapEff /proc/self/status; ls /dev/null /dev/pts/ptmx; cat /etc/hosts";
    let report = lab.run(sh(&image, "user", script)).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    for line in ["uid=1000(build) gid=100(users) groups=6(disk)", "/srv/work", "/home/build", "CapEff:\t0000000000000000"] {
        let line = line.replace('\t', " ");
        assert!(lab.text().contains(&format!("A| {line}")), "{line:?} is missing in\n{}", lab.text());
    }
    // As with Docker, the name files belong to the container.
    let before = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let root = lab.image("root", "{}", &entries);
    let script = "echo nameserver 192.0.2.1 > /etc/resolv.conf && echo 192.0.2.2 x >> /etc/hosts && grep 192 /etc/resolv.conf";
    let report = lab.run(sh(&root, "root", script)).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert_eq!(std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_volumes_belong_to_a_workflow_and_wrong_options_are_named() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let with = |wire: ActionResponse, volume: &str| ActionResponse { volumes: vec![volume.into()], ..wire };
    let report = lab.run(with(lab.shell("write", "echo kept > /data/file"), "shared:/data:nocopy,z")).await;
    assert_eq!(report.action_state(), Success, "{}", lab.text());
    assert_eq!(lab.run(with(lab.shell("read", "cat /data/file"), "shared:/data:ro")).await.action_state(), Success);
    let other = ActionResponse { workflow_id: Some("default/other".into()), ..lab.shell("other", "cat /data/file") };
    assert_eq!(lab.run(with(other, "shared:/data")).await.action_state(), Failed, "another workflow sees nothing of it");

    let report = lab.run(with(lab.shell("wrong", "true"), "/tmp:/x:ro,sparkling")).await;
    assert!(message(&report).contains("sparkling"), "{}", message(&report));

    let missing = format!("{}/made/here", lab.state.path().display());
    let report = lab.run(with(lab.shell("missing", "echo there > /m/file"), &format!("{missing}:/m"))).await;
    assert_eq!(report.action_state(), Success, "{}", message(&report));
    assert_eq!(std::fs::read_to_string(format!("{missing}/file")).unwrap(), "there\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_made_in_a_shared_volume_stays_for_the_next_action_and_others_go() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let volume = |options: &str| vec![format!("{}/mnt:/mnt{options}", lab.state.path().display())];
    let mount = |id: &str| lab.shell(id, "mount -t tmpfs none /mnt && echo kept > /mnt/file");
    let see = |id: &str| lab.shell(id, "cat /mnt/file");
    for (options, want) in [(":rprivate", Failed), (":rshared", Success)] {
        let report = lab.run(ActionResponse { volumes: volume(options), ..mount(&format!("mount{options}")) }).await;
        assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
        let report = lab.run(ActionResponse { volumes: volume(""), ..see(&format!("see{options}")) }).await;
        assert_eq!(report.action_state(), want, "{options}: {}\n{}", message(&report), lab.text());
    }
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_sends_the_images_signal_and_also_ends_stopped_processes() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let image = lab.image("quit", r#"{"StopSignal":"SIGQUIT"}"#, &[]);
    let script = "trap 'echo got quit; exit 0' QUIT; trap '' TERM; sleep 1000 & wait";
    // This is long enough for a busy machine to reach the trap.
    let report = lab.run(ActionResponse { timeout: Some(4), ..sh(&image, "quit", script) }).await;
    assert_eq!(report.action_state(), Timeout);
    assert!(message(&report).contains("got quit"), "{}", message(&report));

    let stopped = ActionResponse { timeout: Some(1), namespaces: host_pid(), ..lab.shell("stopped", "kill -STOP $$") };
    assert_eq!(lab.run(stopped).await.action_state(), Timeout, "{}", lab.text());
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_says_why_it_failed_in_tinkerbells_files() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let script = "echo DiskNotFound > /tinkerbell/failure-reason; echo no /dev/sdx > /tinkerbell/failure-message; exit 4";
    let report = lab.run(lab.shell("says", script)).await;
    assert!(message(&report).starts_with("DiskNotFound: no /dev/sdx (exit code 4); try: "), "{}", message(&report));
}

const CONFINED: &str = "THIMBLE_PRIVILEGED=false";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unprivileged_action_can_work_but_not_reach_the_machine() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let script = r#"
        set -e
        echo works > /tmp/file && cat /tmp/file && ls / | wc -l
        grep -E 'NoNewPrivs|Seccomp:' /proc/self/status
        refused() { if "$@" 2>/tmp/why; then echo "allowed: $*"; exit 1; fi; echo "refused: $1"; }
        refused mount -t tmpfs none /mnt
        refused umount /proc
        refused mknod /tmp/disk b 8 0
        refused sh -c 'echo 1 > /proc/sys/kernel/sysrq'
        refused sh -c 'echo b > /proc/sysrq-trigger'
        refused sh -c 'echo x > /sys/kernel/uevent_helper'
        refused sh -c 'ls /dev | grep -E "^(sd|vd|nvme|loop|kmsg|mem)"'
        refused sh -c 'head -c 1 /proc/kcore | grep .'
        refused /bin/busybox unshare -m true
        if env | grep THIMBLE; then exit 1; fi
    "#;
    let entries = [("tmp/", ""), ("mnt/", ""), ("bin/sh2 -> busybox", "")];
    let image = lab.image("confined", "{}", &entries);
    let report = lab.run(ActionResponse { environment: vec![CONFINED.into()], ..sh(&image, "confined", script) }).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    for line in ["A| works", "NoNewPrivs: 1", "Seccomp: 2", "refused: mount", "refused: umount", "refused: mknod"] {
        assert!(lab.text().contains(line), "{line} is missing in\n{}", lab.text());
    }
    // The same as a privileged action: the refusals above come from the agent, not from the sandbox of this test.
    let report = lab.run(sh(&image, "privileged", "mount -t tmpfs none /mnt && grep 'NoNewPrivs:.0' /proc/self/status")).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());

    let read_only = vec!["THIMBLE_READ_ONLY=true".into(), CONFINED.into()];
    let report = lab.run(ActionResponse { environment: read_only, ..sh(&image, "read-only", "! touch /tmp/x") }).await;
    assert_eq!(report.action_state(), Success, "{}", message(&report));
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unprivileged_action_cannot_harm_the_machines_network() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let script = r#"
        refused() { "$@" 2>/tmp/why; cat /tmp/why; grep -qE "ermission denied|not permitted" /tmp/why || { echo "allowed: $*"; exit 1; }; }
        grep -E "CapEff|CapBnd" /proc/self/status
        refused /bin/busybox arping -c 1 -I lo 127.0.0.1
        refused sh -c "/bin/busybox nc -l -p 67 & sleep 1"
        refused /bin/busybox udhcpc -i lo -n -q -t 1 -s /bin/true
        refused /bin/busybox ip addr add 192.0.2.1/32 dev lo
        refused /bin/busybox ip link set lo down
    "#;
    let entries = [("tmp/", "")];
    let image = lab.image("network", "{}", &entries);
    let run = |id: &str, wish: &str, script: &str| {
        let environment = [CONFINED, wish].into_iter().filter(|word| !word.is_empty()).map(str::to_owned).collect();
        lab.run(ActionResponse { environment, ..sh(&image, id, script) })
    };
    let report = run("harmless", "THIMBLE_NETWORK=host", script).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert!(lab.text().contains("00000000a00401fb"), "neither NET_RAW nor NET_BIND_SERVICE nor NET_ADMIN: {}", lab.text());

    // It reaches a server if it asks for the network. Here that is the agent's, to which it could speak as the agent.
    let reach = format!("/bin/busybox nc -w 2 127.0.0.1 {} </dev/null", lab.server.address.port());
    assert_eq!(run("reaches", "THIMBLE_NETWORK=host", &reach).await.action_state(), Success, "{}", lab.text());
    let apart = format!("! {reach} && test $(grep -c : /proc/net/dev) = 1");
    assert!(!lab.text().contains("has no network"), "{}", lab.text());
    assert_eq!(run("silent", "", &apart).await.action_state(), Success, "{}", lab.text());
    assert!(lab.text().contains("has no network, because it is unprivileged; THIMBLE_NETWORK=host gives it"), "{}", lab.text());
    assert_eq!(run("apart", "THIMBLE_NETWORK=none", &apart).await.action_state(), Success, "{}", lab.text());

    let low = "/bin/busybox nc -l -p 67 2>/tmp/why & sleep 1; ! grep -i denied /tmp/why";
    assert_eq!(run("low", "THIMBLE_LOW_PORTS=true", low).await.action_state(), Success, "{}", lab.text());
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_takes_the_machines_network_away() {
    let lab = Lab::new().await;
    let _agent = lab.agent_with_policy(r#"{"network":"none"}"#);
    let report = lab.run(lab.shell("privileged", "true")).await;
    assert!(message(&report).starts_with("Policy: this machine does not give its network to actions"), "{}", message(&report));
    let confined = |id: &str, script: &str| ActionResponse { environment: vec![CONFINED.into()], ..lab.shell(id, script) };
    let host = proto::Namespaces { network: Some("host".into()), pid: None };
    let report = lab.run(ActionResponse { namespaces: Some(host), ..confined("asks", "true") }).await;
    assert!(message(&report).starts_with("Policy: "), "{}", message(&report));
    let reach = format!("/bin/busybox nc -w 2 127.0.0.1 {} </dev/null", lab.server.address.port());
    let report = lab.run(confined("silent", &format!("! {reach} && test $(grep -c : /proc/net/dev) = 1"))).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    let none = proto::Namespaces { network: Some("none".into()), pid: None };
    let report = lab.run(ActionResponse { namespaces: Some(none), ..lab.shell("privileged-none", &format!("! {reach}")) }).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_cannot_be_fulfilled_is_refused_by_name() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    for (wish, want) in [("THIMBLE_PRIVILEGED=flase", "flase"), ("THIMBLE_MEMORY=lots", "THIMBLE_MEMORY")] {
        let report = lab.run(ActionResponse { environment: vec![wish.into()], ..lab.shell(want, "true") }).await;
        assert!(message(&report).starts_with("CouldNotStart: ") && message(&report).contains(want), "{}", message(&report));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_policy_refuses_with_its_reason() {
    let lab = Lab::new().await;
    let _agent = lab.agent_with_policy(r#"{"requireUnprivileged":true}"#);
    let report = lab.run(lab.shell("privileged", "true")).await;
    assert!(message(&report).starts_with("Policy: this machine runs unprivileged actions only"), "{}", message(&report));
    let confined = |id: &str, script: &str| ActionResponse { environment: vec![CONFINED.into()], ..lab.shell(id, script) };
    let report = lab.run(confined("confined", "true")).await;
    assert_eq!(report.action_state(), Success, "{}", message(&report));
    let binds = ["/:/host", "/dev:/dev", "/worker:/worker", SOCKET, "./x:/x", "..:/x", "data:/x:rshared"];
    for (number, bind) in binds.into_iter().enumerate() {
        let report = lab.run(ActionResponse { volumes: vec![bind.into()], ..confined(&format!("bind{number}"), "true") }).await;
        assert!(message(&report).starts_with("Policy: "), "{bind}: {}", message(&report));
    }
    let report = lab.run(ActionResponse { namespaces: host_pid(), ..confined("pid", "true") }).await;
    assert!(message(&report).starts_with("Policy: "), "{}", message(&report));
    // A volume that only has the socket's name does not cause a reboot.
    let named = ActionResponse { volumes: vec!["/run/docker.sock".into()], ..confined("named", "test -d /run/docker.sock") };
    let report = lab.run(named).await;
    assert_eq!(report.action_state(), Success, "{}", message(&report));
    assert_eq!(lab.registry.requests("/blobs/"), 2, "a refused image is not pulled");
}

const SOCKET: &str = "/var/run/docker.sock:/var/run/docker.sock";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_reboot_through_dockers_socket_is_a_power_step() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    let report = lab.run(ActionResponse { volumes: vec![SOCKET.into()], ..lab.shell("ps", "docker ps") }).await;
    assert!(message(&report).contains("this machine has no Docker"), "{}", message(&report));

    // The background command runs after the success is acknowledged, and does not see the socket.
    let environment = vec![format!("IMAGE={}", lab.image), "WAIT_SECONDS=10".into()];
    let socket = || vec![SOCKET.into()];
    let later = lab.shell("later", "echo ran later; test ! -e /var/run/docker.sock");
    let report = lab.run(ActionResponse { volumes: socket(), environment: environment.clone(), ..later }).await;
    assert_eq!(report.action_state(), Success, "{}", message(&report));
    let missing = vec![format!("IMAGE={}", lab.image.replace("busybox", "none"))];
    let report = lab.run(ActionResponse { volumes: socket(), environment: missing, ..action("missing", &lab.image) }).await;
    assert!(message(&report).starts_with("ImageNotFound: "), "{}", message(&report));
    assert!(lab.text().contains("A| ran later") && lab.text().contains("later (deferred): SUCCESS"), "{}", lab.text());

    lab.server.push(ActionResponse { volumes: socket(), environment, command: vec!["reboot".into()], ..action("reboot", "x") });
    let status = tokio::time::timeout(std::time::Duration::from_secs(60), agent.wait()).await.expect("a reboot").unwrap();
    assert_eq!(status.code(), Some(80), "{}", lab.text());
    assert_eq!(lab.server.states().last(), Some(&Success));
    assert!(lab.text().contains("it asks Docker's socket for a reboot"), "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_tried_again_as_often_as_its_template_asks() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let retrying = |id: &str, script: &str| ActionResponse {
        environment: vec!["THIMBLE_RETRIES=2".into()],
        volumes: vec!["count:/count".into()],
        ..lab.shell(id, script)
    };
    let report = lab.run(retrying("third", "echo x >> /count/third; test $(wc -l < /count/third) = 3")).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    let report = lab.run(retrying("never", "exit 5")).await;
    assert!(message(&report).starts_with("NonZeroExit: exit code 5"), "{}", message(&report));
    let reports = lab.server.shared.script.lock().unwrap().reports.clone();
    let said: Vec<&str> = reports.iter().map(message).filter(|text| text.contains(", attempt ")).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said[3].starts_with("running action, attempt 3 of 3: the previous one failed: NonZeroExit: exit code 5"),
        "{}",
        said[3]
    );
}

/// A shell that ignores TERM, and its child.
const STUBBORN: &str = "trap 'echo got TERM' TERM; echo at work; while true; do sleep 1000 & wait; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_the_server_cancels_gets_term_then_is_killed_and_reported() {
    let lab = Lab::new().await;
    lab.server.shared.script.lock().unwrap().offers_watch = true;
    let _agent = lab.agent();
    lab.server.push(ActionResponse { timeout: Some(0), ..lab.shell("cancelled", STUBBORN) });
    lab.until("the trap", || lab.text().contains("A| at work")).await;
    lab.server.stop_action("wrong machine");
    let report = lab.ended("cancelled").await;
    assert_eq!(report.action_state(), Failed, "{}", lab.text());
    let text = message(&report);
    assert!(text.starts_with("Cancelled: wrong machine; try: ") && text.contains("got TERM"), "{text}");
    lab.assert_clean();
    lab.server.shared.script.lock().unwrap().stop = None;
    assert_eq!(lab.run(lab.shell("next", "true")).await.action_state(), Success, "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_the_server_cancels_ends_and_leaves_nothing() {
    let lab = Lab::new().await;
    lab.server.shared.script.lock().unwrap().offers_watch = true;
    let _agent = lab.agent();
    let slow = [("slow", "layer")];
    let image = lab.image("slow", "{}", &slow);
    let blob = registry::digest(&registry::tar(&slow));
    lab.registry.trouble(&blob, &[registry::Trouble::Dribble; 9]);
    lab.server.push(ActionResponse { timeout: Some(0), ..sh(&image, "pulling", "true") });
    lab.until("the layer", || lab.registry.requests(&blob) > 0).await;
    lab.server.stop_action("wrong machine");
    let report = lab.ended("pulling").await;
    assert!(message(&report).starts_with("Cancelled: wrong machine"), "{}\n{}", message(&report), lab.text());
    // The folder is removed with the thread that may still be writing to it.
    let images = lab.state.path().join("thimble/images");
    lab.until("an empty store", || std::fs::read_dir(&images).unwrap().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_cancel_gets_no_watch_call() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    assert_eq!(lab.run(lab.shell("foreign", "true")).await.action_state(), Success, "{}", lab.text());
    let script = lab.server.shared.script.lock().unwrap();
    assert_eq!((script.watches, script.reports.len()), (0, 2), "only the action's two reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_of_an_embedded_image_runs_without_any_registry() {
    let lab = Lab::new().await;
    let images = tempfile::tempdir().unwrap();
    let busybox = lab::busybox_layer(&std::fs::read("/bin/busybox").unwrap());
    let name = "127.0.0.1:1/actions/busybox:v1";
    registry::embed(images.path(), name, &[(registry::GZIP, busybox)], r#"{"config":{"Env":["FROM=ramdisk"]}}"#);
    let _agent = lab.agent_with(&[("THIMBLE_IMAGES", images.path().to_str().unwrap())]);
    let report = lab.run(sh(name, "embedded", "echo from $FROM")).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert!(lab.text().contains("A| from ramdisk"), "{}", lab.text());
    assert_eq!(lab.registry.requests("/"), 0);
}
