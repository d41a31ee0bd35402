//! Converts outcomes to gRPC status in one place, so that an agent gets the same code for the same reason everywhere.

use log::error;
use machine::Chain;
use tonic::{Code, Status};

use crate::progress::{Idle, Refused};
use crate::store::StoreError;
use crate::work::{NoWork, ReportError};

pub(super) fn no_work(reason: NoWork) -> Status {
    match reason {
        NoWork::Idle(None) => Status::not_found("no Workflows found"),
        NoWork::Idle(Some(Idle::NoTasks)) => Status::not_found("no Tasks found in Workflow"),
        NoWork::Idle(Some(Idle::NothingLeft)) => Status::not_found("no Actions found"),
        NoWork::NotItsWorkflow => Status::not_found("Task not assigned to Agent"),
        NoWork::Idle(Some(Idle::OtherAgent)) => Status::not_found("Task not assigned to Agent"),
        NoWork::Idle(Some(Idle::NotOrdered)) => nothing_now("the machine's intent gives it no work; `thimble machine` shows why"),
        NoWork::Idle(Some(Idle::Queued)) => nothing_now("another Workflow has begun on one of its machines"),
        NoWork::Idle(Some(Idle::Paused)) => nothing_now("Workflow is paused"),
        NoWork::Idle(Some(Idle::BackingOff)) => nothing_now("an Action has failed and runs again after a pause"),
        NoWork::Idle(Some(Idle::Preparing)) => nothing_now("Workflow is in preparing state"),
        // A workflow that others change all the time is checked again at the agent's next call.
        NoWork::Idle(Some(Idle::NotRunnable)) | NoWork::Store(StoreError::Conflict { .. }) => {
            nothing_now("Workflow not in pending or running state")
        }
        NoWork::Stopping => Status::unavailable("server shutting down"),
        NoWork::Store(reason) => {
            error!("an action could not be handed out: {}", Chain(&reason));
            Status::internal("error reading or writing workflows")
        }
    }
}

pub(super) fn refused_report(reason: ReportError) -> Status {
    match reason {
        // Tinkerbell answers Internal, and its agents then repeat the report for ever.
        ReportError::NoWorkflow(name) => Status::not_found(format!("error getting workflow: {name} does not exist")),
        ReportError::Refused(Refused::NotFound) => Status::not_found("action not found"),
        ReportError::Refused(refused) => Status::failed_precondition(refused.to_string()),
        ReportError::Store(reason) => {
            error!("a report could not be stored: {}", Chain(&reason));
            Status::internal("error writing report status")
        }
    }
}

/// FailedPrecondition with the detail that Tinkerbell's agents look for.
fn nothing_now(message: &str) -> Status {
    let code = Code::FailedPrecondition;
    Status::with_details(code, message, proto::detail::no_action_available(code.into(), message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_now_carries_the_violation() {
        let status = no_work(NoWork::Idle(Some(Idle::NotRunnable)));
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(proto::detail::says_no_action_available(status.details()));
    }
}
