//! Workflow: a template meant for a machine, and everything that has happened to it so far.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Namespaces, Resource};

pub type Workflow = Resource<WorkflowSpec, WorkflowStatus>;

/// The runner of actions: the `worker` of a task, the kernel argument `worker_id`. Often a MAC, but any text is valid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(pub String);

impl fmt::Display for AgentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<&str> for AgentId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowSpec {
    pub template_ref: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hardware_ref: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hardware_map: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_options: Option<BootOptions>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toggle_allow_netboot: Option<bool>,
    #[serde(rename = "isoURL", skip_serializing_if = "Option::is_none")]
    pub iso_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customboot_config: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<WorkflowState>,
    /// One line for people about the latest notable event.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(rename = "agentID", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_state: Option<CurrentState>,
    /// `successful` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_rendering: Option<String>,
    /// Seconds; 0 means no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub global_timeout: i64,
    /// When the first action of its latest order was handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_execution_stop: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_options: Option<BootOptionsStatus>,
    /// Set by a request to cancel. The workflow ends when its running action has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// When the running action's own timeout passes, by the server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_stop: Option<Timestamp>,
    /// When the current task's own timeout passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_stop: Option<Timestamp>,
    /// When the action that has failed runs again. Until then nothing is handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// When it became an order for its machines. That happens once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Timestamp>,
    /// While this is set, no further action is handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// How far the running action is. It is not part of the event log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// How far its event log goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logged: Option<Logged>,
    /// Of several servers those that have lines of its log. It is not part of the event log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_servers: Vec<LogServer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<WorkflowTask>,
}

/// A server that has lines of a log in its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogServer {
    /// As in its Lease, `thimble-server-ID`.
    pub id: String,
    #[serde(default)]
    pub host: String,
}

/// How far an action is, by its own words: a line `progress 45% ...`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub workflow: String,
    pub action: String,
    pub percent: u8,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootOptionsStatus {
    pub allow_netboot: AllowNetboot,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowNetboot {
    pub toggled_true: bool,
    pub toggled_false: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    pub requested: Timestamp,
    /// One line from the person who cancelled.
    #[serde(default)]
    pub reason: String,
}

/// Who paused a workflow, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    pub since: Timestamp,
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

/// The latest entry of a workflow's event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logged {
    /// Entries are numbered from 1.
    pub entries: u64,
    pub latest: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CurrentState {
    #[serde(rename = "agentID")]
    pub agent_id: AgentId,
    #[serde(rename = "taskID")]
    pub task_id: String,
    #[serde(rename = "actionID")]
    pub action_id: String,
    pub state: ActionState,
    pub action_name: String,
    pub task_name: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowTask {
    pub id: String,
    pub name: String,
    #[serde(rename = "agentID")]
    pub agent_id: AgentId,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Seconds from the first of its actions that is handed out; 0 means no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    pub actions: Vec<WorkflowAction>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowAction {
    pub id: String,
    pub name: String,
    pub image: String,
    /// Seconds; 0 means no limit.
    pub timeout: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    pub state: ActionState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_start: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_stop: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub execution_duration: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How often the action was handed out to run from its start.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub attempts: u32,
    /// How often it runs again after it has failed.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub retries: u32,
    /// How many of these were used.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub retried: u32,
    /// It has succeeded once it runs. How it ends does not count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// Its `if` is false, so it never runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
    /// The workflow goes on after its failure.
    #[serde(rename = "continueOnFailure", skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// It has failed, and the workflow went on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub passed_over: bool,
    /// Commands that run in its image after it has failed, and after its timeout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_timeout: Vec<String>,
    /// It runs such a command of the action before it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follows_failure: bool,
    /// The timeout is for all attempts together.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timeout_of_all: bool,
    /// When its first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_start: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_none_yet(value: &u32) -> bool {
    *value == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ActionState {
    #[default]
    Pending,
    Running,
    Failed,
    Timeout,
    Success,
}

impl ActionState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::Success => "SUCCESS",
        }
    }

    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Timeout | Self::Success)
    }
}

impl fmt::Display for ActionState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WorkflowState {
    Preparing,
    Pending,
    Running,
    Post,
    Success,
    Failed,
    Timeout,
}

impl WorkflowState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "PREPARING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Post => "POST",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
        }
    }

    /// An agent may be given an action.
    #[must_use]
    pub const fn is_runnable(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }

    /// The state is the last one.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Timeout)
    }
}

impl fmt::Display for WorkflowState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// Two units at most, as Tinkerbell's agents write it: `1h2m0s` is `1h2m`, `3.25s` is `3s250ms`.
#[must_use]
pub fn took_text(took: SignedDuration) -> String {
    let millis = took.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let mut rest = millis.max(0);
    let parts = units.map(|(size, unit)| {
        let count = rest / size;
        rest %= size;
        (count, unit)
    });
    let text: String =
        parts.iter().filter(|(count, _)| *count > 0).take(2).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (millis, text) in
            [(0, "0s"), (7, "7ms"), (3250, "3s250ms"), (3_720_000, "1h2m"), (3_600_500, "1h500ms"), (61_000, "1m1s")]
        {
            assert_eq!(took_text(SignedDuration::from_millis(millis)), text);
        }
    }
}
