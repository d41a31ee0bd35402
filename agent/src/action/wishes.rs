//! What a template asks of the agent beyond Tinkerbell's fields. Wishes are variables that begin with `THIMBLE_`, because
//! every server passes the environment on unchanged. The action does not see them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Whether the action is privileged. Tinkerbell's agents run every action that way.
    pub privileged: bool,
    pub read_only: bool,
    /// The limit of memory in bytes.
    pub memory: Option<u64>,
    pub pids: Option<i64>,
    /// The limit of processor time in thousandths of a processor.
    pub milli_cpus: Option<u32>,
    /// A disk whose content may be lost. It extends memory while the action is pulled and runs.
    pub scratch: Option<PathBuf>,
    /// The network, in addition to the action's namespaces. `None` here wins over `host` there.
    pub network: Option<Network>,
    /// Ports of the machine below 1024, for an unprivileged action.
    pub low_ports: bool,
    /// How often the action is tried again if it fails or reaches its limit.
    pub retries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The machine's network.
    Host,
    /// A separate, empty network.
    None,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            privileged: true,
            read_only: false,
            memory: None,
            pids: None,
            milli_cpus: None,
            scratch: None,
            network: None,
            low_ports: false,
            retries: 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment {name}={value:?} is not understood: write for example {name}={example}")]
pub struct BadWish {
    name: &'static str,
    value: String,
    example: &'static str,
}

const NAMES: [&str; 9] = [
    "THIMBLE_PRIVILEGED",
    "THIMBLE_READ_ONLY",
    "THIMBLE_MEMORY",
    "THIMBLE_PIDS",
    "THIMBLE_CPUS",
    "THIMBLE_SCRATCH",
    "THIMBLE_NETWORK",
    "THIMBLE_LOW_PORTS",
    "THIMBLE_RETRIES",
];
const MOST_RETRIES: u32 = 100;

/// Whether a variable is meant for the agent.
pub fn is_wish(entry: &str) -> bool {
    entry.split_once('=').is_some_and(|(name, _)| NAMES.contains(&name))
}

impl Wishes {
    pub(super) fn of(environment: &[String]) -> Result<Self, BadWish> {
        let given: BTreeMap<&str, &str> = environment.iter().filter_map(|entry| entry.split_once('=')).collect();
        let read = |name: &'static str, example: &'static str| Given { name, value: given.get(name).copied(), example };
        let default = Self::default();
        Ok(Self {
            privileged: read("THIMBLE_PRIVILEGED", "false").parsed(boolean)?.unwrap_or(default.privileged),
            read_only: read("THIMBLE_READ_ONLY", "true").parsed(boolean)?.unwrap_or(default.read_only),
            memory: read("THIMBLE_MEMORY", "256m").parsed(bytes)?,
            pids: read("THIMBLE_PIDS", "100").parsed(|text| text.parse().ok().filter(|pids| *pids > 0))?,
            milli_cpus: read("THIMBLE_CPUS", "0.5").parsed(milli)?,
            scratch: read("THIMBLE_SCRATCH", "/dev/disk/by-id/NAME").parsed(disk)?,
            network: read("THIMBLE_NETWORK", "none").parsed(network)?,
            low_ports: read("THIMBLE_LOW_PORTS", "true").parsed(boolean)?.unwrap_or(default.low_ports),
            retries: read("THIMBLE_RETRIES", "2").parsed(|text| text.parse().ok().filter(|n| *n <= MOST_RETRIES))?.unwrap_or(0),
        })
    }
}

struct Given<'a> {
    name: &'static str,
    value: Option<&'a str>,
    example: &'static str,
}

impl Given<'_> {
    fn parsed<T>(self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, BadWish> {
        let Some(value) = self.value else { return Ok(None) };
        let bad = || BadWish { name: self.name, value: value.to_owned(), example: self.example };
        parse(value.trim()).ok_or_else(bad).map(Some)
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn network(text: &str) -> Option<Network> {
    match text {
        "none" => Some(Network::None),
        "host" => Some(Network::Host),
        _ => None,
    }
}

/// A number with b, k, m or g, as for Docker's `--memory`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "" | "b" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// An absolute path. The disk loses its content, so the agent does not search for one.
fn disk(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let below_dev = path.strip_prefix("/dev").is_ok_and(|rest| rest.components().all(|c| matches!(c, Component::Normal(_))));
    (below_dev && path != Path::new("/dev")).then(|| path.to_owned())
}

fn milli(text: &str) -> Option<u32> {
    let cpus: f64 = text.parse().ok()?;
    let milli = (cpus * 1000.0).round();
    (1.0..=1_000_000.0).contains(&milli).then_some(milli as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Wishes, BadWish> {
        Wishes::of(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn wishes_are_variables_of_the_action() {
        assert_eq!(of("A=b").unwrap(), Wishes::default());
        let all = "THIMBLE_PRIVILEGED=no THIMBLE_READ_ONLY=1 THIMBLE_MEMORY=64Mi THIMBLE_PIDS=9 THIMBLE_CPUS=1.5 THIMBLE_SCRATCH=/dev/sdb2 THIMBLE_NETWORK=none THIMBLE_LOW_PORTS=1 THIMBLE_RETRIES=3";
        let want = Wishes {
            privileged: false,
            read_only: true,
            memory: Some(64 << 20),
            pids: Some(9),
            milli_cpus: Some(1500),
            scratch: Some("/dev/sdb2".into()),
            network: Some(Network::None),
            low_ports: true,
            retries: 3,
        };
        assert_eq!(of(all).unwrap(), want);
    }

    #[test]
    fn a_wish_that_is_not_understood_is_not_ignored() {
        for bad in [
            "THIMBLE_PRIVILEGED=flase",
            "THIMBLE_MEMORY=lots",
            "THIMBLE_MEMORY=99999999999g",
            "THIMBLE_PIDS=-1",
            "THIMBLE_CPUS=NaN",
            "THIMBLE_CPUS=0",
            "THIMBLE_NETWORK=bridge",
            "THIMBLE_NETWORK=None",
            "THIMBLE_LOW_PORTS=80",
            "THIMBLE_SCRATCH=sdb",
            "THIMBLE_SCRATCH=/dev/../etc/passwd",
            "THIMBLE_SCRATCH=/dev",
            "THIMBLE_RETRIES=101",
        ] {
            let (name, _) = bad.split_once('=').unwrap();
            assert!(of(bad).unwrap_err().to_string().contains(name), "{bad}");
        }
    }
}
