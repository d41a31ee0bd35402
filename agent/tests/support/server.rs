//! A workflow service on a loopback socket. It hands out the given actions and keeps every report.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::action_status_request::StateType;
use proto::logs::logs_server::{Logs, LogsServer};
use proto::logs::{AppendRequest, AppendResponse};
use proto::workflow_service_server::{WorkflowService, WorkflowServiceServer};
use proto::{ActionRequest, ActionResponse, ActionStatusRequest, ActionStatusResponse};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

#[derive(Default)]
pub struct Script {
    pub actions: VecDeque<Result<ActionResponse, Status>>,
    /// The answers to reports, in order. Further reports are accepted.
    pub answers: VecDeque<Result<(), Status>>,
    /// Every report that arrived, refused or not.
    pub reports: Vec<ActionStatusRequest>,
    pub questions: Vec<ActionRequest>,
    /// Whether the server can stop running actions, unlike Tinkerbell's.
    pub offers_watch: bool,
    /// The reason to stop.
    pub stop: Option<String>,
    /// How many watch calls the agents made.
    pub watches: usize,
    /// The next image, sent with each action, as Thimble's server does.
    pub next_image: Option<String>,
    /// Accept the next final report, but never answer.
    pub die_before_ack: bool,
    /// Whether the server offers to take the output of actions, as Thimble's does.
    pub offers_logs: bool,
    /// The answers to output, in order. Further output is taken.
    pub log_answers: VecDeque<Status>,
    /// All output that arrived, refused or not.
    pub output: Vec<AppendRequest>,
    /// The reports whose agent says that it sends output.
    pub senders: usize,
}

#[derive(Clone, Default)]
pub struct Shared {
    pub script: Arc<Mutex<Script>>,
    pub changed: Arc<Notify>,
}

pub struct Server {
    pub address: SocketAddr,
    pub shared: Shared,
    /// A separate runtime, so that a server that dies closes its connections.
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), Shared::default())
    }

    pub fn on(listener: TcpListener, shared: Shared) -> Self {
        let address = listener.local_addr().unwrap();
        let service = WorkflowServiceServer::new(shared.clone());
        let logs = LogsServer::new(shared.clone());
        let listener = listener.into_std().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            tonic::transport::Server::builder()
                .add_service(service)
                .add_service(logs)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    pub fn push(&self, action: ActionResponse) {
        self.shared.script.lock().unwrap().actions.push_back(Ok(action));
        self.shared.changed.notify_waiters();
    }

    /// Stops the running action.
    pub fn stop_action(&self, why: &str) {
        self.shared.script.lock().unwrap().stop = Some(why.to_owned());
        self.shared.changed.notify_waiters();
    }

    /// The states reported so far, in order.
    pub fn states(&self) -> Vec<StateType> {
        self.shared.states()
    }

    /// Waits until `done` is true for the reports.
    pub async fn until(&self, what: &str, done: impl Fn(&[ActionStatusRequest]) -> bool) -> Vec<ActionStatusRequest> {
        self.shared.until(what, done).await
    }
}

impl Shared {
    pub fn states(&self) -> Vec<StateType> {
        self.script.lock().unwrap().reports.iter().map(ActionStatusRequest::action_state).collect()
    }

    pub async fn until(&self, what: &str, done: impl Fn(&[ActionStatusRequest]) -> bool) -> Vec<ActionStatusRequest> {
        self.until_script(what, |script| done(&script.reports)).await;
        self.script.lock().unwrap().reports.clone()
    }

    /// Waits until `done` is true for everything that happened.
    pub async fn until_script(&self, what: &str, done: impl Fn(&Script) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if done(&self.script.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), wait).await.is_err() {
            panic!("waited 60 s for {what}; states so far: {:?}", self.states());
        }
    }
}

#[tonic::async_trait]
impl WorkflowService for Shared {
    async fn get_action(&self, request: Request<ActionRequest>) -> Result<Response<ActionResponse>, Status> {
        let watch = request.metadata().contains_key("thimble-watch-bin");
        match watch {
            true => self.script.lock().unwrap().watches += 1,
            false => self.script.lock().unwrap().questions.push(request.into_inner()),
        }
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if watch {
                if let Some(why) = self.script.lock().unwrap().stop.clone() {
                    return Err(Status::aborted(why));
                }
                changed.await;
                continue;
            }
            let (action, next) = {
                let mut script = self.script.lock().unwrap();
                (script.actions.pop_front(), script.next_image.clone())
            };
            if let Some(action) = action {
                let mut answer = action.map(Response::new)?;
                if self.script.lock().unwrap().offers_logs {
                    answer.metadata_mut().insert("thimble-logs", "yes".parse().unwrap());
                }
                if let Some(image) = next {
                    let image = tonic::metadata::MetadataValue::from_bytes(image.as_bytes());
                    answer.metadata_mut().insert_bin("thimble-next-image-bin", image);
                }
                return Ok(answer);
            }
            changed.await;
        }
    }

    async fn report_action_status(
        &self,
        request: Request<ActionStatusRequest>,
    ) -> Result<Response<ActionStatusResponse>, Status> {
        let (answer, hang) = {
            let mut script = self.script.lock().unwrap();
            script.senders += usize::from(request.metadata().contains_key("thimble-logs"));
            let report = request.into_inner();
            let last = report.action_state() != StateType::Running;
            script.reports.push(report);
            (script.answers.pop_front().unwrap_or(Ok(())), last && script.die_before_ack)
        };
        self.changed.notify_waiters();
        if hang {
            std::future::pending::<()>().await;
        }
        answer.map(|()| {
            let mut response = Response::new(ActionStatusResponse {});
            if self.script.lock().unwrap().offers_watch {
                response.metadata_mut().insert("thimble-watch", "yes".parse().unwrap());
            }
            if self.script.lock().unwrap().offers_logs {
                response.metadata_mut().insert("thimble-logs", "yes".parse().unwrap());
            }
            response
        })
    }
}

#[tonic::async_trait]
impl Logs for Shared {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let answer = {
            let mut script = self.script.lock().unwrap();
            script.output.push(request.into_inner());
            script.log_answers.pop_front()
        };
        self.changed.notify_waiters();
        answer.map_or(Ok(Response::new(AppendResponse {})), Err)
    }
}

pub fn action(id: &str, image: &str) -> ActionResponse {
    ActionResponse {
        workflow_id: Some("default/install".into()),
        task_id: Some("task".into()),
        agent_id: Some("02:00:00:00:00:01".into()),
        action_id: Some(id.into()),
        name: Some(id.into()),
        image: Some(image.into()),
        timeout: Some(60),
        ..Default::default()
    }
}

pub fn message(report: &ActionStatusRequest) -> &str {
    report.message.as_ref().and_then(|m| m.message.as_deref()).unwrap_or_default()
}
