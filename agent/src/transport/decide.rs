//! What each answer of the server means for the agent. No I/O: every rule of the protocol is in this file.

use std::error::Error as _;

use proto::ActionResponse;
use proto::detail::says_no_action_available;
use tonic::{Code, Status};

use crate::action::Action;

/// The result of asking for an action.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Work(Box<Action>),
    /// Not an error: there is nothing to do now.
    Nothing,
    /// The connection failed. Try again soon, because the server may be restarting.
    Unreachable(String),
    /// The server answers with an error. Try again with growing pauses.
    Trouble(String),
}

/// The server's answer with work: an action, and the image that it expects to be needed next.
#[derive(Debug, Default)]
pub struct Answer {
    pub response: ActionResponse,
    pub next_image: Option<String>,
}

impl From<ActionResponse> for Answer {
    fn from(response: ActionResponse) -> Self {
        Self { response, next_image: None }
    }
}

pub fn asked(answer: Result<Answer, Status>) -> Asked {
    match answer {
        Ok(Answer { response, .. }) if response.action_id.as_deref().unwrap_or_default().is_empty() => Asked::Nothing,
        Ok(Answer { response, next_image }) => match Action::from_wire(response) {
            Ok(action) => Asked::Work(Box::new(Action { next_image, ..action })),
            Err(incomplete) => Asked::Trouble(incomplete.to_string()),
        },
        Err(status) if says_nothing_to_do(&status) => Asked::Nothing,
        Err(status) if is_transport(&status) => Asked::Unreachable(text(&status)),
        Err(status) => Asked::Trouble(text(&status)),
    }
}

/// The result of a report.
#[derive(Debug, PartialEq, Eq)]
pub enum Reported {
    Accepted,
    /// The same report would get the same answer.
    Refused(String),
    Unreachable(String),
    Trouble(String),
}

impl Reported {
    /// Why the server refused the report.
    pub fn refusal(self) -> Option<String> {
        match self {
            Self::Accepted => None,
            Self::Refused(why) | Self::Unreachable(why) | Self::Trouble(why) => Some(why),
        }
    }
}

pub fn reported(answer: Result<(), Status>) -> Reported {
    let Err(status) = answer else { return Reported::Accepted };
    match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition => Reported::Refused(text(&status)),
        _ if is_transport(&status) => Reported::Unreachable(text(&status)),
        _ if says_workflow_is_gone(&status) => Reported::Refused(text(&status)),
        _ => Reported::Trouble(text(&status)),
    }
}

/// For a deleted workflow, Tinkerbell's server passes on Kubernetes' text about the object, as an internal error.
fn says_workflow_is_gone(status: &Status) -> bool {
    let message = status.message().trim_end();
    let of_kubernetes = message.contains("workflows.tinkerbell.org \"") && message.ends_with("\" not found");
    of_kubernetes && matches!(status.code(), Code::Internal | Code::Unknown)
}

/// Tinkerbell's server uses NotFound or FailedPrecondition for this. The violation may come with any code.
fn says_nothing_to_do(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::FailedPrecondition) || says_no_action_available(status.details())
}

/// The client made this status itself, because the request or its answer was lost.
pub fn is_transport(status: &Status) -> bool {
    status.source().is_some() || status.code() == Code::DeadlineExceeded
}

pub(super) fn text(status: &Status) -> String {
    match status.source() {
        Some(source) => machine::Chain(source).to_string(),
        // Tinkerbell's server joins errors with line breaks.
        None => format!("{:?}: {}", status.code(), status.message().lines().collect::<Vec<_>>().join(": ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    #[test]
    fn every_answer_without_work_is_recognised() {
        let violation = proto::detail::no_action_available(2, "nothing");
        for (case, answer) in [
            ("NotFound", Err(Status::not_found("no Workflows found"))),
            ("FailedPrecondition", Err(Status::failed_precondition("Workflow is in preparing state"))),
            ("the violation with another code", Err(Status::with_details(Code::Unknown, "x", violation.into()))),
            ("an empty action", Ok(ActionResponse { action_id: Some(String::new()), ..Default::default() })),
            ("an answer without an action", Ok(ActionResponse::default())),
        ] {
            assert_eq!(asked(answer.map(Answer::from)), Asked::Nothing, "{case}");
        }
    }

    #[test]
    fn errors_are_errors() {
        for status in
            [Status::internal("store"), Status::unavailable("server shutting down"), Status::invalid_argument("invalid Agent ID")]
        {
            assert!(matches!(asked(Err(status)), Asked::Trouble(_)));
        }
        let lost = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert_eq!(asked(Err(lost)), Asked::Unreachable("connection reset".into()));
        let other = b"\xff not a status".to_vec();
        assert!(matches!(asked(Err(Status::with_details(Code::Unknown, "x", other.into()))), Asked::Trouble(_)));
    }

    /// The exact text of Tinkerbell's server.
    const DELETED: &str = "error reading from backend\nrpc error: code = Internal desc = error getting workflow: \
        failed to get workflow default/w: workflows.tinkerbell.org \"w\" not found";

    #[test]
    fn a_permanent_refusal_of_a_report_differs_from_a_temporary_one() {
        for (status, refused) in [
            (Status::not_found("x"), true),
            (Status::invalid_argument("x"), true),
            (Status::failed_precondition("x"), true),
            (Status::internal("x"), false),
            (Status::unavailable("x"), false),
            (Status::internal(DELETED), true),
            (Status::unknown("workflows.tinkerbell.org \"w\" not found"), true),
            (Status::unavailable(DELETED), false),
            (Status::internal("error getting workflow: Get \"https://10.96.0.1/w\": connection refused"), false),
            (Status::internal("error getting workflow: the server could not find the requested resource"), false),
            (Status::internal("error getting workflow: services \"webhook\" not found"), false),
            (
                Status::internal("error writing report status: Operation cannot be fulfilled on workflows.tinkerbell.org \"w\""),
                false,
            ),
        ] {
            assert_eq!(matches!(reported(Err(status.clone())), Reported::Refused(_)), refused, "{status:?}");
        }
        assert_eq!(reported(Ok(())), Reported::Accepted);
    }
}
