//! One order for many machines.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is ordered: the body of a call to `start` of a Rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// A label selector over the Hardware of the namespace.
    pub selector: String,
    /// The Template that each machine runs.
    pub template_ref: String,
    /// The key of `hardwareMap` that gets the machine's agent.
    #[serde(default = "device_1")]
    pub worker_key: String,
    /// How many machines work at the same time.
    #[serde(default = "one")]
    pub at_once: u32,
    /// How many machines are in the first waves; the last wave is everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<u32>,
    /// It stops when so many machines have failed. 0 means never.
    #[serde(default = "one")]
    pub stop_after: u32,
    /// A machine that has not finished in so many seconds counts as failed. 0 means never.
    #[serde(default)]
    pub machine_timeout: u32,
}

fn device_1() -> String {
    "device_1".to_owned()
}

const fn one() -> u32 {
    1
}

/// What the store keeps. How far each machine is, its Workflow says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    pub namespace: String,
    pub name: String,
    pub spec: RolloutSpec,
    pub state: RolloutState,
    /// Why it is in this state.
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
    /// Failures that a person has seen and gone on from.
    #[serde(default)]
    pub forgiven: u32,
    /// The names of the Hardware, wave by wave, as they were selected at the start.
    pub waves: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutState {
    Running,
    /// No further machine begins. `resume` goes on.
    Paused,
    /// It ended early. `resume` goes on.
    Stopped,
    Done,
}

impl RolloutState {
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Stopped, Self::Done];
}

impl fmt::Display for RolloutState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Done => "done",
        })
    }
}

/// How far a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It has no order of this rollout yet.
    Waiting,
    Ordered,
    Succeeded,
    Failed,
    /// Its order was deleted or cancelled.
    Withdrawn,
}

impl fmt::Display for MemberState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Waiting => "waiting",
            Self::Ordered => "ordered",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub hardware: String,
    /// From 1.
    pub wave: usize,
    pub workflow: String,
    pub state: MemberState,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The answer of `progress` of a Rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutProgress {
    #[serde(flatten)]
    pub rollout: Rollout,
    pub members: Vec<Member>,
}

/// The body of a call to `change` of a Rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutOrder {
    pub order: RolloutChange,
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutChange {
    Pause,
    Resume,
    Stop,
}
