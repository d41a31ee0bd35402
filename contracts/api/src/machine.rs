//! The answer of [`crate::paths::machine`].

use std::net::SocketAddr;

use jiff::Timestamp;
use model::{AgentId, Hardware, Mac, Progress};
use serde::{Deserialize, Serialize};

use crate::{Attributes, Decision, LastStep, MachineState, Queued};

/// A known machine and what it shall boot now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The interface that was asked for; `None` if the question named an address that no interface has.
    pub mac: Option<Mac>,
    pub hardware: Hardware,
    #[serde(flatten)]
    pub boot: BootState,
    /// Without it the machine has not had an order, and its intent is `inventory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MachineState>,
    /// Its unfinished orders, in the order in which they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Queued>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Booted>,
    /// Other Hardware with the address by which it was asked for, in a store of an earlier version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_address: Vec<String>,
    /// What it asked last while it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_step: Option<LastStep>,
}

/// What a machine shall boot now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "boot", rename_all = "lowercase")]
pub enum BootState {
    /// The installation environment, because there is work.
    Install {
        /// `namespace/name`; `None` where no server hands out workflows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workflow: Option<String>,
    },
    /// Its own disk.
    Local { reason: String },
    /// The installation environment, to wait there for work.
    Wait { reason: String },
    /// The installation environment with `rescue`, without work.
    Rescue { reason: String },
    /// Nothing for now; the machine asks again.
    Hold { reason: String },
}

impl BootState {
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Install { .. } => "install",
            Self::Local { .. } => "local",
            Self::Wait { .. } => "wait",
            Self::Rescue { .. } => "rescue",
            Self::Hold { .. } => "hold",
        }
    }

    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Install { .. } => "there is work for it",
            Self::Local { reason } | Self::Wait { reason } | Self::Rescue { reason } | Self::Hold { reason } => reason,
        }
    }
}

/// A line of [`crate::paths::MACHINES`]: a machine that has an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineLine {
    pub hardware: String,
    #[serde(flatten)]
    pub decision: Decision,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<String>,
    /// Of its agent's latest call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// The latest call of a machine's agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    #[serde(default)]
    pub id: AgentId,
    pub last_seen: Timestamp,
    pub address: Option<SocketAddr>,
    /// Whether its latest call came by TLS. `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// Those of its PCI devices, with `*` for each part that the agent did not report.
    #[serde(default)]
    pub modaliases: Vec<String>,
    /// Of the action that it runs, if that says how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// The latest announcement of the installed system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    pub time: Timestamp,
    pub text: String,
}
