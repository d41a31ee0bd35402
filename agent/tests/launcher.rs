//! The process that makes containers may be killed by the kernel or by another process. The agent reports that and
//! continues.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Success};
use rustix::process::{Pid, Signal, kill_process};
use server::message;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launcher_that_was_killed_is_replaced_and_its_action_is_reported_as_failed() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let agent = agent.id().unwrap();
    assert_eq!(lab.run(lab.shell("first", "true")).await.action_state(), Success, "{}", lab.text());
    let first = launcher_of(agent).expect("a launcher after the first action");
    let children = || children_of(first.as_raw_nonzero().get());
    let waits = |child: &i32| std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|state| state.contains(") S "));
    let only_the_spare = || children().len() == 1 && children().first().is_some_and(waits);
    lab.until("an only child that waits for the next order", only_the_spare).await;
    kill_process(Pid::from_raw(children()[0]).unwrap(), Signal::KILL).unwrap();
    lab.until("the spare child's end", || children().is_empty()).await;
    assert_eq!(lab.run(lab.shell("without-spare", "true")).await.action_state(), Success, "{}", lab.text());

    kill_process(first, Signal::KILL).unwrap();
    lab.until("the launcher's end", || launcher_of(agent) != Some(first)).await;
    let report = lab.run(lab.shell("second", "true")).await;
    assert_eq!(report.action_state(), Success, "{}", lab.text());
    assert!(lab.text().contains("the launcher of containers died"), "{}", lab.text());
    let second = launcher_of(agent).expect("another launcher");
    assert_ne!(second, first);

    lab.server.push(ActionResponse { timeout: Some(0), ..lab.shell("long", "echo begun; sleep 1000") });
    lab.until("the action's begin", || lab.text().contains("A| begun")).await;
    kill_process(second, Signal::KILL).unwrap();
    let report = lab.ended("long").await;
    assert_eq!(report.action_state(), Failed, "{}", lab.text());
    assert!(message(&report).starts_with("CouldNotStart: the container's child process died"), "{}", message(&report));

    assert_eq!(lab.run(lab.shell("after", "true")).await.action_state(), Success, "{}", lab.text());
    lab.assert_clean();
}

fn launcher_of(agent: u32) -> Option<Pid> {
    let is_launcher = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"launcher")
    };
    children_of(agent.cast_signed()).into_iter().find(is_launcher).and_then(Pid::from_raw)
}

fn children_of(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}
