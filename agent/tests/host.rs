//! How the agent treats the host that it starts on: its cgroups, and who can read its folders. Needs root, as
//! `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use lab::Lab;
use proto::action_status_request::StateType::Success;
use server::message;

/// The layout of a host with cgroup v1: a tmpfs with a folder for each controller.
const VERSION_1: &str =
    "umount /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; mkdir /sys/fs/cgroup/memory /sys/fs/cgroup/unified";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_host_with_cgroup_v1_the_agent_mounts_cgroup_v2_for_itself() {
    let lab = Lab::new().await;
    // A process that stays in the host's namespace.
    let before = format!("{VERSION_1}; mkfifo /run/end; cat /run/end & echo $! > /run/witness");
    let _agent = lab.agent_with(&[("BEFORE", &before)]);
    let report = lab.run(lab.shell("one", "grep cgroup2 /proc/self/mounts; echo works")).await;
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    assert!(
        lab.text().contains("this host has no cgroup v2 at /sys/fs/cgroup; the agent has mounted one for itself"),
        "{}",
        lab.text()
    );
    let witness = std::fs::read_to_string(lab.state.path().join("witness")).unwrap();
    let host = std::fs::read_to_string(format!("/proc/{}/mountinfo", witness.trim())).unwrap();
    let of_the_host: Vec<_> = host.lines().filter(|line| line.contains(" /sys/fs/cgroup ")).collect();
    assert!(of_the_host.iter().all(|line| !line.contains("cgroup2")), "the host's own tree has changed: {of_the_host:?}");
    std::fs::write(lab.state.path().join("end"), "").unwrap(); // ends the witness
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_cgroup_v2_and_without_the_right_to_mount_it_the_agent_takes_no_work() {
    let lab = Lab::new().await;
    lab.server.push(lab.shell("never", "true"));
    let wrap = "setpriv --bounding-set -sys_admin --inh-caps -sys_admin";
    let mut agent = lab.agent_with(&[("BEFORE", VERSION_1), ("WRAP", wrap), ("RUST_BACKTRACE", "1")]);
    let status = tokio::time::timeout(Duration::from_secs(30), agent.wait()).await.expect("it should end").unwrap();
    assert_eq!(status.code(), Some(1), "{}", lab.text());
    let text = lab.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("cgroup")).collect();
    assert!(lines.len() == 1 && lines[0].contains("systemd.unified_cgroup_hierarchy=1"), "{text}");
    assert_eq!(lines[0].matches("cgroup v2").count(), 1, "said once: {text}");
    assert!(lab.server.states().is_empty(), "the agent must not take work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_user_can_read_the_agents_files() {
    let lab = Lab::new().await;
    let state = lab.state.path().join("thimble");
    std::fs::create_dir_all(state.join("images")).unwrap();
    for open in [&state, &state.join("images")] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // The unit starts the agent with this mask. Images must not be affected by it.
    let _agent = lab.agent_with(&[("BEFORE", "umask 0077")]);
    let mut secret =
        lab.shell("secret", "umask; stat -c %a /bin /tinkerbell; echo begun; while ! test -e /worker/go; do sleep 0.1; done");
    secret.volumes.push("/worker:/worker".into());
    secret.environment.push("PASSWORD=hunter2".into());
    lab.server.push(secret);
    lab.until("the action", || lab.text().contains("A| begun")).await;

    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    for folder in ["", "images", "containers", "volumes"] {
        assert_eq!(mode(&state.join(folder)), 0o700, "{folder:?}");
    }
    assert_eq!(mode(&state.join("journal.json")), 0o600);
    let bundle = std::fs::read_dir(state.join("containers")).unwrap().next().unwrap().unwrap().path();
    assert!(std::fs::read_to_string(bundle.join("config.json")).unwrap().contains("hunter2"));
    assert_eq!(mode(&bundle.join("config.json")), 0o600);
    assert!(lab.text().contains("was open to other users"), "{}", lab.text());
    std::fs::write(lab.state.path().join("worker/go"), "").unwrap();
    assert_eq!(lab.ended("secret").await.action_state(), Success);
    assert!(lab.text().contains("A| 0022\n") && !lab.text().contains("A| 700"), "{}", lab.text());
    lab.assert_clean();
}
