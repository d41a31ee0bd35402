//! `thimble.v1.Logs`: agents of Thimble send what their actions say.

use jiff::{SignedDuration, Timestamp};
use proto::logs::logs_server::{Logs, LogsServer};
use proto::logs::{AppendRequest, AppendResponse, MAX_MESSAGE};
use tonic::{Request, Response, Status};

use super::read;
use crate::logs::{NotKept, Output, OutputLine};
use crate::service::Server;

/// The longest time that a line may wait with its agent. An older one counts as this old.
const OLDEST: SignedDuration = SignedDuration::from_hours(1);

pub struct Service(Server);

pub fn service(server: Server) -> LogsServer<Service> {
    LogsServer::new(Service(server)).max_decoding_message_size(MAX_MESSAGE)
}

#[tonic::async_trait]
impl Logs for Service {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let address = request.remote_addr();
        let AppendRequest { agent_id, workflow_id, action_id, lines, dropped } = request.into_inner();
        let lines = lines.into_iter().map(|line| OutputLine {
            text: line.text,
            stderr: line.stderr,
            age: SignedDuration::from_millis(line.age_milliseconds.into()).min(OLDEST),
        });
        let agent = read::agent(Some(agent_id))?;
        let output = Output { workflow: read::workflow(&workflow_id)?, action_id, lines: lines.collect(), dropped, agent };
        let agent = output.agent.clone();
        self.0.keep_output(output, Timestamp::now()).map_err(|refused| match refused {
            NotKept::NoLogs => Status::unimplemented(refused.to_string()),
            NotKept::NotItsOwn { .. } => Status::permission_denied(refused.to_string()),
        })?;
        self.0.agent_called(&agent, address, None);
        Ok(Response::new(AppendResponse {}))
    }
}
