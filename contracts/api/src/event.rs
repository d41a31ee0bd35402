//! What [`crate::paths::EVENTS`] sends: one JSON object a line.

use jiff::Timestamp;
use model::{ActionState, AgentId, Kind, Mac, WorkflowState};
use serde::{Deserialize, Serialize};

use crate::{Change, Intent};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows with every event, also over restarts of the server.
    pub revision: u64,
    pub time: Timestamp,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// Hardware, Template or Workflow created, updated or deleted.
    Object { kind: Kind, name: String, change: Change },
    /// A workflow's state changed.
    Workflow {
        workflow: String,
        state: Option<WorkflowState>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// An action's state changed, or it was handed out again.
    Action {
        workflow: String,
        task: String,
        action: String,
        agent: AgentId,
        state: ActionState,
        attempts: u32,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        duration: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// What a machine shall boot was set.
    Intent { hardware: String, intent: Intent, by: String, reason: String },
    /// An agent called for the first time since the server started.
    Agent { agent: AgentId, address: String },
    /// A milestone of a machine's boot, as boots sees it: offered, NBP sent, script, kernel, ...
    Machine { mac: Mac, milestone: String, detail: String },
    /// The installed system announced itself.
    Booted { mac: Mac, text: String },
    /// A line that a machine sent by syslog.
    Log { source: String, text: String },
    /// Events that this reader did not get. Their number is unknown if the server restarted meanwhile.
    Missed { count: Option<u64> },
}
