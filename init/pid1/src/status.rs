//! The status for the screen: from the network service, from the agent, and the last failure in the kernel log.

use std::fmt::Write;
use std::time::Duration;

use machine::Status;
use machine::kernel_log::{OUTPUT, WORDS};

use crate::kmsg::Record;

const WARNING: u8 = 4;

/// A warning or an error of PID 1, of a service or of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The time since the kernel started.
    pub at: Duration,
    pub text: String,
}

impl Failure {
    /// Recognises a failure by its severity, except in the output of an action.
    pub fn in_record(record: &Record<'_>) -> Option<Self> {
        let line = record.ours().filter(|line| record.severity <= WARNING && !line.starts_with(OUTPUT))?;
        let text = WORDS.iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
        Some(Self { at: record.at, text: text.to_owned() })
    }
}

/// While the machine waits for a network, that is shown instead of the agent's state. A failure ends once either part makes
/// progress.
pub fn merge(network: Status, agent: Status, failure: Option<&Failure>) -> Status {
    let further = network.since.max(agent.since).map_or(Duration::ZERO, Duration::from_millis);
    Status {
        interface: network.interface,
        mac: network.mac,
        address: network.address,
        state: network.state.or(agent.state),
        error: failure.filter(|failure| failure.at >= further).map(|failure| failure.text.clone()),
        since: None,
        ..agent
    }
}

pub fn is_running(status: &Status) -> bool {
    matches!(status.state.as_deref(), Some(Status::PULLING | Status::RUNNING))
}

/// One line for a serial console.
pub fn line(status: &Status) -> String {
    let mut line = String::from("status:");
    for (name, value) in
        [("address", &status.address), ("workflow", &status.workflow), ("action", &status.action), ("is", &status.state)]
    {
        if let Some(value) = value {
            let _ = write!(line, " {name} {value}");
        }
    }
    if let Some(percent) = status.percent {
        let _ = write!(line, " at {percent} %");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(record: &str) -> Option<String> {
        Record::parse(record).and_then(|record| Failure::in_record(&record)).map(|failure| failure.text)
    }

    #[test]
    fn a_failure_is_recognised_by_its_severity_and_not_by_its_text() {
        for (case, record, expected) in [
            ("a warning of PID 1", "12,1,0,-;thimble: warning: no carrier", Some("no carrier")),
            ("an error of the agent", "131,1,0,-;thimble: the agent cannot work", Some("the agent cannot work")),
            ("a fatal one", "11,1,0,-;thimble: FATAL: a: b", Some("FATAL: a: b")),
            ("a notice", "13,1,0,-;thimble: warning: not meant so", None),
            ("an action's output", "12,1,0,-;thimble: A| rebooting", None),
            ("the kernel's", "3,1,0,-;I/O error, dev sda", None),
        ] {
            assert_eq!(failure(record).as_deref(), expected, "{case}");
        }
    }

    #[test]
    fn both_parts_are_shown_and_a_failure_until_one_makes_progress() {
        let parse = Status::parse;
        let network = parse("interface=eth0\naddress=10.0.2.15/24\nsince=900\n");
        let agent = parse("agent=a1\nworkflow=d/w\naction=one\nstate=running\npercent=41\nsince=2000\n");
        let failure = |at| Some(Failure { at: Duration::from_millis(at), text: "no carrier".to_owned() });
        let plain = "interface=eth0\naddress=10.0.2.15/24\nagent=a1\nworkflow=d/w\naction=one\nstate=running\npercent=41\n";
        for (case, failure, expected) in [
            ("no failure", None, plain.to_owned()),
            ("one that is over", failure(1999), plain.to_owned()),
            ("one that is not", failure(2001), format!("{plain}error=no carrier\n")),
        ] {
            assert_eq!(merge(network.clone(), agent.clone(), failure.as_ref()).render(), expected, "{case}");
        }
        let waiting = parse("state=waiting for a network interface (5 s)\n");
        let state = merge(waiting, agent, None).state;
        assert_eq!(state.as_deref(), Some("waiting for a network interface (5 s)"), "the network is missing");
        assert_eq!(merge(Status::default(), Status::default(), None), Status::default());
    }

    #[test]
    fn the_serial_line_is_short() {
        let status = Status::parse("address=10.0.0.5/24\nworkflow=d/w\naction=a\nstate=running\npercent=7\n");
        assert_eq!(line(&status), "status: address 10.0.0.5/24 workflow d/w action a is running at 7 %");
        assert!(is_running(&status));
    }
}
