//! The first generation of the workflow service, for workers of tink v0.9 to v0.12, on the same port as the second.
//!
//! An old worker asks which of its workflows can run, fetches the whole list of actions, and runs them in order. Both
//! generations report on one path, so each report is inspected before it is decoded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::body::to_bytes;
use jiff::{SignedDuration, Timestamp};
use log::warn;
use machine::said;
use model::{ActionState, AgentId, ObjectName, Workflow, WorkflowTask};
use proto::gen1::{
    Empty, ProstCodec, State, WorkflowAction, WorkflowActionList, WorkflowActionStatus, WorkflowActionsRequest, WorkflowContext,
    WorkflowContextRequest, is_report,
};
use proto::workflow_service_server::WorkflowServiceServer;
use tonic::body::Body;
use tonic::codec::Codec;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc as Call, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};

use super::{Grpc, MAX_MESSAGE, plain, read, status};
use crate::progress::Report;
use crate::service::Server;
use crate::work::{Assignment, NoWork, ReportError};

/// The prefix of a gRPC message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Both generations. The calls of the first one are served here, and all other calls by the second.
#[derive(Clone)]
pub struct Generations {
    pub(super) server: Server,
    pub(super) second: WorkflowServiceServer<Grpc>,
}

impl NamedService for Generations {
    const NAME: &'static str = <WorkflowServiceServer<Grpc> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Generations {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { server, mut second } = self.clone();
        // What is not held is boxed, so that a held call is small.
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            match method {
                "GetWorkflowContexts" => Ok(Box::pin(call().server_streaming(Contexts(server), request)).await),
                "GetWorkflowActions" => Ok(Box::pin(call().unary(Actions(server), request)).await),
                "ReportActionStatus" => match Box::pin(looked_at(request)).await {
                    Ok((request, true)) => Ok(Box::pin(call().unary(Reports(server), request)).await),
                    Ok((request, false)) => second.call(request).await,
                    Err(status) => Ok(status.into_http()),
                },
                _ => second.call(request).await,
            }
        })
    }
}

fn call<T, U>() -> Call<ProstCodec<T, U>>
where
    ProstCodec<T, U>: Codec + Default,
{
    Call::new(ProstCodec::default()).apply_max_message_size_config(Some(MAX_MESSAGE), None)
}

/// The unchanged request, and whether it belongs to the first generation.
async fn looked_at(request: http::Request<Body>) -> Result<(http::Request<Body>, bool), Status> {
    let (parts, body) = request.into_parts();
    let unread = |_| Status::resource_exhausted(format!("a message has at most {MAX_MESSAGE} bytes"));
    let bytes = to_bytes(axum::body::Body::new(body), PREFIX + MAX_MESSAGE).await.map_err(unread)?;
    let first = bytes.first() == Some(&0) && is_report(bytes.get(PREFIX..).unwrap_or_default());
    Ok((http::Request::from_parts(parts, Body::new(axum::body::Body::from(bytes))), first))
}

struct Contexts(Server);

impl ServerStreamingService<WorkflowContextRequest> for Contexts {
    type Response = WorkflowContext;
    type ResponseStream = tokio_stream::Iter<std::option::IntoIter<Result<WorkflowContext, Status>>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<WorkflowContextRequest>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let (address, origin) = (request.remote_addr(), plain::origin(&request));
            let worker = read::agent(Some(request.into_inner().worker_id))?;
            server.agent_called(&worker, address, None);
            plain::note(&server, &worker, origin);
            let context = match server.action_now(&worker).await {
                Ok(given) => stored(&server, &given.workflow).and_then(|workflow| context(&workflow, &given)),
                // The stream ends, because nothing is to do now. The worker asks again.
                Err(NoWork::Idle(_)) => None,
                Err(other) => return Err(status::no_work(other)),
            };
            Ok(Response::new(tokio_stream::iter(context.map(Ok))))
        })
    }
}

struct Actions(Server);

impl UnaryService<WorkflowActionsRequest> for Actions {
    type Response = WorkflowActionList;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<WorkflowActionsRequest>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let address = request.remote_addr();
            let name = read::workflow(&request.into_inner().workflow_id)?;
            let workflow = stored(&server, &name).ok_or_else(|| Status::not_found("workflow not found"))?;
            if !asks_for_its_own(&workflow, address, |agent| server.called_from(agent)) {
                let from = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
                warn!("workflow={name} its actions are not told to {from}: no worker of the workflow has called from there");
                return Err(Status::permission_denied(
                    "no worker of this workflow calls from your address; ask for its context first",
                ));
            }
            Ok(Response::new(WorkflowActionList { action_list: actions(&workflow) }))
        })
    }
}

/// The request names no worker, and the actions may contain secrets. But each worker asks for its contexts first, and the
/// server knows from where.
fn asks_for_its_own(workflow: &Workflow, from: Option<SocketAddr>, address_of: impl Fn(&AgentId) -> Option<SocketAddr>) -> bool {
    let Some(from) = from.map(|from| from.ip().to_canonical()) else { return false };
    let mut workers = workflow.status.tasks.iter().filter_map(|task| address_of(&task.agent_id));
    workers.any(|address| address.ip().to_canonical() == from)
}

struct Reports(Server);

impl UnaryService<WorkflowActionStatus> for Reports {
    type Response = Empty;
    type Future = BoxFuture<Response<Empty>, Status>;

    fn call(&mut self, request: Request<WorkflowActionStatus>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let (address, origin) = (request.remote_addr(), plain::origin(&request));
            let status = request.into_inner();
            let (name, worker) = (read::workflow(&status.workflow_id)?, read::agent(Some(status.worker_id.clone()))?);
            server.agent_called(&worker, address, None);
            plain::note(&server, &worker, origin);
            let missing = || status::refused_report(ReportError::NoWorkflow(name.clone()));
            let workflow = stored(&server, &name).ok_or_else(missing)?;
            let Some(report) = report(&workflow, &status, Timestamp::now())? else { return Ok(Response::new(Empty {})) };
            // The worker has the whole list. When it begins an action, that action is handed out now, if it may begin.
            if report.state == ActionState::Running {
                server.action_now(&worker).await.map_err(status::no_work)?;
            }
            let done = Server::detached(async move { server.report(&name, &report).await }).await;
            done.ok_or_else(|| Status::internal("error writing report status"))?.map_err(status::refused_report)?;
            Ok(Response::new(Empty {}))
        })
    }
}

fn stored(server: &Server, name: &ObjectName) -> Option<Workflow> {
    server.view().workflows.get(name).map(|stored| Workflow::clone(&stored.object))
}

/// The actions that an old worker gets, in its order. They exclude actions whose `if` is false, because it would run them.
fn listed(workflow: &Workflow) -> impl Iterator<Item = (&WorkflowTask, &model::WorkflowAction)> {
    let all = workflow.status.tasks.iter().flat_map(|task| task.actions.iter().map(move |action| (task, action)));
    all.filter(|(_, action)| !action.skip)
}

/// How far a workflow is, for a worker that gets its list.
fn context(workflow: &Workflow, given: &Assignment) -> Option<WorkflowContext> {
    let index = listed(workflow).position(|(_, action)| action.id == given.action.id)?;
    Some(WorkflowContext {
        workflow_id: given.workflow.to_string(),
        current_worker: given.task.agent_id.0.clone(),
        current_task: given.task.name.clone(),
        current_action: given.action.name.clone(),
        current_action_index: index.try_into().unwrap_or(i64::MAX),
        current_action_state: state(given.action.state).into(),
        total_number_of_actions: listed(workflow).count().try_into().unwrap_or(i64::MAX),
    })
}

fn actions(workflow: &Workflow) -> Vec<WorkflowAction> {
    let written = |(task, action): (&WorkflowTask, &model::WorkflowAction)| {
        let mut environment = task.environment.clone();
        environment.extend(action.environment.clone()); // the action's value wins, and the map sorts the names
        let pid = action.namespaces.as_ref().and_then(|namespaces| namespaces.pid.clone());
        WorkflowAction {
            task_name: task.name.clone(),
            name: action.name.clone(),
            image: action.image.clone(),
            timeout: action.timeout,
            command: action.command.clone(),
            // A command after a failure is a separate action here.
            on_timeout: Vec::new(),
            on_failure: Vec::new(),
            worker_id: task.agent_id.0.clone(),
            volumes: task.volumes.iter().chain(&action.volumes).cloned().collect(),
            environment: environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            pid: pid.filter(|pid| !pid.is_empty()).or_else(|| action.pid.clone()).unwrap_or_default(),
        }
    };
    listed(workflow).map(written).collect()
}

/// The worker gives the name of its action. If several have that name, it means the first one that has not ended, or else
/// the last. Returns nothing if it repeats the end of an attempt that was followed by another attempt.
fn report(workflow: &Workflow, status: &WorkflowActionStatus, now: Timestamp) -> Result<Option<Report>, Status> {
    let state = match status.action_status() {
        State::Pending => return Err(Status::invalid_argument("invalid action state")),
        State::Running => ActionState::Running,
        State::Failed => ActionState::Failed,
        State::Timeout => ActionState::Timeout,
        State::Success => ActionState::Success,
    };
    let named = || {
        listed(workflow).filter(|(task, action)| {
            task.agent_id.0 == status.worker_id && task.name == status.task_name && action.name == status.action_name
        })
    };
    let open = named().find(|(_, action)| !action.state.is_final());
    let (task, action) = open.or_else(|| named().last()).ok_or_else(|| Status::invalid_argument("action not found"))?;
    let failed = matches!(state, ActionState::Failed | ActionState::Timeout);
    if failed && action.retried > 0 && action.state == ActionState::Pending {
        return Ok(None); // a worker reports RUNNING for each attempt before its end
    }
    let ended = state.is_final();
    let started = now.checked_sub(SignedDuration::from_secs(status.seconds.max(0))).ok();
    Ok(Some(Report {
        agent: task.agent_id.clone(),
        task_id: task.id.clone(),
        action_id: action.id.clone(),
        state,
        started: if ended { action.execution_start.or(started) } else { Some(now) },
        stopped: ended.then_some(now),
        duration: if ended { format!("{}s", status.seconds.max(0)) } else { String::new() },
        message: said(&status.message, read::MAX_TEXT),
    }))
}

const fn state(state: ActionState) -> State {
    match state {
        ActionState::Pending => State::Pending,
        ActionState::Running => State::Running,
        ActionState::Failed => State::Failed,
        ActionState::Timeout => State::Timeout,
        ActionState::Success => State::Success,
    }
}
