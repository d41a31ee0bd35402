//! The events of a workflow's log: what happened, when, and in words. Each entry is bounded, whatever its source.

use std::fmt;

use jiff::Timestamp;
use model::{ActionState, AgentId, BootOptionsStatus, WorkflowState};
use serde::{Deserialize, Serialize};

/// The most characters of a text from outside.
const MOST_TEXT: usize = 4096;
/// The most characters of a name, which the log has for its readers only.
const MOST_NAME: usize = 128;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// The time by the server's clock.
    pub at: Timestamp,
    #[serde(flatten)]
    pub fact: Fact,
}

/// An action by its position. The name and the agent are for readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    pub task: usize,
    pub action: usize,
    pub name: String,
    pub agent: AgentId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fact {
    /// The workflow was rendered and ordered, or the message says why not.
    Prepared {
        state: Option<WorkflowState>,
        actions: usize,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rendering: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ordered: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot_options: Option<BootOptionsStatus>,
    },
    HandedOut {
        #[serde(flatten)]
        which: Which,
        attempt: u32,
        again: bool,
    },
    Reported {
        #[serde(flatten)]
        which: Which,
        state: ActionState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        duration: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// It runs in the background, which counts as its success.
    Detached {
        #[serde(flatten)]
        which: Which,
    },
    /// The last action succeeded, and the work after it is done.
    Finished {
        netboot_closed: bool,
    },
    /// It ends as soon as its running action has ended.
    CancelAsked {
        reason: String,
        waits_for: String,
    },
    /// It ends now. The running action, if any, ends as FAILED without a report.
    Cancelled {
        reason: String,
    },
    /// The global timeout has passed.
    Expired,
    /// The server ends an action that its agent does not end.
    ActionTimedOut {
        #[serde(flatten)]
        which: Which,
        /// When the agent was last heard, if it is lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_heard: Option<Timestamp>,
    },
    AgentLost {
        #[serde(flatten)]
        which: Which,
        last_heard: Timestamp,
    },
    AgentHeard,
    /// The host's clock was set, and the deadlines moved with it.
    ClockMoved {
        seconds: i64,
    },
    /// Its `if` is false.
    Skipped {
        #[serde(flatten)]
        which: Which,
    },
    /// A failed action runs again at this time. Until then nothing is handed out.
    RetryScheduled {
        #[serde(flatten)]
        which: Which,
        attempt: u32,
        begins: Timestamp,
    },
    RetryDue,
    /// The next action is the command that runs after a failure of this one.
    CommandDue {
        #[serde(flatten)]
        which: Which,
    },
    /// The command after a failure has ended, and so has the workflow.
    CommandEnded {
        #[serde(flatten)]
        which: Which,
    },
    /// The action has failed, and the workflow continues.
    PassedOver {
        #[serde(flatten)]
        which: Which,
    },
    /// The timeout of a task has passed.
    TaskExpired {
        task: usize,
        name: String,
        seconds: i64,
    },
    Paused {
        by: String,
        reason: String,
    },
    Resumed {
        by: String,
    },
    /// All actions from this one on run again, as if they had never run.
    Retried {
        #[serde(flatten)]
        which: Which,
        by: String,
        reason: String,
    },
}

/// A text from outside, cut to the size of an entry.
pub(super) fn bounded(text: &str) -> String {
    cut(text, MOST_TEXT)
}

pub(super) fn name(text: &str) -> String {
    cut(text, MOST_NAME)
}

fn cut(text: &str, most: usize) -> String {
    text.char_indices().nth(most).map_or(text, |(end, _)| text.get(..end).unwrap_or(text)).to_owned()
}

impl Fact {
    /// The word by which programs identify it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Prepared { .. } => "prepared",
            Self::HandedOut { .. } => "handedOut",
            Self::Reported { .. } => "reported",
            Self::Detached { .. } => "detached",
            Self::Finished { .. } => "finished",
            Self::CancelAsked { .. } => "cancelAsked",
            Self::Cancelled { .. } => "cancelled",
            Self::Expired => "expired",
            Self::ActionTimedOut { .. } => "actionTimedOut",
            Self::AgentLost { .. } => "agentLost",
            Self::AgentHeard => "agentHeard",
            Self::ClockMoved { .. } => "clockMoved",
            Self::Skipped { .. } => "skipped",
            Self::RetryScheduled { .. } => "retryScheduled",
            Self::RetryDue => "retryDue",
            Self::CommandDue { .. } => "commandDue",
            Self::CommandEnded { .. } => "commandEnded",
            Self::PassedOver { .. } => "passedOver",
            Self::TaskExpired { .. } => "taskExpired",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Retried { .. } => "retried",
        }
    }
}

/// `: text`, or nothing.
struct After<'t>(&'t str);

impl fmt::Display for After<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(out, ": {}", self.0) }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared { state: Some(WorkflowState::Pending), actions, message, ordered, .. } => {
                let ordered = if ordered.is_some() { " and ordered" } else { "" };
                write!(out, "rendered with {actions} actions{ordered}{}", After(message))
            }
            Self::Prepared { state: Some(state), message, .. } => write!(out, "imported as {state}{}", After(message)),
            Self::Prepared { state: None, message, .. } => write!(out, "not ready{}", After(message)),
            Self::HandedOut { which, attempt, again } => {
                let again = if *again { " again" } else { "" };
                write!(out, "action {} handed out{again} to agent {}, attempt {attempt}", which.name, which.agent)
            }
            Self::Reported { which, state, duration, message, .. } => {
                let took = if duration.is_empty() { String::new() } else { format!(" after {duration}") };
                write!(out, "agent {} reported action {} as {state}{took}{}", which.agent, which.name, After(message))
            }
            Self::Detached { which } => write!(out, "action {} goes on in the background", which.name),
            Self::Finished { .. } => out.write_str("all actions succeeded"),
            Self::CancelAsked { reason, waits_for } => {
                write!(out, "cancelled, waits for action {waits_for} to end{}", After(reason))
            }
            Self::Cancelled { reason } => write!(out, "cancelled{}", After(reason)),
            Self::Expired => out.write_str("the global timeout has passed"),
            Self::ActionTimedOut { which, last_heard } => {
                write!(out, "action {} ended: its timeout has passed without a report", which.name)?;
                last_heard.map_or(Ok(()), |at| write!(out, "; agent {} was last heard at {at}", which.agent))
            }
            Self::AgentLost { which, last_heard } => {
                write!(out, "agent {} is lost while action {} runs; it was last heard at {last_heard}", which.agent, which.name)
            }
            Self::AgentHeard => out.write_str("the agent is heard again"),
            Self::ClockMoved { seconds: 0 } => out.write_str("the server's clock was set back, and the deadlines with it"),
            Self::ClockMoved { seconds } => write!(out, "the server's clock was set by {seconds} s, and the deadlines with it"),
            Self::Skipped { which } => write!(out, "action {} is skipped: its `if` is false", which.name),
            Self::RetryScheduled { which, attempt, begins } => {
                write!(out, "action {} runs again: attempt {attempt} begins at {begins}", which.name)
            }
            Self::RetryDue => out.write_str("the pause before the next attempt is over"),
            Self::CommandDue { which } => write!(out, "the command after the failure of action {} is to run", which.name),
            Self::CommandEnded { which } => write!(out, "the command after the failure of action {} has ended", which.name),
            Self::PassedOver { which } => write!(out, "the workflow goes on after the failure of action {}", which.name),
            Self::TaskExpired { name, seconds, .. } => write!(out, "the timeout of {seconds} s of task {name} has passed"),
            Self::Paused { by, reason } => write!(out, "paused by {by}{}", After(reason)),
            Self::Resumed { by } => write!(out, "resumed by {by}"),
            Self::Retried { which, by, reason } => {
                write!(out, "ordered again from action {} by {by}{}", which.name, After(reason))
            }
        }
    }
}
