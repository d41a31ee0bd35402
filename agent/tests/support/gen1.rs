//! A server of the first generation with one workflow of some actions, and the reports about them.
#![allow(dead_code)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use proto::gen1::{
    Empty, State, WorkflowAction, WorkflowActionList, WorkflowActionStatus, WorkflowActionsRequest, WorkflowContext,
    WorkflowContextRequest,
};
use tokio::net::TcpListener;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, Default)]
pub struct Old {
    pub actions: Vec<WorkflowAction>,
    pub reports: Arc<Mutex<Vec<WorkflowActionStatus>>>,
}

impl Old {
    pub async fn start(actions: Vec<WorkflowAction>) -> (Self, SocketAddr) {
        let old = Self { actions, reports: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(old.clone());
        tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        (old, address)
    }

    /// The first action that has not succeeded, with its last reported state.
    fn contexts(&self) -> Vec<Result<WorkflowContext, Status>> {
        let reports = self.reports.lock().unwrap();
        let last = |action: &WorkflowAction| {
            reports.iter().rev().find(|r| r.action_name == action.name).map_or(State::Pending, |r| r.action_status())
        };
        let open = self.actions.iter().enumerate().find(|(_, action)| last(action) != State::Success);
        let context = open.map(|(index, action)| WorkflowContext {
            workflow_id: "ns/w".into(),
            current_worker: action.worker_id.clone(),
            current_task: action.task_name.clone(),
            current_action: action.name.clone(),
            current_action_index: index as i64,
            current_action_state: last(action).into(),
            total_number_of_actions: self.actions.len() as i64,
        });
        context.into_iter().map(Ok).collect()
    }
}

struct Contexts(Old);

impl ServerStreamingService<WorkflowContextRequest> for Contexts {
    type Response = WorkflowContext;
    type ResponseStream = tokio_stream::Iter<std::vec::IntoIter<Result<WorkflowContext, Status>>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<WorkflowContextRequest>) -> Self::Future {
        assert_eq!(request.into_inner().worker_id, "m");
        let contexts = self.0.contexts();
        Box::pin(async move { Ok(Response::new(tokio_stream::iter(contexts))) })
    }
}

struct Actions(Old);

impl UnaryService<WorkflowActionsRequest> for Actions {
    type Response = WorkflowActionList;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<WorkflowActionsRequest>) -> Self::Future {
        assert_eq!(request.into_inner().workflow_id, "ns/w");
        let action_list = self.0.actions.clone();
        Box::pin(async move { Ok(Response::new(WorkflowActionList { action_list })) })
    }
}

struct Report(Old);

impl UnaryService<WorkflowActionStatus> for Report {
    type Response = Empty;
    type Future = BoxFuture<Response<Empty>, Status>;

    fn call(&mut self, request: Request<WorkflowActionStatus>) -> Self::Future {
        self.0.reports.lock().unwrap().push(request.into_inner());
        Box::pin(async { Ok(Response::new(Empty {})) })
    }
}

impl NamedService for Old {
    const NAME: &'static str = "proto.WorkflowService";
}

impl Service<http::Request<tonic::body::Body>> for Old {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let old = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "GetWorkflowContexts" => Grpc::new(ProstCodec::default()).server_streaming(Contexts(old), request).await,
                "GetWorkflowActions" => Grpc::new(ProstCodec::default()).unary(Actions(old), request).await,
                "ReportActionStatus" => Grpc::new(ProstCodec::default()).unary(Report(old), request).await,
                _ => Status::unimplemented(format!("unknown method {method}")).into_http(),
            })
        })
    }
}
