//! How an action ended, in words that the server keeps and a person reads at 3 a.m.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::image::{PullError, space::NoSpace};

/// Why an action did not succeed. The names are stable: people search for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The image could not be pulled.
    ImagePull(String),
    ImageNotFound(String),
    DigestMismatch(String),
    /// Larger than the free memory; both in bytes.
    NoSpace {
        what: String,
        needed: u64,
        free: u64,
    },
    /// The kernel took the memory back.
    OomKilled {
        exit_code: i32,
    },
    Timeout {
        limit: Duration,
    },
    NonZeroExit {
        exit_code: i32,
    },
    /// The container could not be made: a wrong mount, a program that is not there.
    CouldNotStart(String),
    /// The machine has no way to the registry.
    NetLost(String),
}

impl Reason {
    pub fn text(&self) -> String {
        match self {
            Self::ImagePull(text) => format!("ImagePull: {text}"),
            Self::ImageNotFound(text) => format!("ImageNotFound: {text}"),
            Self::DigestMismatch(text) => format!("DigestMismatch: {text}"),
            Self::NoSpace { what, needed, free } => {
                format!(
                    "NoSpace: {what} needs about {} MiB ({needed} bytes), free are {} MiB ({free} bytes)",
                    mib(*needed),
                    mib(*free)
                )
            }
            Self::OomKilled { exit_code } => format!("OOMKilled: the kernel ran out of memory, exit code {exit_code}"),
            Self::Timeout { limit } => format!("Timeout: still running after {} s", limit.as_secs()),
            Self::NonZeroExit { exit_code } => format!("NonZeroExit: exit code {exit_code}{}", signal(*exit_code)),
            Self::CouldNotStart(text) => format!("CouldNotStart: {text}"),
            Self::NetLost(text) => format!("NetLost: {text}"),
        }
    }

    pub fn no_space(what: impl Into<String>, numbers: NoSpace) -> Self {
        Self::NoSpace { what: what.into(), needed: numbers.needed, free: numbers.free }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Shells and container runtimes report a signal as 128 and its number.
fn signal(exit_code: i32) -> String {
    let name = exit_code.checked_sub(128).and_then(|n| nix::sys::signal::Signal::try_from(n).ok());
    name.map(|n| format!(" ({n})")).unwrap_or_default()
}

impl From<&PullError> for Reason {
    fn from(error: &PullError) -> Self {
        use crate::image::RequestError;
        let text = crate::report::chain(error);
        match error {
            PullError::NoSpace { image, source } => Self::no_space(format!("image {image}"), *source),
            PullError::DigestMismatch { .. } => Self::DigestMismatch(text),
            PullError::Request(RequestError::NotFound { .. }) => Self::ImageNotFound(text),
            PullError::NoPlatform { .. } => Self::ImageNotFound(text),
            PullError::Request(request) if request.is_network_lost() => Self::NetLost(text),
            PullError::Store(store) if store.is_full() => Self::no_space(text, NoSpace { needed: 1, free: 0 }),
            _ => Self::ImagePull(text),
        }
    }
}

/// One execution from its true start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub start: SystemTime,
    pub stop: SystemTime,
    pub failure: Option<Reason>,
    /// The last lines the action wrote.
    pub tail: Vec<String>,
}

impl Outcome {
    pub fn took(&self) -> Duration {
        self.stop.duration_since(self.start).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_begin_with_their_name_and_hold_the_numbers() {
        for (reason, want) in [
            (Reason::NonZeroExit { exit_code: 7 }, "NonZeroExit: exit code 7"),
            (Reason::NonZeroExit { exit_code: 137 }, "NonZeroExit: exit code 137 (SIGKILL)"),
            (Reason::Timeout { limit: Duration::from_secs(90) }, "Timeout: still running after 90 s"),
            (
                Reason::NoSpace { what: "image x".into(), needed: 100 << 20, free: 1 },
                "NoSpace: image x needs about 100 MiB (104857600 bytes), free are 1 MiB (1 bytes)",
            ),
        ] {
            assert_eq!(reason.text(), want);
        }
    }
}
