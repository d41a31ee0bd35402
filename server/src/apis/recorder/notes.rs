//! Which events a person wants to read, and their words. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use api::{Event, Intent, What};
use jiff::Timestamp;
use model::{ActionState, ObjectName, WorkflowState};

use crate::http::line;

/// Letters of a message, as Kubernetes has it.
const LONGEST: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Workflow,
    Hardware,
    MachineState,
}

impl About {
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Workflow => "workflows",
            Self::Hardware => "hardware",
            Self::MachineState => "machinestates",
        }
    }
}

/// An event before it is known which object of this name it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub about: About,
    pub name: ObjectName,
    pub reason: &'static str,
    pub warns: bool,
    pub message: String,
    pub at: Timestamp,
    /// No other event about an object of this name has it.
    pub number: u64,
}

impl Note {
    /// Equal for events that say the same.
    pub fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.about as u8, self.reason, &self.message).hash(&mut hasher);
        hasher.finish()
    }
}

/// What a person should read of what has happened: nothing, or an event for each object that it is about.
pub fn notes(event: &Event) -> Vec<Note> {
    let note = |about: About, name: &str, (reason, warns): (&'static str, bool), message: &str| {
        let (namespace, name) = name.split_once('/')?;
        let message = line(message, LONGEST); // agents write messages
        Some(Note {
            about,
            name: ObjectName::new(namespace, name),
            reason,
            warns,
            message,
            at: event.time,
            number: event.revision.wrapping_mul(4) + about as u64,
        })
    };
    match &event.what {
        What::Workflow { state: None, message, .. } if message.is_empty() => Vec::new(),
        What::Workflow { workflow, state, message } => {
            let words = state.map_or(("Waiting", true), of_state);
            note(About::Workflow, workflow, words, message).into_iter().collect()
        }
        What::Action { workflow, task, action, agent, state, attempts, message, .. } => {
            let reason = match state {
                ActionState::Failed => "ActionFailed",
                ActionState::Timeout => "ActionTimedOut",
                ActionState::Pending | ActionState::Running | ActionState::Success => return Vec::new(),
            };
            let attempt = if *attempts > 1 { format!(", attempt {attempts}") } else { String::new() };
            let said = if message.is_empty() { String::new() } else { format!(": {message}") };
            let message = format!("action {action} of task {task} on {agent}{attempt}{said}");
            note(About::Workflow, workflow, (reason, true), &message).into_iter().collect()
        }
        What::Intent { hardware, intent, by, reason } => {
            let message = if reason.is_empty() { format!("by {by}") } else { format!("by {by}: {reason}") };
            let both = [About::Hardware, About::MachineState].into_iter();
            both.filter_map(|about| note(about, hardware, of_intent(*intent), &message)).collect()
        }
        _ => Vec::new(),
    }
}

const fn of_state(state: WorkflowState) -> (&'static str, bool) {
    match state {
        WorkflowState::Preparing => ("Preparing", false),
        WorkflowState::Pending => ("Pending", false),
        WorkflowState::Running => ("Running", false),
        WorkflowState::Post => ("Finishing", false),
        WorkflowState::Success => ("Succeeded", false),
        WorkflowState::Failed => ("Failed", true),
        WorkflowState::Timeout => ("TimedOut", true),
    }
}

const fn of_intent(intent: Intent) -> (&'static str, bool) {
    match intent {
        Intent::Install => ("Install", false),
        Intent::Local => ("BootDisk", false),
        Intent::Rescue => ("Rescue", false),
        Intent::Inventory => ("Wait", false),
        Intent::Hold => ("Hold", true),
        Intent::Discover => ("Discovered", false),
    }
}
