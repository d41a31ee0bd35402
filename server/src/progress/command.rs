//! The commands and the phases of a workflow, and the table of which phase takes which command.

use std::fmt;

use jiff::SignedDuration;
use model::{AgentId, Workflow, WorkflowState};

use super::choose::Idle;
use super::lost::Heard;
use super::{Refused, Report};

/// A command for a workflow.
#[derive(Debug, Clone, Copy)]
pub enum Command<'c> {
    /// The agent asks for its next action.
    HandOut {
        agent: &'c AgentId,
    },
    Report(&'c Report),
    /// The work after the last action is done. `netboot_closed` means that `toggleAllowNetboot` was undone, too.
    Finish {
        netboot_closed: bool,
    },
    /// `at_once` means not to wait for the agent.
    Cancel {
        reason: &'c str,
        at_once: bool,
    },
    /// The agent asks for work, so it no longer runs an action of this workflow.
    Leave {
        agent: &'c AgentId,
    },
    /// Checks the global timeout.
    Expire,
    /// Checks how long the running action's agent has been silent.
    LookAfter(Heard),
    /// The host's clock was set: it shows this much more, or less, than expected.
    ClockMoved(SignedDuration),
    Pause {
        by: &'c str,
        reason: &'c str,
    },
    Resume {
        by: &'c str,
    },
    /// `from` is ACTION or TASK/ACTION. Without it the retry begins at the action that did not succeed.
    Retry {
        from: Option<&'c str>,
        by: &'c str,
        reason: &'c str,
    },
}

/// A command without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    HandOut,
    Report,
    Finish,
    Cancel,
    Leave,
    Expire,
    LookAfter,
    ClockMoved,
    Pause,
    Resume,
    Retry,
}

impl Word {
    pub const ALL: [Self; 11] = [
        Self::HandOut,
        Self::Report,
        Self::Finish,
        Self::Cancel,
        Self::Leave,
        Self::Expire,
        Self::LookAfter,
        Self::ClockMoved,
        Self::Pause,
        Self::Resume,
        Self::Retry,
    ];

    pub(super) const fn participle(self) -> &'static str {
        match self {
            Self::HandOut => "handed out",
            Self::Report => "reported",
            Self::Finish => "finished",
            Self::Cancel => "cancelled",
            Self::Leave => "left",
            Self::Expire => "expired",
            Self::LookAfter => "looked after",
            Self::ClockMoved => "moved with the clock",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Retry => "retried",
        }
    }
}

impl Command<'_> {
    #[must_use]
    pub const fn word(&self) -> Word {
        match self {
            Self::HandOut { .. } => Word::HandOut,
            Self::Report(_) => Word::Report,
            Self::Finish { .. } => Word::Finish,
            Self::Cancel { .. } => Word::Cancel,
            Self::Leave { .. } => Word::Leave,
            Self::Expire => Word::Expire,
            Self::LookAfter(_) => Word::LookAfter,
            Self::ClockMoved(_) => Word::ClockMoved,
            Self::Pause { .. } => Word::Pause,
            Self::Resume { .. } => Word::Resume,
            Self::Retry { .. } => Word::Retry,
        }
    }
}

/// The state of a workflow, as far as commands are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not rendered, or disabled.
    NotReady,
    Preparing,
    Pending,
    Running,
    Paused,
    /// It was cancelled, and waits for its running action to end.
    Cancelling,
    /// All actions succeeded, but the work after them is not done.
    Post,
    Succeeded,
    Failed,
    TimedOut,
}

impl Phase {
    pub const ALL: [Self; 10] = [
        Self::NotReady,
        Self::Preparing,
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Cancelling,
        Self::Post,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
    ];

    #[must_use]
    pub fn of(workflow: &Workflow) -> Self {
        let status = &workflow.status;
        let ready = workflow.spec.disabled != Some(true) && !status.tasks.is_empty();
        match status.state {
            Some(WorkflowState::Success) => Self::Succeeded,
            Some(WorkflowState::Failed) => Self::Failed,
            Some(WorkflowState::Timeout) => Self::TimedOut,
            Some(WorkflowState::Post) => Self::Post,
            Some(WorkflowState::Preparing) => Self::Preparing,
            Some(WorkflowState::Pending | WorkflowState::Running) if !ready => Self::NotReady,
            Some(_) if status.cancellation.is_some() => Self::Cancelling,
            Some(_) if status.paused.is_some() => Self::Paused,
            Some(WorkflowState::Pending) => Self::Pending,
            Some(WorkflowState::Running) => Self::Running,
            None => Self::NotReady,
        }
    }

    const fn state(self) -> Option<WorkflowState> {
        Some(match self {
            Self::Preparing => WorkflowState::Preparing,
            Self::Post => WorkflowState::Post,
            Self::Succeeded => WorkflowState::Success,
            Self::Failed => WorkflowState::Failed,
            Self::TimedOut => WorkflowState::Timeout,
            Self::NotReady | Self::Pending | Self::Running | Self::Paused | Self::Cancelling => return None,
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(state) = self.state() {
            return write!(out, "is {state}");
        }
        out.write_str(match self {
            Self::Pending => "is PENDING",
            Self::Running => "is RUNNING",
            Self::Paused => "is paused",
            Self::Cancelling => "is being cancelled",
            _ => "is not ready",
        })
    }
}

/// What a phase does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Takes,
    /// Does nothing, which is correct here.
    Ignores,
    Refuses,
}

use Rule::{Ignores as I, Refuses as R, Takes as T};

/// The rules of a command for every phase, in the order of `Phase::ALL`.
#[rustfmt::skip]
const fn rules(word: Word) -> [Rule; 10] {
    match word {
        //                 NotReady Preparing Pending Running Paused Cancelling Post Succeeded Failed TimedOut
        Word::HandOut   => [R,      R,        T,      T,      R,     R,         R,   R,        R,     R],
        Word::Report    => [R,      R,        T,      T,      T,     T,         R,   R,        R,     R],
        Word::Finish    => [I,      I,        I,      I,      I,     I,         T,   I,        I,     I],
        Word::Cancel    => [T,      T,        T,      T,      T,     T,         R,   R,        R,     R],
        Word::Leave     => [I,      I,        I,      I,      I,     T,         I,   I,        I,     I],
        Word::Expire    => [I,      I,        T,      T,      T,     T,         I,   I,        I,     I],
        Word::LookAfter => [I,      I,        I,      T,      T,     T,         I,   I,        I,     I],
        Word::ClockMoved=> [I,      I,        T,      T,      T,     T,         I,   I,        I,     I],
        Word::Pause     => [R,      R,        T,      T,      I,     R,         R,   R,        R,     R],
        Word::Resume    => [R,      R,        R,      R,      T,     R,         R,   R,        R,     R],
        Word::Retry     => [R,      R,        R,      R,      R,     R,         R,   R,        T,     T],
    }
}

/// Whether the table admits the command. False if the command changes nothing.
///
/// # Errors
/// When the phase refuses the command.
pub(super) fn admitted(workflow: &Workflow, word: Word) -> Result<bool, Refused> {
    let phase = Phase::of(workflow);
    let rule = Phase::ALL.iter().zip(rules(word)).find(|(other, _)| **other == phase).map_or(R, |(_, rule)| rule);
    match (rule, word, phase.state()) {
        (T, ..) => Ok(true),
        (I, ..) => Ok(false),
        (R, Word::HandOut, _) => Err(Refused::Idle(Idle::NotRunnable)),
        (R, Word::Report, Some(state)) => Err(Refused::Finished { state }),
        (R, ..) => Err(Refused::Not { word, phase }),
    }
}
