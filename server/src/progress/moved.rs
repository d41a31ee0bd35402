//! Deadlines are times of the host's clock. When that clock is set, by hand or by NTP, they move with it.

use jiff::{SignedDuration, Timestamp};
use model::{Workflow, WorkflowStatus};

use super::current;
use super::failure::LONGEST_PAUSE;

/// The deadline after the clock was moved by this much and shows `now`. It is never further in the future than its whole
/// time, even if the clock was set while no server ran.
fn follow(deadline: Timestamp, seconds: i64, by: SignedDuration, now: Timestamp) -> Timestamp {
    let latest = now.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(deadline);
    let moved = deadline.checked_add(by).unwrap_or(deadline);
    // After a step back, a deadline that would have passed was already set by the new clock.
    if by.is_negative() && moved < now { deadline.min(latest) } else { moved.min(latest) }
}

/// The deadlines: global, current task, running action, next attempt.
fn followed(workflow: &Workflow, by: SignedDuration, now: Timestamp) -> [Option<Timestamp>; 4] {
    let status = &workflow.status;
    let action = current(workflow).map_or(0, |(.., action)| action.timeout);
    let global = status.global_execution_stop.map(|stop| follow(stop, status.global_timeout, by, now));
    let task = current(workflow).map_or(0, |(_, _, task, _)| task.timeout);
    [
        global,
        status.task_stop.map(|stop| follow(stop, task, by, now)),
        status.action_stop.map(|stop| follow(stop, action, by, now)),
        status.retry_at.map(|begins| follow(begins, LONGEST_PAUSE, by, now)),
    ]
}

fn deadlines(status: &WorkflowStatus) -> [Option<Timestamp>; 4] {
    [status.global_execution_stop, status.task_stop, status.action_stop, status.retry_at]
}

/// Whether `follow_clock` changes the workflow.
pub fn concerns(workflow: &Workflow, by: SignedDuration, now: Timestamp) -> bool {
    followed(workflow, by, now) != deadlines(&workflow.status)
}

pub fn follow_clock(workflow: &mut Workflow, by: SignedDuration, now: Timestamp) {
    let [global, task, action, retry] = followed(workflow, by, now);
    let status: &mut WorkflowStatus = &mut workflow.status;
    (status.global_execution_stop, status.task_stop, status.action_stop, status.retry_at) = (global, task, action, retry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_keeps_its_remaining_time() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let day = 86_400;
        // The clock showed 0, and the new time one tick later. The whole time is 600 s.
        for (case, deadline, by, now, expected) in [
            ("a day forward", 100, day, day, day + 100),
            ("a day back", 100, -day, -day, 100 - day),
            ("an hour back", 100, -3600, -3600, 100 - 3600),
            ("set by the new clock, after a day forward", day + 600, day, day + 1, day + 601),
            ("set by the new clock, after a day back", 600 - day, -day, 1 - day, 600 - day),
            ("found at the start, after a day back", 100, 0, -day, 600 - day),
            ("found at the start, after a day forward, when the time may have passed", 100, 0, day, 100),
            ("no step", 100, 0, 0, 100),
        ] {
            assert_eq!(follow(at(deadline), 600, SignedDuration::from_secs(by), at(now)), at(expected), "{case}");
        }
    }
}
