//! What the machine is doing, as data for its screen. The network service and the agent each write a part,
//! [`files::NETWORK_STATUS`] and [`files::AGENT_STATUS`]; PID 1's status service puts both together in [`files::STATUS`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::{files, milestones};

/// More than all values together have.
const FILE_MAX: u64 = 16 << 10;
/// Characters of one value.
const VALUE_MAX: usize = 1000;

/// A file has one `NAME=VALUE` for each line. What is not known is left out, as is a name of another release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub interface: Option<String>,
    pub mac: Option<String>,
    pub address: Option<String>,
    pub agent: Option<String>,
    pub server: Option<String>,
    pub workflow: Option<String>,
    pub action: Option<String>,
    /// `pulling`, `running`, `SUCCESS`, `FAILED`, `TIMEOUT`, `waiting for ...`
    pub state: Option<String>,
    /// Of the action.
    pub percent: Option<u8>,
    /// The last warning or error; not in a part.
    pub error: Option<String>,
    /// When this part last made progress, in milliseconds since the kernel started. Earlier problems are over.
    pub since: Option<u64>,
}

impl Status {
    pub const PULLING: &str = "pulling";
    pub const RUNNING: &str = "running";

    pub fn got_further(&mut self) {
        self.since = u64::try_from(milestones::now().as_millis()).ok();
    }

    pub fn render(&self) -> String {
        let (percent, since) = (self.percent.map(|percent| percent.to_string()), self.since.map(|since| since.to_string()));
        let lines = [
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
            ("since", &since),
        ];
        lines.iter().filter_map(|(name, value)| Some(format!("{name}={}\n", one_line(value.as_deref()?)))).collect()
    }

    pub fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let field = match name {
                "interface" => &mut status.interface,
                "mac" => &mut status.mac,
                "address" => &mut status.address,
                "agent" => &mut status.agent,
                "server" => &mut status.server,
                "workflow" => &mut status.workflow,
                "action" => &mut status.action,
                "state" => &mut status.state,
                "error" => &mut status.error,
                "percent" => {
                    status.percent = value.parse().ok();
                    continue;
                }
                "since" => {
                    status.since = value.parse().ok();
                    continue;
                }
                _ => continue,
            };
            *field = Some(value.to_owned());
        }
        status
    }

    /// The content of the file. A missing file is empty.
    pub fn read(path: &Path) -> Self {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text));
        read.map_or_else(|_| Self::default(), |_| Self::parse(&text))
    }

    /// The new content takes the place of the old one in one step, because a reader may come at any time.
    ///
    /// # Errors
    /// Those of the file system; without the folder, PID 1 is another program.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        files::replace(path, self.render())
    }
}

/// Changes this program's part. If it cannot be written, it is not shown, and nothing waits for it.
pub fn note(part: &str, change: impl FnOnce(&mut Status)) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let path = Path::new(part);
    if !Path::new(files::STATUS_PARTS).is_dir() {
        return; // an ordinary host
    }
    let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let old = Status::read(path);
    let mut new = old.clone();
    change(&mut new);
    if new != old {
        let _ = new.write(path);
    }
}

/// The line of an action's output that says how far it is: `progress P% DONE/TOTAL bytes`, or `?` for what is unknown.
pub fn progress(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => {
            let percent = u128::from(done) * 100 / u128::from(total.max(1));
            format!("progress {}% {done}/{total} bytes", percent.min(100))
        }
        None => format!("progress ?% {done}/? bytes"),
    }
}

/// The percentage in a line of [`progress`].
pub fn percent(output: &str) -> Option<u8> {
    let (percent, _) = output.strip_prefix("progress ")?.split_once('%')?;
    let whole = percent.split('.').next()?;
    whole.parse().ok().filter(|percent| *percent <= 100)
}

fn one_line(value: &str) -> String {
    value.chars().take(VALUE_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_written_is_read_back_and_what_is_unknown_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        assert_eq!(Status::read(&path), Status::default());
        let text = |text: &str| Some(text.to_owned());
        let status = Status {
            workflow: text("default/w"),
            action: text("a=b"),
            state: text(Status::RUNNING),
            percent: Some(41),
            since: Some(1500),
            ..Status::default()
        };
        status.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "workflow=default/w\naction=a=b\nstate=running\npercent=41\nsince=1500\n");
        assert_eq!(Status::read(&path), status);
        assert_eq!(Status::parse("colour=red\npercent=lots\n\nno sign\n"), Status::default());
    }

    #[test]
    fn a_value_cannot_forge_a_line_and_is_bounded() {
        let status = Status { action: Some(format!("a\nerror=x{}", "y".repeat(5000))), ..Status::default() };
        let read = Status::parse(&status.render());
        assert_eq!(read.error, None);
        assert!(read.action.is_some_and(|action| action.starts_with("a?error=x") && action.len() == VALUE_MAX));
    }

    #[test]
    fn what_an_action_writes_of_its_progress_is_read_back() {
        for (done, total, line, read) in [
            (0, Some(200), "progress 0% 0/200 bytes", Some(0)),
            (199, Some(200), "progress 99% 199/200 bytes", Some(99)),
            (200, Some(200), "progress 100% 200/200 bytes", Some(100)),
            (0, Some(0), "progress 0% 0/0 bytes", Some(0)),
            (77, None, "progress ?% 77/? bytes", None),
        ] {
            assert_eq!(progress(done, total), line);
            assert_eq!(percent(line), read, "{line}");
        }
    }

    #[test]
    fn only_a_line_of_progress_has_a_percentage() {
        for (line, expected) in [("progress 41.7% 10/24 bytes", Some(41)), ("progress 900% x", None), ("rebooting", None)] {
            assert_eq!(percent(line), expected, "{line}");
        }
    }
}
