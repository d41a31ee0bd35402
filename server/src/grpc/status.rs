//! Outcomes to gRPC status: one place, so that an agent meets the same code for the same reason everywhere.

use log::error;
use prost::Message;
use prost_types::Any;
use proto::PreconditionFailureViolation;
use tonic::{Code, Status};

use crate::progress::{Idle, Refused};
use crate::work::{NoWork, ReportError};

pub(super) fn no_work(reason: NoWork) -> Status {
    match reason {
        NoWork::Idle(None) => Status::not_found("no Workflows found"),
        NoWork::Idle(Some(Idle::NoTasks)) => Status::not_found("no Tasks found in Workflow"),
        NoWork::Idle(Some(Idle::NothingLeft)) => Status::not_found("no Actions found"),
        NoWork::Idle(Some(Idle::OtherAgent)) => Status::not_found("Task not assigned to Agent"),
        NoWork::Idle(Some(Idle::Preparing)) => nothing_now("Workflow is in preparing state"),
        NoWork::Idle(Some(Idle::NotRunnable)) => nothing_now("Workflow not in pending or running state"),
        NoWork::Stopping => Status::unavailable("server shutting down"),
        NoWork::Store(reason) => {
            error!("an action could not be handed out: {:#}", anyhow::Error::from(reason));
            Status::internal("error reading or writing workflows")
        }
    }
}

pub(super) fn refused_report(reason: ReportError) -> Status {
    match reason {
        // Tinkerbell answers Internal and its agents then repeat the report for ever.
        ReportError::NoWorkflow(name) => Status::not_found(format!("error getting workflow: {name} does not exist")),
        ReportError::Refused(Refused::NotFound) => Status::not_found("action not found"),
        ReportError::Refused(refused) => Status::failed_precondition(refused.to_string()),
        ReportError::Contended => Status::internal("error writing report status"),
        ReportError::Store(reason) => {
            error!("a report could not be stored: {:#}", anyhow::Error::from(reason));
            Status::internal("error writing report status")
        }
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.PreconditionFailure`.
#[derive(Clone, PartialEq, Message)]
struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(string, tag = "3")]
    description: String,
}

/// FailedPrecondition with the detail that agents of Tinkerbell look for.
fn nothing_now(message: &str) -> Status {
    let kind = PreconditionFailureViolation::NoActionAvailable.as_str_name().to_owned();
    let violation = Violation { kind, subject: "Workflow".to_owned(), description: message.to_owned() };
    let failure = PreconditionFailure { violations: vec![violation] };
    let detail =
        Any { type_url: "type.googleapis.com/google.rpc.PreconditionFailure".to_owned(), value: failure.encode_to_vec() };
    let status = RpcStatus { code: Code::FailedPrecondition.into(), message: message.to_owned(), details: vec![detail] };
    Status::with_details(Code::FailedPrecondition, message, status.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn nothing_now_carries_the_violation() {
        let status = no_work(NoWork::Idle(Some(Idle::NotRunnable)));
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!(
            (details.code, details.details[0].type_url.as_str()),
            (9, "type.googleapis.com/google.rpc.PreconditionFailure")
        );
        let failure = PreconditionFailure::decode(details.details[0].value.as_slice()).unwrap();
        assert_eq!(failure.violations[0].kind, "PRECONDITION_FAILURE_VIOLATION_NO_ACTION_AVAILABLE");
    }
}
