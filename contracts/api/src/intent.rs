//! What a machine shall boot: state of the machine, changed by success and by explicit orders only.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What boots gives a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// The ramdisk. Its agent gets the ordered workflows.
    Install,
    /// Its own disk.
    Local,
    /// The ramdisk with `rescue`, without work.
    Rescue,
    /// The ramdisk. Attributes are taken, and no action is handed out.
    Inventory,
    /// Nothing. The script shows the reason and asks again every minute.
    Hold,
    /// The ramdisk, without work: the machine named itself, and waits for approval.
    Discover,
}

impl Intent {
    pub const ALL: [Self; 6] = [Self::Install, Self::Local, Self::Rescue, Self::Inventory, Self::Hold, Self::Discover];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Local => "local",
            Self::Rescue => "rescue",
            Self::Inventory => "inventory",
            Self::Hold => "hold",
            Self::Discover => "discover",
        }
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// An intent with who set it, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub intent: Intent,
    pub by: String,
    pub at: Timestamp,
    pub reason: String,
}

/// What the store keeps for each Hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineState {
    #[serde(flatten)]
    pub decision: Decision,
    /// Workflows that are ordered for the machine, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<String>,
    /// An action of these orders was handed out. Until then the machine can go back to `before`.
    #[serde(default)]
    pub begun: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Decision>,
    /// A workflow has succeeded on the machine, or its installed system has announced itself.
    #[serde(default)]
    pub finished: bool,
    /// When it got the ramdisk for these orders since their latest progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<Timestamp>,
    /// Agents that ran on it until its Hardware was deleted or changed, and that run on no other one since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<model::AgentId>,
}

/// The body of a call to [`crate::paths::machine_intent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub order: OrderKind,
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

/// What an operator orders for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    Rescue,
    Hold,
    Local,
    /// Continue the workflow that waits, or run the newest one once more as a new Workflow.
    Reinstall,
    /// End a hold, or the wait of a discovered machine.
    Approve,
}
