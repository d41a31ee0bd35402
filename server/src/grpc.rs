//! Tinkerbell's workflow service, second generation. It converts messages to the model and back, and outcomes to status
//! codes. The first generation is served beside it, in `gen1`.
//!
//! The texts are Tinkerbell's, because people match logs against them.

mod front;
mod gen1;
mod hold;
mod logs;
mod plain;
mod port;
mod read;
mod share;
mod status;

use std::net::SocketAddr;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use futures_util::future::BoxFuture;
use model::AgentId;
use proto::next_image;
use proto::workflow_service_server::{WorkflowService, WorkflowServiceServer};
use proto::{ActionRequest, ActionResponse, ActionStatusRequest, ActionStatusResponse};
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::service::Server;
use crate::work::{Assignment, NoWork};
use front::Front;
pub use gen1::Generations;
pub use port::{HTTP2, Port};

const MAX_MESSAGE: usize = 1 << 20;
/// The limit for a call, in addition to the time it is held. A client may be slow, and so may the disk.
const SLOW: Duration = Duration::from_secs(60);
/// The kernel notices a machine that has lost power. These pings are for an agent that hangs: each one wakes the server for
/// each agent.
const PING: Duration = Duration::from_secs(300);
const PONG: Duration = Duration::from_secs(20);
/// What a client may send before anything of it is read: of one call, and of all calls of a connection.
const WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

pub struct Grpc(Server);

/// The service, for a router of the caller.
#[must_use]
pub fn grpc_service(server: Server) -> Generations {
    let second = WorkflowServiceServer::new(Grpc(server.clone())).max_decoding_message_size(MAX_MESSAGE);
    Generations { server, second }
}

/// Serves until `shutdown`. Then held calls end with Unavailable, so that agents ask again, and the connections that stay
/// open are cut.
///
/// # Errors
/// When the transport fails.
pub fn serve(
    server: Server,
    port: impl Into<Port>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Result<(), tonic::transport::Error>> {
    boxed(server, port.into(), Box::pin(shutdown))
}

/// Boxed here, so that a program that serves does not compile all of it again.
fn boxed(
    server: Server,
    port: Port,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, Result<(), tonic::transport::Error>> {
    Box::pin(serving(server, port, shutdown))
}

async fn serving(server: Server, port: Port, shutdown: BoxFuture<'static, ()>) -> Result<(), tonic::transport::Error> {
    let stopping = server.clone();
    let shutdown = async move {
        shutdown.await;
        stopping.stop();
    };
    let overdue = server.overdue();
    let limit = server.0.config().long_poll * hold::LONGER + SLOW;
    let _served = server.serving("gRPC");
    let front = Front::before(server.clone());
    let services = Routes::new(grpc_service(server.clone())).add_service(logs::service(server));
    let router = services.into_axum_router().layer(from_fn_with_state(front, front::serve));
    let serving = tonic::transport::Server::builder()
        .timeout(limit)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(port.incoming(), shutdown);
    tokio::select! {
        served = serving => served,
        () = overdue => Ok(()),
    }
}

#[tonic::async_trait]
impl WorkflowService for Grpc {
    async fn get_action(&self, request: Request<ActionRequest>) -> Result<Response<ActionResponse>, Status> {
        let address = request.remote_addr();
        let watched = read::watched(&request)?;
        let origin = plain::origin(&request);
        let limit = hold::limit(self.0.0.config().long_poll, hold::deadline(request.metadata()));
        let request = request.into_inner();
        let agent = read::agent(request.agent_id)?;
        if let Some(workflow) = watched {
            self.0.agent_called(&agent, address, None);
            plain::note(&self.0, &agent, origin);
            self.0.agent_watches(&agent, &workflow);
            return Err(match self.0.until_stopped(&agent, &workflow).await.map_err(status::no_work)? {
                Some(why) => Status::aborted(why),
                None => Status::not_found("the action continues"),
            });
        }
        // What the agent reports of its machine is not kept while the call is held.
        let is_known = {
            let reported = request.agent_attributes;
            Box::pin(self.0.met(&agent, address, reported.as_ref())).await
        };
        plain::note(&self.0, &agent, origin);
        let mut assignment = self.next_action(&agent, address, is_known.then_some(limit)).await.map_err(status::no_work)?;
        let next_image = assignment.next_image.take().filter(|image| image.len() <= next_image::MAX_LENGTH);
        let mut response = Response::new(response(assignment));
        self.offer_logs(&mut response);
        if let Some(image) = next_image {
            response.metadata_mut().insert_bin(next_image::NEXT_IMAGE, MetadataValue::from_bytes(image.as_bytes()));
        }
        Ok(response)
    }

    async fn report_action_status(
        &self,
        request: Request<ActionStatusRequest>,
    ) -> Result<Response<ActionStatusResponse>, Status> {
        let (address, origin) = (request.remote_addr(), plain::origin(&request));
        let sends_output = request.metadata().contains_key(proto::logs::OFFER);
        let (workflow, report) = read::report(request.into_inner())?;
        self.0.agent_called(&report.agent, address, None);
        plain::note(&self.0, &report.agent, origin);
        self.0.0.agents.sends_output(&report.agent, sends_output);
        let server = self.0.clone();
        let done = Server::detached(async move { server.report(&workflow, &report).await }).await;
        done.ok_or_else(|| Status::internal("error writing report status"))?.map_err(status::refused_report)?;
        let mut response = Response::new(ActionStatusResponse {});
        response.metadata_mut().insert(proto::watch::OFFER, MetadataValue::from_static("yes"));
        self.offer_logs(&mut response);
        Ok(response)
    }
}

impl Grpc {
    fn offer_logs<T>(&self, response: &mut Response<T>) {
        if self.0.keeps_logs() {
            response.metadata_mut().insert(proto::logs::OFFER, MetadataValue::from_static("yes"));
        }
    }

    /// Calls of unknown agents are held while there are places for them. A known one has a limit of its own.
    async fn next_action(
        &self,
        agent: &AgentId,
        address: Option<SocketAddr>,
        known: Option<Duration>,
    ) -> Result<Assignment, NoWork> {
        if let Some(limit) = known {
            return self.0.next_action_within(agent, limit).await;
        }
        let next = self.0.next_action(agent);
        let Some(_place) = self.0.place_for(address) else {
            return tokio::time::timeout(Duration::ZERO, next).await.unwrap_or(Err(NoWork::Idle(None)));
        };
        next.await
    }
}

fn response(Assignment { workflow, task, action, .. }: Assignment) -> ActionResponse {
    let mut environment = task.environment;
    environment.extend(action.environment); // the action's value wins, and the map sorts the names
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
        background: action.background.then_some(true),
    }
}
