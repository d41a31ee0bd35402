//! The connection to the workflow service. It is made early, kept, and made again after a failure.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::workflow_service_client::WorkflowServiceClient;
use proto::{ActionRequest, ActionResponse, ActionStatusRequest, next_image};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::clock::BootServerClock;
use super::decide::{self, Answer};
use super::logs;
use super::patience::{Patience, USUAL};
use super::watch::HeldCall;
use crate::action::Action;
use crate::gen1::{self, Dialect};
use crate::outbox::Outbox;
use crate::outcome::Reason;
use crate::settings::{Settings, Tls};
use crate::status;
use machine::{Milestone, files};
use trust::{TrustAnyone, Verifier};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Connection {
    endpoint: Endpoint,
    channel: Option<Channel>,
    agent: String,
    authority: String,
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
        let scheme = if settings.tls == Tls::Off { "http" } else { "https" };
        // TCP's probes detect a server that vanished. HTTP/2 pings would, too, but Go's gRPC servers close a connection
        // that pings more than once in five minutes.
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", settings.authority))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .tcp_keepalive_interval(Some(Duration::from_secs(3)))
            .tcp_keepalive_retries(Some(3));
        let endpoint = match settings.tls {
            Tls::Off => endpoint,
            Tls::Unverified => endpoint.tls_config_with_verifier(ClientTlsConfig::new(), Arc::new(TrustAnyone::default()))?,
            Tls::Verified => {
                let mut extra = trust::certificates_if_there(settings.registries.ca_file.as_deref())?;
                extra.extend(trust::certificates_if_there(Some(Path::new(files::SERVER_CA)))?);
                let verifier = Verifier::new(&extra);
                let verifier = match settings.boot_time {
                    Some(time) => verifier.with_clock(Arc::new(BootServerClock(time))),
                    None => verifier,
                };
                endpoint.tls_config_with_verifier(ClientTlsConfig::new(), Arc::new(verifier))?
            }
        };
        Ok(Self {
            endpoint,
            channel: None,
            agent: settings.id.clone(),
            authority: settings.authority.clone(),
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
        Some(HeldCall { endpoint: self.endpoint.clone(), channel, agent: self.agent.clone(), workflow: action.workflow.clone() })
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

    /// Host names are resolved again for every connection.
    async fn channel(&mut self) -> Result<Channel, Status> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = self.endpoint.connect().await.map_err(|error| not_connected(error, &self.authority))?;
        log::info!("agent {} connected to {}", self.agent, self.authority);
        status::connected(&self.agent, &self.authority);
        Milestone::Connected.reached();
        Ok(self.channel.insert(channel).clone())
    }

    /// A connection that failed once is not used again.
    fn judge<T>(&mut self, answer: Result<T, Status>) -> Result<T, Status> {
        if answer.as_ref().is_err_and(decide::is_transport) {
            self.channel = None;
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

/// The server's certificate was refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "the certificate of the server {authority} is not accepted ({problem}): build the ramdisk with its CA (--ca FILE), or check \
     whether the clock is right"
)]
struct Untrusted {
    authority: String,
    problem: String,
}

fn not_connected(error: tonic::transport::Error, authority: &str) -> Status {
    match trust::of_certificate(&error) {
        Some(problem) => {
            Status::from_error(Box::new(Untrusted { authority: authority.to_owned(), problem: trust::words(&problem) }))
        }
        None => Status::from_error(Box::new(error)),
    }
}
