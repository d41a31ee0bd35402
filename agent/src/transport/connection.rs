//! The connection to the workflow service. It is made early, kept, and made again after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::workflow_service_client::WorkflowServiceClient;
use proto::{ActionRequest, ActionResponse, ActionStatusRequest, next_image};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::decide::{self, Answer};
use super::logs;
use super::patience::{Patience, USUAL};
use super::servers::Servers;
use super::watch::HeldCall;
use crate::action::Action;
use crate::gen1::{self, Dialect};
use crate::outbox::Outbox;
use crate::outcome::Reason;
use crate::settings::Settings;
use crate::status;
use machine::Milestone;

pub struct Connection {
    servers: Servers,
    channel: Option<Channel>,
    agent: String,
    /// The translation for servers of the first generation.
    old: Dialect,
    speaks_old: bool,
    /// Whether the server can stop a running action.
    offers_watch: bool,
    patience: Patience,
    outbox: Arc<Outbox>,
}

impl Connection {
    pub fn new(settings: &Settings) -> Result<Self, crate::CannotWork> {
        Ok(Self {
            servers: Servers::new(settings)?,
            channel: None,
            agent: settings.id.clone(),
            old: Dialect::new(&settings.registry_prefix),
            speaks_old: false,
            offers_watch: false,
            patience: Patience::default(),
            outbox: Arc::default(),
        })
    }

    /// Opens the outbox while the server takes the output of actions.
    pub fn with_output(self, outbox: &Arc<Outbox>) -> Self {
        Self { outbox: Arc::clone(outbox), ..self }
    }

    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Sends what is in the outbox. Never ends.
    pub fn output(&self, agent: &str) -> impl Future<Output = ()> + Send + use<> {
        logs::send(self.outbox(), agent.to_owned())
    }

    pub async fn get_action(&mut self, request: ActionRequest) -> Result<Answer, Status> {
        let channel = self.channel().await?;
        let asked = Instant::now();
        if !self.speaks_old {
            let mut client = WorkflowServiceClient::new(channel.clone());
            let answer = within(self.patience.limit(), client.get_action(self.with_deadline(request.clone()))).await;
            self.note_wait(&answer, asked);
            if let Ok(answer) = &answer {
                self.note_logs(answer.metadata(), &channel);
            }
            let answer = answer.map(with_next_image);
            if !answer.as_ref().is_err_and(gen1::is_old) {
                return self.judge(answer);
            }
        }
        let answer = within(USUAL, self.old.get_action(channel, &request)).await;
        self.note_generation(&answer);
        self.judge(answer).map(Answer::from)
    }

    pub async fn report(&mut self, request: ActionStatusRequest) -> Result<(), Status> {
        let channel = self.channel().await?;
        let answer = if gen1::is_old_report(&request) {
            within(USUAL, self.old.report(channel, &request)).await
        } else {
            let mut request = Request::new(request);
            if self.outbox.way().is_some() {
                request.metadata_mut().insert(proto::logs::OFFER, MetadataValue::from_static("yes"));
            }
            let answer = within(USUAL, WorkflowServiceClient::new(channel.clone()).report_action_status(request)).await;
            if let Ok(answer) = &answer {
                self.offers_watch = answer.metadata().contains_key(proto::watch::OFFER);
                self.note_logs(answer.metadata(), &channel);
            }
            answer.map(drop)
        };
        self.judge(answer)
    }

    fn with_deadline(&self, request: ActionRequest) -> Request<ActionRequest> {
        let mut request = Request::new(request);
        if let Some(deadline) = self.patience.deadline() {
            request.set_timeout(deadline);
        }
        request
    }

    fn note_wait<T>(&mut self, answer: &Result<T, Status>, asked: Instant) {
        if !answer.as_ref().is_err_and(decide::is_transport) {
            self.patience.was_answered();
        } else if self.patience.was_cut(asked.elapsed()) {
            log::info!("calls that wait are cut after {} s, so they ask for less from now on", asked.elapsed().as_secs());
        }
    }

    /// Output of actions goes where the server of this answer takes it.
    fn note_logs(&self, answer: &MetadataMap, channel: &Channel) {
        self.outbox.open(answer.contains_key(proto::logs::OFFER).then(|| channel.clone()));
    }

    /// The call that is open while an action runs.
    pub fn watch(&self, action: &Action) -> Option<HeldCall> {
        let channel = self.channel.clone().filter(|_| self.offers_watch && !gen1::is_old_id(&action.id))?;
        Some(HeldCall { servers: self.servers.clone(), channel, agent: self.agent.clone(), workflow: action.workflow.clone() })
    }

    /// The action that follows a failure, for a server of the first generation.
    pub fn reaction(&self, action: &Action, failure: &Reason) -> Option<Action> {
        self.old.reaction(action, failure)
    }

    /// A server that supports neither generation is asked in the second one again, because it may be about to be replaced.
    fn note_generation<T>(&mut self, answer: &Result<T, Status>) {
        let old = !answer.as_ref().is_err_and(|status| gen1::is_old(status) || decide::is_transport(status));
        if old && !self.speaks_old {
            log::info!("the server speaks the first generation of the protocol");
        }
        self.speaks_old = old;
    }

    async fn channel(&mut self) -> Result<Channel, Status> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = self.servers.connect().await?;
        log::info!("agent {} connected to {}", self.agent, self.servers.authority());
        status::connected(&self.agent, self.servers.authority());
        Milestone::Connected.reached();
        Ok(self.channel.insert(channel).clone())
    }

    /// A connection that failed once is not used again. Its server is the last to be tried.
    fn judge<T>(&mut self, answer: Result<T, Status>) -> Result<T, Status> {
        if answer.as_ref().is_err_and(decide::is_transport) && self.channel.take().is_some() {
            self.servers.leave();
        }
        answer
    }
}

/// A name that is too long or is not text is ignored.
fn with_next_image(answer: tonic::Response<ActionResponse>) -> Answer {
    let named = answer.metadata().get_bin(next_image::NEXT_IMAGE).and_then(|value| value.to_bytes().ok());
    let named = named.filter(|bytes| bytes.len() <= next_image::MAX_LENGTH);
    let next_image = named.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    Answer { response: answer.into_inner(), next_image }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, format!("no answer within {} s", limit.as_secs()))),
    }
}
