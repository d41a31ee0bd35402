//! The call by which a server can stop a running action (`proto::watch`). It is repeated while the action runs. Only
//! servers that offer it are called.

use std::time::{Duration, Instant};

use machine::backoff;
use proto::ActionRequest;
use proto::workflow_service_client::WorkflowServiceClient;
use tokio::time::sleep;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::decide;
use super::servers::Servers;

/// The server holds the call for a minute.
const DEADLINE: Duration = Duration::from_secs(90);
/// The pause between two calls to a server that answers at once.
const PAUSE: Duration = Duration::from_secs(2);

/// Uses the connection of the reports while that is open, and later a separate one.
pub struct HeldCall {
    pub servers: Servers,
    pub channel: Channel,
    pub agent: String,
    pub workflow: String,
}

impl HeldCall {
    /// Ends when the action must stop, and returns the reason.
    pub async fn stopped(mut self) -> String {
        loop {
            let asked = Instant::now();
            match self.ask().await {
                Ok(()) => return std::future::pending().await, // another server has replaced it, which cannot stop actions
                Err(status) if status.code() == Code::Aborted => return status.message().to_owned(),
                Err(status) if decide::is_transport(&status) => self.connect_again().await,
                Err(_) => sleep(PAUSE.saturating_sub(asked.elapsed())).await,
            }
        }
    }

    async fn ask(&self) -> Result<(), Status> {
        let mut request = Request::new(ActionRequest { agent_id: Some(self.agent.clone()), agent_attributes: None });
        request.metadata_mut().insert_bin(proto::watch::WORKFLOW, MetadataValue::from_bytes(self.workflow.as_bytes()));
        let mut client = WorkflowServiceClient::new(self.channel.clone());
        match tokio::time::timeout(DEADLINE, client.get_action(request)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(Status::deadline_exceeded("no answer")),
        }
    }

    async fn connect_again(&mut self) {
        sleep(backoff::jitter(PAUSE, backoff::random())).await;
        self.servers.leave();
        if let Ok(channel) = self.servers.connect().await {
            self.channel = channel;
        }
    }
}
