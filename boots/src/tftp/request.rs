//! What a read request gets: which file, and which of its options. Pure.

use std::io;
use std::time::Duration;

use super::packet::ErrorCode;
use crate::ipxe;

/// Without `blksize` (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;
/// Ethernet fragments larger blocks, and firmware often cannot reassemble them.
const MAX_BLOCK: u16 = 1468;
/// Switches and ROMs do not drop a burst of this size. RFC 7440 gains little beyond it.
const MAX_WINDOW: u16 = 16;
/// iDRACs and slow ROMs need a short window.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// Seconds. A client that falls silent keeps its place for eight timeouts. A larger value is ignored (RFC 2349).
const SLOWEST: u64 = 10;

/// A transfer's parameters, and the options to acknowledge. Without options the transfer starts with its first block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    pub block: u16,
    pub window: u16,
    pub timeout: Duration,
    pub acknowledged: Vec<(&'static str, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("writing is not allowed")]
    Write,
    #[error("{0:?} leads outside the folder of network boot programs")]
    Outside(String),
    #[error("{0:?} does not exist")]
    NotFound(String),
    #[error("too many transfers, try again")]
    Busy,
    #[error("cannot read {name:?}")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
}

impl Refused {
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Write | Self::Outside(_) => ErrorCode::AccessViolation,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Busy | Self::Unreadable { .. } => ErrorCode::Undefined,
        }
    }
}

/// The file's name: the last part of the path. Firmware and smee's URLs put folders before it.
pub fn file_name(path: &str) -> Result<&str, Refused> {
    ipxe::base_name(path).ok_or_else(|| Refused::Outside(path.chars().take(200).collect()))
}

/// Known options with a usable value are granted, perhaps with a smaller value. Others are ignored.
#[must_use]
pub fn agree(options: &[(&str, &str)], size: u64) -> Agreed {
    let mut agreed = Agreed { block: DEFAULT_BLOCK, window: 1, timeout: DEFAULT_TIMEOUT, acknowledged: Vec::new() };
    for (name, value) in options {
        let Ok(value) = value.parse::<u64>() else { continue };
        let granted = match (name.to_ascii_lowercase().as_str(), value) {
            ("blksize", 8..=65464) => {
                agreed.block = u16::try_from(value).unwrap_or(MAX_BLOCK).min(MAX_BLOCK);
                ("blksize", u64::from(agreed.block))
            }
            ("tsize", _) => ("tsize", size),
            ("timeout", 1..=SLOWEST) => {
                agreed.timeout = Duration::from_secs(value);
                ("timeout", value)
            }
            ("windowsize", 1..=65535) => {
                agreed.window = u16::try_from(value).unwrap_or(MAX_WINDOW).min(MAX_WINDOW);
                ("windowsize", u64::from(agreed.window))
            }
            _ => continue,
        };
        if !agreed.acknowledged.iter().any(|(name, _)| *name == granted.0) {
            agreed.acknowledged.push(granted);
        }
    }
    agreed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensible_options_are_granted() {
        for (case, options, acknowledged) in [
            ("none", vec![], vec![]),
            ("a PXE ROM's probe", vec![("tsize", "0"), ("blksize", "1456")], vec![("tsize", 9000), ("blksize", 1456)]),
            ("more than Ethernet carries", vec![("BLKSIZE", "65464")], vec![("blksize", 1468)]),
            ("a window", vec![("windowsize", "64")], vec![("windowsize", 16)]),
            ("a timeout", vec![("timeout", "5")], vec![("timeout", 5)]),
            ("a timeout that would hold a place for half an hour", vec![("timeout", "255")], vec![]),
            (
                "nonsense",
                vec![("blksize", "7"), ("timeout", "0"), ("windowsize", "0"), ("tsize", "x"), ("multicast", "1")],
                vec![],
            ),
            ("the same twice", vec![("tsize", "0"), ("tsize", "0")], vec![("tsize", 9000)]),
        ] {
            assert_eq!(agree(&options, 9000).acknowledged, acknowledged, "{case}");
        }
        assert_eq!(agree(&[], 0), Agreed { block: 512, window: 1, timeout: DEFAULT_TIMEOUT, acknowledged: vec![] });
    }

    #[test]
    fn climbing_paths_are_access_violations() {
        assert_eq!(file_name("02:00:00:00:00:01/ipxe.efi").unwrap(), "ipxe.efi");
        assert_eq!(file_name("../../etc/passwd").map_err(|refused| refused.code()), Err(ErrorCode::AccessViolation));
    }
}
