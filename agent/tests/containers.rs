//! The whole agent, as a program, with a fake server and a fake registry, running real containers of busybox.
//!
//! Needs root, or a user namespace with root in it, because it uses mounts, cgroup2 and devtmpfs of the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Running, Success, Timeout};
use server::{action, message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_run_and_their_results_differ() {
    let lab = Lab::new().await;
    let _agent = lab.agent();

    let script = "echo to stdout; echo to stderr >&2; echo $FROM $PATH; yes | head -n 1; ls /dev/null /dev/pts/ptmx";
    let report = lab.run(lab.shell("ok", script)).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    for line in ["A| to stdout", "A| to stderr", "A| image /usr/local/sbin", "A| y", "A| /dev/pts/ptmx", "action ok: SUCCESS in "]
    {
        assert!(lab.text().contains(line), "{line} is missing in\n{}", lab.text());
    }

    let report = lab.run(lab.shell("seven", "echo last words; exit 7")).await;
    assert_eq!(report.action_state(), Failed);
    let text = message(&report);
    assert!(text.starts_with("NonZeroExit: exit code 7; try: ") && text.ends_with("\nlast output:\nlast words"), "{text}");

    let missing = ActionResponse { command: vec!["/no/such/program".into()], ..action("missing", &lab.image) };
    let report = lab.run(missing).await;
    assert_eq!(report.action_state(), Failed);
    assert!(
        message(&report).starts_with("CouldNotStart: ") && message(&report).contains("/no/such/program"),
        "{}",
        message(&report)
    );

    let host_pid = Some(proto::Namespaces { pid: Some("host".into()), network: None });
    let report = lab.run(ActionResponse { namespaces: host_pid, ..lab.shell("killed", "kill -9 $$") }).await;
    assert!(message(&report).starts_with("NonZeroExit: exit code 137 (SIGKILL)"), "{}", message(&report));
    lab.assert_clean();
    assert_eq!(lab.registry.requests("/blobs/"), 2, "one configuration and one layer, pulled once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_gets_no_descriptor_and_no_setting_of_the_agent() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    // The shell itself opens the directory, which accounts for the last descriptor.
    let script = "echo open: /proc/self/fd/*; cat /proc/self/environ /proc/self/oom_score_adj";
    let report = lab.run(lab.shell("bare", script)).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    let open = [0, 1, 2, 3].map(|fd| format!("/proc/self/fd/{fd}")).join(" ");
    assert!(lab.text().contains(&format!("A| open: {open}\n")), "{}", lab.text());
    let ours = lab.text().lines().any(|line| line.contains("A| ") && line.contains("WORKER_ID"));
    assert!(!ours && lab.text().contains("500\n"), "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_ignores_sigterm_ends_at_its_timeout() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let stubborn = ActionResponse {
        timeout: Some(1),
        namespaces: Some(proto::Namespaces { pid: Some("host".into()), network: None }),
        ..lab.shell("stubborn", "trap '' TERM; echo here; sleep 1000 & while true; do sleep 1000; done")
    };
    let report = lab.run(stubborn).await;
    assert_eq!(report.action_state(), Timeout, "{}", lab.text());
    let text = message(&report);
    assert!(text.starts_with("Timeout: still running after 1 s; try: ") && text.ends_with("\nlast output:\nhere"), "{text}");
    lab.assert_clean();

    let polite = ActionResponse { timeout: Some(1), ..lab.shell("polite", "trap 'exit 0' TERM; sleep 1000 & wait") };
    assert_eq!(lab.run(polite).await.action_state(), Timeout);

    // A process that the action leaves running keeps the pipes open. It neither delays the end nor survives it.
    let background = ActionResponse {
        namespaces: Some(proto::Namespaces { pid: Some("host".into()), network: None }),
        ..lab.shell("background", "sleep 1000 & echo started")
    };
    assert_eq!(lab.run(background).await.action_state(), Success);
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_bound_and_a_reboot_waits_for_the_acknowledgement() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    let write = ActionResponse {
        volumes: vec!["shared:/data".into(), "/dev:/dev".into()],
        ..lab.shell("write", "echo kept > /data/file")
    };
    assert_eq!(lab.run(write).await.action_state(), Success, "{}", lab.text());
    let read =
        ActionResponse { volumes: vec!["shared:/data:ro".into()], ..lab.shell("read", "cat /data/file && ! touch /data/no") };
    assert_eq!(lab.run(read).await.action_state(), Success, "{}", lab.text());
    assert!(lab.text().contains("A| kept"));

    let asking = ActionResponse { volumes: vec!["/worker:/worker".into()], ..lab.shell("asks", "touch /worker/reboot; exit 1") };
    assert_eq!(lab.run(asking).await.action_state(), Failed);
    assert_eq!(lab.run(lab.shell("after", "true")).await.action_state(), Success, "a failed action's request does not count");

    // The server is busy three times. The machine must not reboot until the report is accepted.
    lab.server.shared.script.lock().unwrap().answers =
        [Ok(()), Err(tonic::Status::internal("busy")), Err(tonic::Status::internal("busy"))].into_iter().collect();
    let reboot = ActionResponse { volumes: vec!["/worker:/worker".into()], ..lab.shell("reboot", "touch /worker/reboot") };
    lab.server.push(reboot);
    let status =
        tokio::time::timeout(Duration::from_secs(60), agent.wait()).await.expect("the agent should ask for a reboot").unwrap();
    assert_eq!(status.code(), Some(80), "{}", lab.text());
    let reports = lab.server.states();
    assert_eq!(&reports[reports.len() - 4..], [Running, Success, Success, Success]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_reports_the_interruption() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    let long = || ActionResponse { timeout: Some(0), ..lab.shell("long", "echo begun; sleep 1000") };
    lab.server.push(long());
    lab.server.until("RUNNING", |r| !r.is_empty()).await;
    let begun = async {
        while !lab.text().contains("A| begun") {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("the action should begin");
    agent.kill().await.unwrap();

    let _agent = lab.agent();
    let again = ActionResponse { command: vec!["/bin/sh".into(), "-c".into(), "echo second".into()], ..long() };
    let report = lab.run(again).await;
    assert_eq!(report.action_state(), Success, "{}", lab.text());
    let reports = lab.server.shared.script.lock().unwrap().reports.clone();
    assert!(message(&reports[1]).contains("attempt 2"), "{}", message(&reports[1]));
    assert!(lab.text().contains("action long was interrupted (agent restarted), attempt 2"), "{}", lab.text());
    assert!(lab.text().contains("ended the processes that were still running"), "{}", lab.text());
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_exceeds_its_memory_limit_fails_with_that_reason() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    assert_eq!(lab.run(lab.shell("before", "true")).await.action_state(), Success, "{}", lab.text());
    let greedy = ActionResponse {
        environment: vec!["THIMBLE_MEMORY=16m".into()],
        ..lab.shell("greedy", "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 7")
    };
    let report = lab.run(greedy).await;
    let text = message(&report);
    if !Lab::limits_memory(&agent) {
        println!("no OOM kill: this host has no memory controller in cgroup2, so the scenario in the machine is the proof");
        assert!(text.starts_with("CouldNotStart: ") && text.contains("memory"), "a limit that would not hold is refused: {text}");
        return;
    }
    assert_eq!(report.action_state(), Failed);
    let want = "OOMKilled: more than the 16 MiB it was allowed, exit code 7; try: stream data to the disk";
    assert!(text.starts_with(want), "{text}\n{}", lab.text());
    assert_eq!(lab.run(lab.shell("after", "true")).await.action_state(), Success, "{}", lab.text());
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tmpfs_fails_the_action_and_not_the_agent() {
    let lab = Lab::new().await;
    let _agent = lab.agent_with_state_of("8m");
    let report = lab.run(lab.shell("fills", "dd if=/dev/zero of=/full bs=64k")).await;
    assert!(
        message(&report).starts_with("NonZeroExit: exit code 1") && message(&report).contains("No space left"),
        "{}",
        message(&report)
    );
    assert_eq!(lab.run(lab.shell("after", "true")).await.action_state(), Success, "{}", lab.text());

    // The same byte repeated compresses to almost nothing (and is not a hole, as zeros are). Neither the size nor gzip's
    // trailer warns if the media type says tar.
    let ones = registry::gzip(&registry::tarred(&vec![1; 30 << 20]));
    let image = lab.registry.image("ones", &[(registry::TAR, ones)], r#"{"config":{"Cmd":["/none"]}}"#);
    let report = lab.run(action("bomb", &image)).await;
    assert!(message(&report).starts_with("NoSpace: image "), "{}", message(&report));
    assert_eq!(lab.run(lab.shell("again", "true")).await.action_state(), Success, "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_files_are_refused_with_their_number_and_fewer_run() {
    let lab = Lab::new().await;
    let _agent = lab.agent_with_state_of("64m,nr_inodes=400");
    let image = |name: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
        let entries: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "small")).collect();
        lab.image(name, r#"{"Cmd":["/bin/ls","/f0"]}"#, &entries)
    };
    let report = lab.run(action("many", &image("many", 500))).await;
    let text = message(&report);
    for part in [
        "NoSpace: image ",
        " inodes (files, folders and links), but only ",
        " are free on /run/thimble (tmpfs); try: an image of fewer files",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(lab.run(action("fewer", &image("fewer", 200))).await.action_state(), Success, "{}", lab.text());
    // The two images do not fit together, and the number of files is known only after unpacking. So the first one is
    // removed.
    assert_eq!(lab.run(action("others", &image("others", 201))).await.action_state(), Success, "{}", lab.text());
}
