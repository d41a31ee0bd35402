//! Tinkerbell's workflow service, second generation: messages to model and back, outcomes to status codes.
//!
//! The texts are Tinkerbell's, because people match logs against them. `ReportActionStatus` of the first generation has
//! the same path with another message. Only the raw bytes, in front of this service, could distinguish the two.

mod status;

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use model::{ActionState, AgentId, ObjectName};
use proto::action_status_request::StateType;
use proto::next_image;
use proto::workflow_service_server::{WorkflowService, WorkflowServiceServer};
use proto::{ActionRequest, ActionResponse, ActionStatusRequest, ActionStatusResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use crate::agents::Facts;
use crate::progress::Report;
use crate::service::Server;
use crate::work::Assignment;

/// A longer identifier is neither stored nor logged.
const MAX_AGENT_ID: usize = 253;
const MAX_MESSAGE: usize = 1 << 20;
/// A machine that lost power does not close its connections.
const KEEPALIVE: Duration = Duration::from_secs(20);

pub struct Grpc(Server);

/// The service, for the caller's router.
#[must_use]
pub fn grpc_service(server: Server) -> WorkflowServiceServer<Grpc> {
    WorkflowServiceServer::new(Grpc(server)).max_decoding_message_size(MAX_MESSAGE)
}

/// Serves until `shutdown`. Then calls that are held open end as Unavailable, so that agents ask again. Connections that
/// still stay open are cut.
///
/// # Errors
/// When the transport fails.
pub async fn serve(
    server: Server,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let stopping = server.clone();
    let shutdown = async move {
        shutdown.await;
        stopping.stop();
    };
    let overdue = server.overdue();
    let serving = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(grpc_service(server))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown);
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}

#[tonic::async_trait]
impl WorkflowService for Grpc {
    async fn get_action(&self, request: Request<ActionRequest>) -> Result<Response<ActionResponse>, Status> {
        let address = request.remote_addr();
        let watched = watched(&request)?;
        let request = request.into_inner();
        let agent = AgentId(request.agent_id.unwrap_or_default());
        if agent.0.is_empty() || agent.0.len() > MAX_AGENT_ID || agent.0.chars().any(char::is_control) {
            return Err(Status::invalid_argument("invalid Agent ID"));
        }
        if let Some(workflow) = watched {
            self.called(&agent, address);
            self.0.agent_watches(&agent, &workflow);
            return Err(match self.0.until_stopped(&workflow).await.map_err(status::no_work)? {
                Some(why) => Status::aborted(why),
                None => Status::not_found("the action shall go on"),
            });
        }
        self.0.agent_called(&agent, address, request.agent_attributes.as_ref().map(Facts::from));
        let mut assignment = self.0.next_action(&agent).await.map_err(status::no_work)?;
        let next_image = assignment.next_image.take().filter(|image| image.len() <= next_image::MAX_LENGTH);
        let mut response = Response::new(response(assignment));
        if let Some(image) = next_image {
            response.metadata_mut().insert_bin(next_image::NEXT_IMAGE, MetadataValue::from_bytes(image.as_bytes()));
        }
        Ok(response)
    }

    async fn report_action_status(
        &self,
        request: Request<ActionStatusRequest>,
    ) -> Result<Response<ActionStatusResponse>, Status> {
        let address = request.remote_addr();
        let (workflow, report) = read_report(request.into_inner())?;
        self.called(&report.agent, address);
        let server = self.0.clone();
        let done = Server::detached(async move { server.report(&workflow, &report).await }).await;
        done.ok_or_else(|| Status::internal("error writing report status"))?.map_err(status::refused_report)?;
        let mut response = Response::new(ActionStatusResponse {});
        response.metadata_mut().insert(proto::watch::OFFER, MetadataValue::from_static("yes"));
        Ok(response)
    }
}

impl Grpc {
    fn called(&self, agent: &AgentId, address: Option<SocketAddr>) {
        if !agent.0.is_empty() && agent.0.len() <= MAX_AGENT_ID {
            self.0.agent_called(agent, address, None);
        }
    }
}

/// The workflow whose end an agent waits for while it runs one of its actions.
fn watched(request: &Request<ActionRequest>) -> Result<Option<ObjectName>, Status> {
    let Some(value) = request.metadata().get_bin(proto::watch::WORKFLOW) else { return Ok(None) };
    let refused = || Status::invalid_argument("invalid workflow id");
    let text = String::from_utf8(value.to_bytes().map_err(|_| refused())?.to_vec()).map_err(|_| refused())?;
    let (namespace, name) = text.split_once('/').ok_or_else(refused)?;
    Ok(Some(ObjectName::new(namespace, name)))
}

fn read_report(request: ActionStatusRequest) -> Result<(ObjectName, Report), Status> {
    let state = request.action_state();
    let needed = |text: Option<String>, refusal: &str| {
        text.filter(|text| !text.is_empty()).ok_or_else(|| Status::invalid_argument(refusal))
    };
    let workflow = needed(request.workflow_id, "invalid workflow id")?;
    let (namespace, name) = workflow.split_once('/').ok_or_else(|| Status::invalid_argument("invalid workflow id"))?;
    let report = Report {
        agent: AgentId(request.agent_id.unwrap_or_default()),
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
        duration: request.execution_duration.unwrap_or_default(),
        message: request.message.and_then(|message| message.message).unwrap_or_default().chars().take(4096).collect(),
    };
    Ok((ObjectName::new(namespace, name), report))
}

/// Go's zero time and the epoch of 1970 mean that the agent does not know.
fn time(stamp: proto::Timestamp) -> Option<Timestamp> {
    Timestamp::new(stamp.seconds, stamp.nanos).ok().filter(|time| time.as_second() > 0)
}

fn response(Assignment { workflow, task, action, .. }: Assignment) -> ActionResponse {
    let mut environment = task.environment;
    environment.extend(action.environment); // the action's value wins; a map is sorted
    let pid = action.namespaces.as_ref().and_then(|namespaces| namespaces.pid.clone()).filter(|pid| !pid.is_empty());
    let namespaces = action.namespaces.map(|namespaces| proto::Namespaces { network: namespaces.network, pid: namespaces.pid });
    ActionResponse {
        workflow_id: Some(workflow.to_string()),
        task_id: Some(task.id),
        agent_id: Some(task.agent_id.0),
        action_id: Some(action.id),
        name: Some(action.name),
        image: Some(action.image),
        timeout: Some(action.timeout),
        command: action.command,
        volumes: task.volumes.into_iter().chain(action.volumes).collect(),
        environment: environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        pid: Some(pid.or(action.pid).unwrap_or_default()),
        namespaces,
    }
}
