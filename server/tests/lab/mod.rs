//! A server on real sockets, and agents as its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

pub mod lines;

use std::net::SocketAddr;
use std::time::Duration;

use access::Caller;
use api::Applied;
use axum::Extension;
use model::parse_documents;
use proto::action_status_request::StateType;
use proto::workflow_service_client::WorkflowServiceClient;
use proto::{ActionRequest, ActionResponse, ActionStatusRequest, Timestamp};
use server::{Config, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

pub const MAC: &str = "52:54:00:12:34:56";

/// Limits every wait of a test.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("nothing happened within 60 s")
}

pub fn hardware(name: &str, mac: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}}}\nspec:\n  disks: [{{device: /dev/vda}}]\n  \
         interfaces: [{{dhcp: {{mac: '{mac}', ip: {{address: 10.0.0.20}}}}, netboot: {{allowPXE: true}}}}]\n"
    )
}

/// One task with actions `a0`, `a1`, ... for the worker in `.device_1`.
pub fn template(name: &str, actions: usize) -> String {
    let actions: String = (0..actions)
        .map(|n| format!("          - {{name: a{n}, image: \"actions:v1\", timeout: 60, environment: {{N: 0{n}}}, command: [\"{{{{ index .Hardware.Disks 0 }}}}\"]}}\n"))
        .collect();
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: {name}}}\nspec:\n  data: |\n    name: {name}\n    tasks:\n      \
         - name: t\n        worker: \"{{{{ .device_1 }}}}\"\n        environment: {{N: task, A: 1}}\n        volumes: [/dev:/dev]\n        actions:\n{actions}"
    )
}

pub fn workflow(name: &str, template: &str, hardware: &str, worker: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{templateRef: {template}, hardwareRef: {hardware}, \
         hardwareMap: {{device_1: '{worker}'}}}}\n"
    )
}

/// node-1, the template `two` with two actions, and the workflow `w`.
pub fn everything() -> String {
    format!("{}{}{}", hardware("node-1", MAC), template("two", 2), workflow("w", "two", "node-1", MAC))
}

pub async fn apply(server: &Server, text: &str) -> Applied {
    server.apply(parse_documents(text, "test.yaml").unwrap()).await.unwrap()
}

pub struct Lab {
    pub server: Server,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The API, as root of this host has it.
    pub api: SocketAddr,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<Result<(), server::RunError>>,
}

/// A server that was just stopped may still be finishing a write in the background.
async fn opened(config: Config) -> Server {
    loop {
        match Server::open(config.clone()).await {
            Err(server::store::StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other.unwrap(),
        }
    }
}

impl Lab {
    pub async fn start(config: Config) -> Self {
        let server = soon(opened(config)).await;
        let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (grpc, http, api) = (listener().await, listener().await, listener().await);
        let [grpc_address, http_address, api_address] = [&grpc, &http, &api].map(|one| one.local_addr().unwrap());
        let stop = watch::Sender::new(false);
        let stopped = || {
            let mut stopping = stop.subscribe();
            async move { drop(stopping.wait_for(|stopping| *stopping).await) }
        };
        let router = server::http::for_callers(server.clone()).layer(Extension(Caller::root(0)));
        let api = api::serve::until(stopped(), Duration::ZERO, api, router);
        let run = server::run(server.clone(), grpc, http, stopped());
        let running = tokio::spawn(async move {
            let (ran, served) = tokio::join!(run, api);
            served.unwrap();
            ran
        });
        Self { server, grpc: grpc_address, http: http_address, api: api_address, stop, running }
    }

    /// A server with a store in memory that holds calls only for a moment.
    pub async fn hasty() -> Self {
        Self::start(Config { long_poll: Duration::from_millis(50), ..Config::default() }).await
    }

    pub async fn agent(&self, id: &str) -> Agent {
        Agent { id: id.to_owned(), client: WorkflowServiceClient::connect(format!("http://{}", self.grpc)).await.unwrap() }
    }

    pub async fn stop(self) {
        drop(self.server);
        self.stop.send_replace(true);
        soon(self.running).await.unwrap().unwrap();
    }

    /// `STATE action-states message` of a workflow.
    pub fn state(&self, name: &str) -> String {
        let json = self.server.get(model::Kind::Workflow, &name.parse().unwrap()).unwrap();
        let actions =
            json["status"]["tasks"].as_array().into_iter().flatten().flat_map(|task| task["actions"].as_array().unwrap());
        let states: Vec<&str> = actions.map(|action| action["state"].as_str().unwrap()).collect();
        format!("{} {}", json["status"]["state"].as_str().unwrap_or("-"), states.join(","))
    }
}

#[derive(Clone)]
pub struct Agent {
    pub id: String,
    pub client: WorkflowServiceClient<Channel>,
}

impl Agent {
    pub async fn ask(&mut self) -> Result<ActionResponse, Status> {
        let request = ActionRequest { agent_id: Some(self.id.clone()), agent_attributes: None };
        soon(self.client.get_action(request)).await.map(tonic::Response::into_inner)
    }

    pub fn request(&self, action: &ActionResponse, state: StateType) -> ActionStatusRequest {
        ActionStatusRequest {
            workflow_id: action.workflow_id.clone(),
            agent_id: Some(self.id.clone()),
            task_id: action.task_id.clone(),
            action_id: action.action_id.clone(),
            action_name: action.name.clone(),
            action_state: Some(state.into()),
            execution_start: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            execution_stop: Some(Timestamp { seconds: 1_800_000_003, nanos: 250_000_000 }),
            execution_duration: None,
            message: None,
        }
    }

    pub async fn say(&mut self, action: &ActionResponse, state: StateType) -> Result<(), Status> {
        let request = self.request(action, state);
        soon(self.client.report_action_status(request)).await.map(drop)
    }

    /// Asks, runs, and reports success.
    pub async fn work(&mut self) -> String {
        let action = self.ask().await.unwrap();
        self.say(&action, StateType::Running).await.unwrap();
        self.say(&action, StateType::Success).await.unwrap();
        action.name.unwrap()
    }
}
