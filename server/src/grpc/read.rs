//! Converts messages of agents to the model's types, with a limit for everything that is kept or logged.

use jiff::Timestamp;
use machine::{is_harmless, said};
use model::{ActionState, AgentId, ObjectName};
use proto::action_status_request::StateType;
use proto::{ActionRequest, ActionStatusRequest};
use tonic::{Request, Status};

use crate::progress::Report;

/// The longest name of an agent, a task, an action, or a part of a workflow's name. Kubernetes has the same limit.
const MAX_ID: usize = 253;
pub const MAX_TEXT: usize = 4096;
/// The longest duration, such as `1h2m3.5s`.
const MAX_DURATION: usize = 64;

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID && is_harmless(text)
}

pub fn agent(id: Option<String>) -> Result<AgentId, Status> {
    id.filter(|id| is_id(id)).map(AgentId).ok_or_else(|| Status::invalid_argument("invalid Agent ID"))
}

pub fn workflow(text: &str) -> Result<ObjectName, Status> {
    let parts = text.split_once('/').filter(|(namespace, name)| is_id(namespace) && is_id(name));
    let (namespace, name) = parts.ok_or_else(|| Status::invalid_argument("invalid workflow id"))?;
    Ok(ObjectName::new(namespace, name))
}

/// The workflow that an agent watches while it runs one of its actions.
pub fn watched(request: &Request<ActionRequest>) -> Result<Option<ObjectName>, Status> {
    let Some(value) = request.metadata().get_bin(proto::watch::WORKFLOW) else { return Ok(None) };
    let refused = || Status::invalid_argument("invalid workflow id");
    let text = String::from_utf8(value.to_bytes().map_err(|_| refused())?.to_vec()).map_err(|_| refused())?;
    workflow(&text).map(Some)
}

pub fn report(request: ActionStatusRequest) -> Result<(ObjectName, Report), Status> {
    let state = request.action_state();
    let needed =
        |text: Option<String>, refusal: &str| text.filter(|text| is_id(text)).ok_or_else(|| Status::invalid_argument(refusal));
    let workflow = workflow(&request.workflow_id.unwrap_or_default())?;
    let report = Report {
        agent: agent(request.agent_id)?,
        task_id: needed(request.task_id, "invalid task name")?,
        action_id: needed(request.action_id, "invalid action name")?,
        state: match state {
            StateType::Pending => ActionState::Pending,
            StateType::Running => ActionState::Running,
            StateType::Failed => ActionState::Failed,
            StateType::Timeout => ActionState::Timeout,
            StateType::Success => ActionState::Success,
            StateType::Unspecified => return Err(Status::invalid_argument("invalid action state")),
        },
        started: request.execution_start.and_then(time),
        stopped: request.execution_stop.and_then(time),
        // Without a duration it is computed from the times.
        duration: request.execution_duration.filter(|text| text.len() <= MAX_DURATION && is_harmless(text)).unwrap_or_default(),
        message: said(&request.message.and_then(|message| message.message).unwrap_or_default(), MAX_TEXT),
    };
    Ok((workflow, report))
}

/// Go's zero time and the epoch of 1970 mean that the agent does not have the time.
fn time(stamp: proto::Timestamp) -> Option<Timestamp> {
    Timestamp::new(stamp.seconds, stamp.nanos).ok().filter(|time| time.as_second() > 0)
}
