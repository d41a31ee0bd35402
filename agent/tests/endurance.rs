//! Many short actions in a row leave nothing behind: no memory, mount, cgroup, zombie, descriptor or file.
//!
//! `cargo lab soak actions` is the long run. Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::time::Instant;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Success};

/// The resources that could grow. Memory is compared separately, because an allocator's size varies.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    mounts: usize,
    files: usize,
    cgroups: usize,
}

fn entries(path: impl AsRef<Path>) -> usize {
    fs::read_dir(path).map(Iterator::count).unwrap_or(0)
}

fn files(path: &Path) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| 1 + if e.file_type().is_ok_and(|t| t.is_dir()) { files(&e.path()) } else { 0 }).sum()
}

fn held(pid: u32, state: &Path) -> Held {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(|task| task.path().join("children"));
    let children = tasks.map(|list| fs::read_to_string(list).unwrap_or_default().split_whitespace().count()).sum();
    Held {
        descriptors: entries(format!("/proc/{pid}/fd")),
        threads: entries(format!("/proc/{pid}/task")),
        children,
        mounts: fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap().lines().count(),
        files: files(&state.join("thimble")),
        cgroups: entries(format!("/proc/{pid}/root/sys/fs/cgroup/actions")),
    }
}

fn anonymous_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Threads of the pool come and go, so the values are read repeatedly until they agree.
async fn settles(pid: u32, state: &Path, want: &Held) -> Held {
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let now = held(pid, state);
        let same = Held { threads: want.threads, ..held(pid, state) } == *want && now.threads <= want.threads + 4;
        if same || Instant::now() > deadline {
            return Held { threads: if same { want.threads } else { now.threads }, ..now };
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_short_actions_leave_nothing_behind() {
    let count: usize = std::env::var("AGENT_ACTIONS").map_or(300, |text| text.parse().expect("AGENT_ACTIONS is a number"));
    const WARM: usize = 50;
    let lab = Lab::new().await;
    let agent = lab.agent();
    let pid = agent.id().unwrap();
    let (mut before, mut start) = (None, Instant::now());
    for number in 0..count.max(2 * WARM) {
        if number == WARM {
            before = Some((held(pid, lab.state.path()), anonymous_kib(pid)));
            start = Instant::now();
        }
        let wire = match number % 4 {
            0 => lab.shell(&format!("ok-{number}"), "sleep 1000 & true"),
            1 => lab.shell(&format!("fails-{number}"), "exit 1"),
            2 => ActionResponse { command: vec!["/none".into()], ..lab.shell(&format!("none-{number}"), "") },
            _ => ActionResponse {
                environment: vec!["THIMBLE_PRIVILEGED=false".into()],
                volumes: vec!["/scratch".into(), "named:/named".into()],
                ..lab.shell(&format!("confined-{number}"), "echo x > /scratch/x; echo y > /named/y")
            },
        };
        let want = if matches!(number % 4, 0 | 3) { Success } else { Failed };
        assert_eq!(lab.run(wire).await.action_state(), want, "action {number}");
        lab.server.shared.script.lock().unwrap().reports.clear();
    }
    let each = start.elapsed() / u32::try_from(count.max(2 * WARM) - WARM).unwrap();
    let (before, memory) = before.unwrap();
    let after = settles(pid, lab.state.path(), &before).await;
    let grown = anonymous_kib(pid).saturating_sub(memory);
    println!("{count} actions, {each:?} each: {after:?}, {grown} KiB more memory than after the first {WARM}");
    assert_eq!(after, before);
    assert!(grown <= 512, "{grown} KiB of memory did not come back");
    lab.assert_clean();
}
