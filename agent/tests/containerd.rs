//! The agent on an ordinary host, with actions as tasks of a real containerd (Debian's package). The contract is the same
//! as with the agent's runtime, as far as runc supports it.
//!
//! The test starts containerd in the agent's mount namespace, with a separate root, state and socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::process::Stdio;
use std::time::Duration;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Success, Timeout};
use server::{action, message};
use tokio::process::{Child, Command};

/// A separate host: PIDs, mounts, cgroup2 in its place, containerd. Then the agent, which is restarted whenever it is
/// killed.
const HOST: &str = r#"
set -e
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$STATE" /run
mkdir -p /worker /run/containerd
mount --bind "$STATE/worker" /worker
cat > /run/containerd.toml <<EOF
version = 2
root = "/run/containerd-root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/containerd/containerd.sock"
EOF
while :; do containerd --config /run/containerd.toml 2>>/run/containerd.log || true; done &
tries=0
until ctr version >/dev/null 2>&1; do
  tries=$((tries + 1)); [ $tries -lt 300 ] || { cat /run/containerd.log; exit 9; }
  sleep 0.1
done
code=137
while [ $code = 137 ]; do code=0; "$AGENT" run -runtime containerd || code=$?; done
exit $code
"#;

/// The test installs nothing, because another containerd may be in use, for instance Docker's.
fn check_installed() {
    let found = std::process::Command::new("containerd").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok_and(|status| status.success()), "containerd is not installed; `cargo lab prepare` does it");
}

fn host(lab: &Lab) -> Child {
    check_installed();
    let log = || std::fs::File::options().create(true).append(true).open(lab.log()).unwrap();
    Command::new("unshare")
        .args(["-m", "-p", "-f", "--kill-child", "--mount-proc", "--propagation", "private", "sh", "-c", HOST])
        .env("STATE", lab.state.path())
        .env("AGENT", std::env::var("AGENT_UNDER_TEST").unwrap_or_else(|_| env!("CARGO_BIN_EXE_agent").to_owned()))
        .env("WORKER_ID", "02:00:00:00:00:01")
        .env("TINKERBELL_GRPC_AUTHORITY", lab.server.address.to_string())
        .stdout(Stdio::from(log()))
        .stderr(Stdio::from(log()))
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The output of `ctr`, called from outside through the same socket.
async fn ctr(lab: &Lab, args: &[&str]) -> String {
    let socket = lab.state.path().join("containerd/containerd.sock");
    let output = Command::new("ctr").arg("-a").arg(socket).args(["-n", "tinkerbell"]).args(args).output().await.unwrap();
    assert!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn assert_clean(lab: &Lab) {
    lab.assert_clean();
    assert_eq!(ctr(lab, &["containers", "ls", "-q"]).await, "", "containers left");
    assert_eq!(ctr(lab, &["tasks", "ls", "-q"]).await, "", "tasks left");
}

async fn until(lab: &Lab, text: &str) {
    let seen = async {
        while !lab.text().contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap_or_else(|_| panic!("no {text:?} in\n{}", lab.text()));
}

fn pid_of_the_host() -> Option<proto::Namespaces> {
    Some(proto::Namespaces { pid: Some("host".into()), network: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_run_and_their_results_differ() {
    let lab = Lab::new().await;
    let _host = host(&lab);

    let script = "echo to stdout; echo to stderr >&2; echo $FROM $MINE $PATH; yes | head -n 1; ls /dev/null /dev/pts/ptmx";
    let report = lab.run(ActionResponse { environment: vec!["MINE=action".into()], ..lab.shell("ok", script) }).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    let wanted =
        ["A| to stdout", "A| to stderr", "A| image action /usr/local/sbin", "A| y", "A| /dev/pts/ptmx", "action ok: SUCCESS in "];
    for line in wanted {
        assert!(lab.text().contains(line), "{line} is missing in\n{}", lab.text());
    }

    let report = lab.run(lab.shell("seven", "echo last words; exit 7")).await;
    assert_eq!(report.action_state(), Failed);
    let text = message(&report);
    assert!(text.starts_with("NonZeroExit: exit code 7; try: ") && text.ends_with("\nlast output:\nlast words"), "{text}");

    let missing = ActionResponse { command: vec!["/no/such/program".into()], ..action("missing", &lab.image) };
    let text = message(&lab.run(missing).await).to_owned();
    assert!(text.starts_with("CouldNotStart: ") && text.contains("/no/such/program"), "{text}");

    let said = "echo DiskNotFound > /tinkerbell/failure-reason; exit 1";
    let text = message(&lab.run(lab.shell("said", said)).await).to_owned();
    assert!(text.starts_with("DiskNotFound: "), "{text}");

    let killed = ActionResponse { namespaces: pid_of_the_host(), ..lab.shell("killed", "kill -9 $$") };
    let report = lab.run(killed).await;
    assert!(message(&report).starts_with("NonZeroExit: exit code 137 (SIGKILL)"), "{}", message(&report));
    assert_clean(&lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_keeps_its_entrypoint_and_volumes_are_bound() {
    let lab = Lab::new().await;
    let mut host = host(&lab);
    let image = lab.image("entry", r#"{"Entrypoint":["/bin/sh","-c"],"Cmd":["exit 9"],"WorkingDir":"/made"}"#, &[]);
    let run = |id: &str, command: &str, volume: &str| ActionResponse {
        command: vec![command.into()],
        volumes: vec![volume.into(), "/dev:/dev".into()],
        ..action(id, &image)
    };
    let report = lab.run(run("write", "stat -c %n . && echo kept > /data/file && touch /dev/shm/x", "shared:/data")).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    let report = lab.run(run("read", "cat /data/file && ! touch /data/no", "shared:/data:ro")).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert!(lab.text().contains("A| kept"), "{}", lab.text());
    let ptmx = std::fs::metadata("/dev/ptmx").unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&ptmx.file_type()), "the host's devices were changed");

    lab.server.push(ActionResponse { volumes: vec!["/worker:/worker".into()], ..lab.shell("reboot", "touch /worker/reboot") });
    let status = tokio::time::timeout(Duration::from_secs(60), host.wait()).await.expect("a reboot").unwrap();
    assert_eq!(status.code(), Some(80), "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_ends_at_its_timeout_with_everything_it_started() {
    let lab = Lab::new().await;
    let _host = host(&lab);
    let stubborn = ActionResponse {
        timeout: Some(1),
        namespaces: pid_of_the_host(),
        ..lab.shell("stubborn", "trap '' TERM; echo here; sleep 1000 & while true; do sleep 1000; done")
    };
    let report = lab.run(stubborn).await;
    assert_eq!(report.action_state(), Timeout, "{}", lab.text());
    let text = message(&report);
    assert!(text.starts_with("Timeout: still running after 1 s; try: ") && text.ends_with("\nlast output:\nhere"), "{text}");
    let polite = ActionResponse { timeout: Some(1), ..lab.shell("polite", "trap 'exit 0' TERM; sleep 1000 & wait") };
    assert_eq!(lab.run(polite).await.action_state(), Timeout);
    let background = ActionResponse { namespaces: pid_of_the_host(), ..lab.shell("background", "sleep 1000 & echo started") };
    assert_eq!(lab.run(background).await.action_state(), Success, "{}", lab.text());
    assert_clean(&lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unprivileged_action_cannot_act_on_the_machine() {
    let lab = Lab::new().await;
    let _host = host(&lab);
    let script = "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; echo x > /dev/null && ! ls /dev/vda 2>/dev/null
        for try in 'mount -t tmpfs none /bin' 'umount /proc' 'mknod /x b 7 0'; do $try 2>/dev/null || echo refused: $try; done";
    let confined = ActionResponse { environment: vec!["THIMBLE_PRIVILEGED=false".into()], ..lab.shell("confined", script) };
    let report = lab.run(confined).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    for line in ["refused: mount", "refused: umount", "refused: mknod", "NoNewPrivs:", "Seccomp:"] {
        assert!(lab.text().contains(&format!("A| {line}")), "{line} is missing in\n{}", lab.text());
    }
    let report = lab.run(lab.shell("privileged", "mount -t tmpfs none /bin && umount /proc")).await;
    assert_eq!(report.action_state(), Success, "the refusals come from the agent: {}\n{}", message(&report), lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_containerd_loses_no_action_and_a_restarted_agent_no_process() {
    let lab = Lab::new().await;
    let mut host = host(&lab);
    // The action itself ends the daemon, which it sees because it has the host's PIDs: often before it says that the action runs.
    let script =
        "echo begun; kill $(grep -lx 'Name:.containerd' /proc/[0-9]*/status | head -n 1 | grep -oE '[0-9]+'); sleep 2; echo done";
    let restart = ActionResponse { namespaces: pid_of_the_host(), ..lab.shell("restart", script) };
    let report = lab.run(restart).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert!(lab.text().contains("A| done"), "{}", lab.text());
    assert_eq!(lab.text().matches("A| begun").count(), 1, "it runs once: {}", lab.text());
    assert!(
        lab.text().contains("containerd does not answer") || lab.text().contains("containerd did not answer"),
        "{}",
        lab.text()
    );

    let agent = "grep -lx 'Name:.agent' /proc/[0-9]*/status | head -n 1 | grep -oE '[0-9]+'";
    let suicide = format!("test -e /worker/once && echo again && exit 0; touch /worker/once; kill -9 $({agent}); sleep 1000");
    let long =
        ActionResponse { namespaces: pid_of_the_host(), volumes: vec!["/worker:/worker".into()], ..lab.shell("long", &suicide) };
    lab.server.push(long.clone());
    until(&lab, "ended the processes that were still running in container").await;
    let report = lab.run(long).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert!(lab.text().contains("action long was interrupted (agent restarted), attempt 2"), "{}", lab.text());
    assert_clean(&lab).await;

    // A signal that stops the agent also stops its action.
    let stop = format!("kill -TERM $({agent}); sleep 1000");
    lab.server.push(ActionResponse { namespaces: pid_of_the_host(), ..lab.shell("stop", &stop) });
    let status = tokio::time::timeout(Duration::from_secs(60), host.wait()).await.expect("the end").unwrap();
    assert_eq!(status.code(), Some(0), "{}", lab.text());
    assert_eq!(lab.text().matches("ended the processes that were still running in container").count(), 2, "{}", lab.text());
}
