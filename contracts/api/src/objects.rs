//! Answers about objects: applied, listed, cancelled, refused.

use std::fmt;

use jiff::Timestamp;
use model::{API_VERSION, AgentId, Kind, Mistake, WorkflowState};
use serde::{Deserialize, Serialize};

/// The body of an answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub error: String,
}

/// The answer to a call that applies objects ([`crate::paths::APPLY`]). With mistakes nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Applied {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default)]
    pub changes: Vec<Changed>,
    /// Hardware that the change orders to be installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub installs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
    /// What a person should know although nothing is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What applying did to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub kind: Kind,
    pub name: String,
    pub change: Change,
    /// Why the object is stored but not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Created,
    Updated,
    Unchanged,
    Deleted,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        })
    }
}

/// All objects of a kind, shaped as Kubernetes shapes a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    pub api_version: String,
    pub kind: String,
    pub items: Vec<T>,
}

impl<T> List<T> {
    #[must_use]
    pub fn of(kind: Kind, items: Vec<T>) -> Self {
        Self { api_version: API_VERSION.to_owned(), kind: format!("{kind}List"), items }
    }
}

/// Why a workflow does not go on now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub phase: WaitPhase,
    pub reason: String,
    pub since: Timestamp,
    /// Seconds after which the phase has taken too long.
    pub limit: u64,
    #[serde(default)]
    pub overdue: bool,
}

/// What a workflow waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitPhase {
    /// To be rendered.
    Ready,
    /// For the end of a hold.
    Approval,
    /// For an order: the machine's intent gives it no work.
    Order,
    /// For another workflow of the machine.
    Queue,
    /// For a resume.
    Resume,
    /// For the pause after a failed attempt to pass.
    Retry,
    /// For the machine to boot.
    Boot,
    /// For the agent to ask.
    Agent,
    /// For the agent to report that its action runs.
    Start,
    /// For the end of the action that runs.
    Report,
    /// For the running action to be stopped.
    Stop,
}

impl fmt::Display for WaitPhase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Ready => "ready",
            Self::Approval => "approval",
            Self::Order => "order",
            Self::Queue => "queue",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Boot => "boot",
            Self::Agent => "agent",
            Self::Start => "start",
            Self::Report => "report",
            Self::Stop => "stop",
        })
    }
}

/// A workflow in the queue of a machine. The first one is its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    pub workflow: String,
    pub state: Option<WorkflowState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// One entry of a workflow's event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// From 1. A log that has lost its oldest entries begins later.
    pub number: u64,
    pub time: Timestamp,
    /// The word for programs: `handedOut`, `reported`, ...
    pub event: String,
    pub text: String,
}

/// The body of a call to `change` of a Workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowOrder {
    #[serde(flatten)]
    pub change: WorkflowChange,
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

/// What an operator orders for one workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "lowercase")]
pub enum WorkflowChange {
    /// Hand out no further action; the running one goes on.
    Pause,
    Resume,
    /// Go on after a failure, a timeout or a cancel.
    Retry {
        /// ACTION or TASK/ACTION, up to the one that did not succeed; that one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// Run an ended one once more, as a new Workflow.
    Rerun,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowOrdered {
    /// `namespace/name` of the workflow that it concerns from now on.
    pub workflow: String,
    pub message: String,
}

/// The answer to a request to cancel a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// False while the workflow waits for its running action to end.
    pub ended: bool,
    #[serde(flatten)]
    pub running: Option<RunningAction>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAction {
    pub agent: AgentId,
    pub action: String,
}
