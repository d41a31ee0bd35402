//! What a read request gets: which file, and which of its options. Pure.

use std::io;
use std::time::Duration;

use super::packet::ErrorCode;
use crate::beneath::OpenError;

/// Without `blksize` (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;
/// Ethernet fragments larger blocks, and firmware often cannot reassemble them.
const MAX_BLOCK: u16 = 1468;
/// Beyond it RFC 7440 gains nothing, and a lost packet costs more.
const MAX_WINDOW: u16 = 64;
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
    #[error("no {path:?} for this machine: {why}")]
    NotMade { path: String, why: String },
    #[error("no socket for the transfer, try again")]
    NoSocket(#[source] io::Error),
    #[error("this client has too many transfers, try again")]
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
            Self::NotFound(_) | Self::NotMade { .. } => ErrorCode::NotFound,
            Self::Busy | Self::NoSocket(_) | Self::Unreadable { .. } => ErrorCode::Undefined,
        }
    }
}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Outside(path) => Self::Outside(path),
            OpenError::Missing(path) => Self::NotFound(path),
            OpenError::Io { path: name, source } => Self::Unreadable { name, source },
        }
    }
}

/// Known options with a usable value are granted, perhaps with a smaller value. Others are ignored. `largest` is the
/// largest block that leaves in one packet.
#[must_use]
pub fn agree(options: &[(&str, &str)], size: u64, largest: usize) -> Agreed {
    let largest = u16::try_from(largest).unwrap_or(MAX_BLOCK).clamp(DEFAULT_BLOCK, MAX_BLOCK);
    let mut agreed = Agreed { block: DEFAULT_BLOCK, window: 1, timeout: DEFAULT_TIMEOUT, acknowledged: Vec::new() };
    for (name, value) in options {
        let Ok(value) = value.parse::<u64>() else { continue };
        let granted = match (name.to_ascii_lowercase().as_str(), value) {
            ("blksize", 8..=65464) => {
                agreed.block = u16::try_from(value).unwrap_or(largest).min(largest);
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
            ("a window", vec![("windowsize", "64")], vec![("windowsize", 64)]),
            ("a larger window", vec![("windowsize", "65535")], vec![("windowsize", 64)]),
            ("a timeout", vec![("timeout", "5")], vec![("timeout", 5)]),
            ("a timeout that would hold a place for half an hour", vec![("timeout", "255")], vec![]),
            (
                "nonsense",
                vec![("blksize", "7"), ("timeout", "0"), ("windowsize", "0"), ("tsize", "x"), ("multicast", "1")],
                vec![],
            ),
            ("the same twice", vec![("tsize", "0"), ("tsize", "0")], vec![("tsize", 9000)]),
        ] {
            assert_eq!(agree(&options, 9000, 8968).acknowledged, acknowledged, "{case}");
        }
        assert_eq!(agree(&[], 0, 1468), Agreed { block: 512, window: 1, timeout: DEFAULT_TIMEOUT, acknowledged: vec![] });
    }

    #[test]
    fn blocks_fit_into_the_packets_of_the_network() {
        for (case, asked, largest, block) in [
            ("Ethernet", "1468", 1468, 1468),
            ("a tunnel", "1468", 1418, 1418),
            ("less than the tunnel carries", "1024", 1418, 1024),
            ("jumbo frames, which the client may not have", "8000", 8968, 1468),
            ("less than every link carries", "1468", 0, 512),
        ] {
            assert_eq!(agree(&[("blksize", asked)], 0, largest).block, block, "{case}");
        }
    }
}
