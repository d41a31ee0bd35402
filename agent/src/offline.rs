//! A workflow without a server: the actions of a file, each once and in order, until one fails. The loop, the log lines and
//! the exit codes are the same as with a server.

mod format;

use std::fs;
use std::path::Path;

use proto::action_status_request::StateType;
use proto::{ActionResponse, ActionStatusRequest};
use tonic::Status;

use crate::transport::decide::Answer;
use machine::exit;

pub use format::actions;

/// A workflow file in place of a server.
#[derive(Debug, Default)]
pub struct Script {
    actions: Vec<ActionResponse>,
    done: usize,
    failed: bool,
}

impl Script {
    pub fn new(actions: Vec<ActionResponse>) -> Self {
        Self { actions, done: 0, failed: false }
    }

    pub fn get_action(&self) -> Result<Answer, Status> {
        let none = || Status::not_found("the workflow file has no more actions");
        let response = self.actions.get(self.done).cloned().ok_or_else(none)?;
        let later = self.actions.iter().skip(self.done + 1).map(|action| &action.image);
        let next_image = later.flatten().find(|image| Some(*image) != response.image.as_ref()).cloned();
        Ok(Answer { response, next_image })
    }

    pub fn report(&mut self, report: &ActionStatusRequest) {
        let current = self.actions.get(self.done).is_some_and(|action| action.action_id == report.action_id);
        match report.action_state() {
            StateType::Success if current => self.done += 1,
            StateType::Failed | StateType::Timeout if current => self.failed = true,
            _ => {}
        }
    }

    pub fn over(&self) -> Option<u8> {
        match (self.failed, self.done >= self.actions.len()) {
            (true, _) => Some(exit::FAILED),
            (false, true) => Some(exit::STOP),
            (false, false) => None,
        }
    }
}

/// Reads a workflow file in JSON, which every build of the agent can do. `thimble agent` also reads YAML and templates.
pub fn read_json(path: &Path) -> Result<Vec<ActionResponse>, String> {
    let named = |error: &dyn std::fmt::Display| format!("cannot read the workflow file {}: {error}", path.display());
    let text = fs::read(path).map_err(|error| named(&error))?;
    let value = serde_json::from_slice(&text)
        .map_err(|error| named(&format!("{error}; this program reads JSON, `thimble agent` reads YAML and templates")))?;
    let name = path.file_stem().map_or_else(|| "file".into(), |stem| stem.to_string_lossy());
    actions(&value, &name).map_err(|mistake| named(&mistake))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(id: &str) -> ActionResponse {
        ActionResponse { action_id: Some(id.into()), ..ActionResponse::default() }
    }

    fn report(id: &str, state: StateType) -> ActionStatusRequest {
        ActionStatusRequest { action_id: Some(id.into()), action_state: Some(state.into()), ..ActionStatusRequest::default() }
    }

    #[test]
    fn actions_follow_each_other_until_the_last_succeeds_or_one_fails() {
        use StateType::{Failed, Running, Success, Timeout};
        for (case, reports, next, over) in [
            ("nothing happened", vec![], Some("a"), None),
            ("the first runs", vec![("a", Running)], Some("a"), None),
            ("a report of another workflow", vec![("z", Success)], Some("a"), None),
            ("the first is done", vec![("a", Running), ("a", Success)], Some("b"), None),
            ("twice the same report", vec![("a", Success), ("a", Success)], Some("b"), None),
            ("the first fails", vec![("a", Failed)], Some("a"), Some(1)),
            ("the second takes too long", vec![("a", Success), ("b", Timeout)], Some("b"), Some(1)),
            ("all are done", vec![("a", Success), ("b", Success)], None, Some(0)),
        ] {
            let mut script = Script::new(vec![action("a"), action("b")]);
            reports.into_iter().for_each(|(id, state)| script.report(&report(id, state)));
            let given = script.get_action().ok().and_then(|answer| answer.response.action_id);
            assert_eq!((given.as_deref(), script.over()), (next, over), "{case}");
        }
    }
}
