//! How far a machine has come.

use serde::{Deserialize, Serialize};

/// In the order of a boot. The time of each counts from the machine's first DISCOVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// The firmware has an address.
    Firmware,
    /// It has the network boot program.
    Nbp,
    /// iPXE has an address.
    Ipxe,
    Script,
    Kernel,
    Ramdisk,
    /// PID 1 has an address.
    Network,
    /// The agent has its first action.
    Action,
    /// The server has acknowledged three reports of any kind.
    ThirdReport,
    /// The server has acknowledged the success of the third action, so the workflow has ended.
    Done,
}

impl Milestone {
    pub const ALL: [Self; 10] = [
        Self::Firmware,
        Self::Nbp,
        Self::Ipxe,
        Self::Script,
        Self::Kernel,
        Self::Ramdisk,
        Self::Network,
        Self::Action,
        Self::ThirdReport,
        Self::Done,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware's address",
            Self::Nbp => "boot program",
            Self::Ipxe => "iPXE's address",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::Network => "PID 1's address",
            Self::Action => "first action",
            Self::ThirdReport => "third report acknowledged",
            Self::Done => "third success acknowledged",
        }
    }
}
