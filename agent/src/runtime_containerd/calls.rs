//! The calls to containerd that an action needs. Each one carries the namespace.

use std::collections::HashMap;
use std::path::Path;

use containerd_client::Client;
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest, GetRequest, KillRequest,
    ListContainersRequest, StartRequest, WaitRequest,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::{Code, Request, Status};
use containerd_client::types::v1::Status as TaskStatus;
use rustix::process::Signal;

/// The shim that comes with containerd and runs runc.
const SHIM: &str = "io.containerd.runc.v2";
const SPECIFICATION: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// The label of the agent's containers among the others of the namespace.
const LABEL: (&str, &str) = ("thimble.agent", "action");

#[derive(Debug)]
pub enum Refused {
    Connect(Box<dyn std::error::Error + Send + Sync>),
    /// The request and the answer.
    Call(&'static str, Status),
}

pub struct Calls {
    client: Client,
    namespace: MetadataValue<Ascii>,
}

fn asking<T>(what: &'static str, answer: Result<T, Status>) -> Result<T, Refused> {
    answer.map_err(|status| Refused::Call(what, status))
}

fn unless_gone<T>(answer: Result<T, Status>) -> Result<(), Status> {
    match answer {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => other.map(drop),
    }
}

impl Calls {
    pub async fn connect(socket: &Path, namespace: &str) -> Result<Self, Refused> {
        let namespace = namespace.parse().map_err(|error| Refused::Connect(Box::new(error)))?;
        let client = Client::from_path(socket).await.map_err(|error| Refused::Connect(Box::new(error)))?;
        Ok(Self { client, namespace })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        request
    }

    pub async fn create(&self, name: &str, specification: &[u8]) -> Result<(), Refused> {
        let container = Container {
            id: name.to_owned(),
            labels: HashMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]),
            runtime: Some(Runtime { name: SHIM.to_owned(), options: None }),
            spec: Some(prost_types::Any { type_url: SPECIFICATION.to_owned(), value: specification.to_vec() }),
            ..Container::default()
        };
        let request = self.request(CreateContainerRequest { container: Some(container) });
        asking("create the container", self.client.containers().create(request).await).map(drop)
    }

    pub async fn create_task(&self, name: &str, stdout: &Path, stderr: &Path) -> Result<(), Refused> {
        let request = self.request(CreateTaskRequest {
            container_id: name.to_owned(),
            stdout: stdout.display().to_string(),
            stderr: stderr.display().to_string(),
            ..CreateTaskRequest::default()
        });
        asking("create the container's process", self.client.tasks().create(request).await).map(drop)
    }

    pub async fn start(&self, name: &str) -> Result<(), Refused> {
        let request = self.request(StartRequest { container_id: name.to_owned(), exec_id: String::new() });
        asking("start the container", self.client.tasks().start(request).await).map(drop)
    }

    /// Whether the container's process has begun, also if it has ended since.
    pub async fn has_begun(&self, name: &str) -> Result<bool, Refused> {
        let request = self.request(GetRequest { container_id: name.to_owned(), exec_id: String::new() });
        let answer = asking("look at the container's process", self.client.tasks().get(request).await)?;
        let process = answer.into_inner().process.unwrap_or_default();
        Ok(!matches!(process.status(), TaskStatus::Created | TaskStatus::Unknown))
    }

    /// The exit code, or 128 and the signal's number for a process that was killed.
    pub async fn wait(&self, name: &str) -> Result<i32, Refused> {
        let request = self.request(WaitRequest { container_id: name.to_owned(), exec_id: String::new() });
        let answer = asking("wait for the container", self.client.tasks().wait(request).await)?;
        Ok(answer.into_inner().exit_status.try_into().unwrap_or(i32::MAX))
    }

    pub async fn kill(&self, name: &str, signal: Signal, all: bool) -> Result<(), Refused> {
        let signal = signal.as_raw().unsigned_abs();
        let request = self.request(KillRequest { container_id: name.to_owned(), exec_id: String::new(), signal, all });
        asking("signal the container", unless_gone(self.client.tasks().kill(request).await))
    }

    /// Kills what runs and removes the container. A missing container counts as removed.
    pub async fn remove(&self, name: &str) -> Result<(), Refused> {
        let task = || self.request(DeleteTaskRequest { container_id: name.to_owned() });
        if unless_gone(self.client.tasks().delete(task()).await).is_err() {
            self.kill(name, Signal::KILL, true).await?;
            let ended = self.wait(name).await;
            if !matches!(&ended, Err(Refused::Call(_, status)) if status.code() == Code::NotFound) {
                ended?;
            }
            asking("remove the container's process", unless_gone(self.client.tasks().delete(task()).await))?;
        }
        let request = self.request(DeleteContainerRequest { id: name.to_owned() });
        asking("remove the container", unless_gone(self.client.containers().delete(request).await))
    }

    /// The containers in this namespace that an agent made.
    pub async fn ours(&self) -> Result<Vec<String>, Refused> {
        let filter = format!("labels.\"{}\"=={}", LABEL.0, LABEL.1);
        let request = self.request(ListContainersRequest { filters: vec![filter] });
        let answer = asking("list the containers", self.client.containers().list(request).await)?;
        Ok(answer.into_inner().containers.into_iter().map(|container| container.id).collect())
    }
}
