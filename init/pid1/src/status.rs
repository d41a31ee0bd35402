//! What the machine is doing, gathered from the lines of the kernel log that ARCHITECTURE.md promises.

use std::fmt::Write;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub interface: Option<String>,
    pub mac: Option<String>,
    pub address: Option<String>,
    pub agent: Option<String>,
    pub server: Option<String>,
    pub workflow: Option<String>,
    pub action: Option<String>,
    /// `pulling`, `running`, `SUCCESS`, `FAILED`, `TIMEOUT`, `waiting for ...`, `rebooting` ...
    pub state: Option<String>,
    pub percent: Option<u8>,
    /// The last warning or error.
    pub error: Option<String>,
}

const WARNING: u8 = 4;

impl Status {
    /// Takes one of our lines, without its mark. Whether that changed anything.
    pub fn take(&mut self, severity: u8, line: &str) -> bool {
        let before = self.clone();
        let known = self.milestone(line);
        if severity <= WARNING && !line.starts_with("A| ") {
            self.error = Some(line.strip_prefix("error: ").or(line.strip_prefix("warning: ")).unwrap_or(line).to_owned());
        } else if known == Some(Milestone::Progress) {
            self.error = None;
        }
        *self != before
    }

    fn milestone(&mut self, line: &str) -> Option<Milestone> {
        if let Some(output) = line.strip_prefix("A| ") {
            self.percent = percent(output).or(self.percent);
            return None;
        }
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        if let Some(rest) = line.strip_prefix("network ") {
            let [interface, address, ..] = &words(rest)[..] else { return None };
            (self.interface, self.address) = (Some(interface.clone()), Some(address.clone()));
            self.mac = None; // whoever shows it looks it up
            return Some(Milestone::Progress);
        }
        if let Some((agent, server)) = line.strip_prefix("agent ").and_then(|rest| rest.split_once(" connected to ")) {
            (self.agent, self.server) = (Some(agent.to_owned()), Some(server.to_owned()));
            return Some(Milestone::Progress);
        }
        if let Some((workflow, rest)) = line.strip_prefix("workflow ").and_then(|rest| rest.split_once(" action ")) {
            return self.action(workflow, rest);
        }
        if line.starts_with("waiting for ") || line == "rebooting" || line == "powering off" {
            self.state = Some(line.to_owned());
            return Some(Milestone::Other);
        }
        None
    }

    fn action(&mut self, workflow: &str, rest: &str) -> Option<Milestone> {
        let (action, what) = rest.split_once(": ")?;
        let state = what.split([' ', ':']).next()?;
        let same = self.workflow.as_deref() == Some(workflow) && self.action.as_deref() == Some(action);
        if !same || state == "pulling" {
            self.percent = None;
        }
        (self.workflow, self.action) = (Some(workflow.to_owned()), Some(action.to_owned()));
        self.state = Some(state.to_owned());
        matches!(state, "pulling" | "running" | "SUCCESS").then_some(Milestone::Progress)
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state.as_deref(), Some("pulling" | "running"))
    }

    /// The content of [`machine::files::STATUS`]: one `name=value` a line, unknown ones left out.
    pub fn file(&self) -> String {
        let percent = self.percent.map(|percent| percent.to_string());
        let mut text = String::new();
        for (name, value) in [
            ("interface", &self.interface),
            ("mac", &self.mac),
            ("address", &self.address),
            ("agent", &self.agent),
            ("server", &self.server),
            ("workflow", &self.workflow),
            ("action", &self.action),
            ("state", &self.state),
            ("percent", &percent),
            ("error", &self.error),
        ] {
            if let Some(value) = value {
                let _ = writeln!(text, "{name}={value}");
            }
        }
        text
    }

    /// One line for a serial console.
    pub fn line(&self) -> String {
        let mut line = String::from("status:");
        let mut add = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                let _ = write!(line, " {name} {value}");
            }
        };
        add("address", &self.address);
        add("workflow", &self.workflow);
        add("action", &self.action);
        add("is", &self.state);
        if let Some(percent) = self.percent {
            let _ = write!(line, " at {percent} %");
        }
        line
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Milestone {
    /// What was wrong before is over.
    Progress,
    Other,
}

/// `progress P% DONE/TOTAL bytes`, the line that actions write.
fn percent(output: &str) -> Option<u8> {
    let (percent, _) = output.strip_prefix("progress ")?.split_once('%')?;
    let whole = percent.split('.').next()?;
    whole.parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lines: &[(u8, &str)]) -> String {
        let mut status = Status::default();
        lines.iter().for_each(|(severity, line)| {
            status.take(*severity, line);
        });
        status.file().replace('\n', " ").trim_end().to_owned()
    }

    #[test]
    fn the_status_follows_the_lines_of_a_boot() {
        let network = (5, "network eth0 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3");
        let agent = (5, "agent a1 connected to 10.0.2.2:42113");
        let running = (5, "workflow default/w action one: running");
        for (case, lines, expected) in [
            ("nothing yet", vec![(5, "init 0.1.0 started")], ""),
            (
                "what it waits for",
                vec![(5, "waiting for a network interface (5 s)")],
                "state=waiting for a network interface (5 s)",
            ),
            ("a network", vec![network], "interface=eth0 address=10.0.2.15/24"),
            ("a server", vec![agent], "agent=a1 server=10.0.2.2:42113"),
            (
                "an action and how far it is",
                vec![running, (5, "A| progress 41.7% 10/24 bytes")],
                "workflow=default/w action=one state=running percent=41",
            ),
            (
                "the next action begins at the beginning",
                vec![running, (5, "A| progress 41% 1/2 bytes"), (5, "workflow default/w action two: pulling a/b:1")],
                "workflow=default/w action=two state=pulling",
            ),
            (
                "a failure stays in view",
                vec![running, (3, "workflow default/w action one: FAILED in 2s: exit code 7"), (5, "waiting for work")],
                "workflow=default/w action=one state=waiting for work error=workflow default/w action one: FAILED in 2s: exit code 7",
            ),
            ("progress ends an error", vec![(4, "warning: no carrier"), network], "interface=eth0 address=10.0.2.15/24"),
            ("an action's own words are no status", vec![(4, "A| rebooting"), (5, "A| progress 900% x")], ""),
        ] {
            assert_eq!(status(&lines), expected, "{case}");
        }
    }

    #[test]
    fn a_line_that_says_nothing_new_changes_nothing() {
        let mut status = Status::default();
        assert!(status.take(5, "rebooting") && !status.take(5, "rebooting") && !status.take(5, "step 1/2 x: done in 1 ms"));
    }

    #[test]
    fn the_serial_line_is_short() {
        let mut status = Status::default();
        for line in ["network eth0 10.0.0.5/24", "workflow d/w action a: running", "A| progress 7% 1/9 bytes"] {
            status.take(5, line);
        }
        assert_eq!(status.line(), "status: address 10.0.0.5/24 workflow d/w action a is running at 7 %");
    }
}
