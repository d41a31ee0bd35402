//! The source of actions and the destination of reports: a workflow service or a workflow file.

mod clock;
mod connection;
pub mod decide;
mod logs;
mod patience;
mod servers;
mod watch;

use std::time::Duration;

use proto::{ActionRequest, ActionStatusRequest};
use tonic::Status;

use crate::action::Action;
use crate::offline::Script;
use crate::outcome::Reason;

pub use connection::Connection;
use decide::Answer;
use watch::HeldCall;

/// How long the report of a result may wait for the last lines of the action. They are sent at the same time.
const LAST_LINES: Duration = Duration::from_millis(500);

pub enum Transport {
    Server(Box<Connection>),
    File(Script),
}

impl From<Connection> for Transport {
    fn from(connection: Connection) -> Self {
        Self::Server(Box::new(connection))
    }
}

impl Transport {
    pub async fn get_action(&mut self, request: ActionRequest) -> Result<Answer, Status> {
        match self {
            Self::Server(connection) => connection.get_action(request).await,
            Self::File(script) => script.get_action(),
        }
    }

    pub async fn report(&mut self, request: ActionStatusRequest) -> Result<(), Status> {
        match self {
            Self::Server(connection) => connection.report(request).await,
            Self::File(script) => {
                script.report(&request);
                Ok(())
            }
        }
    }

    /// The call by which the server can stop a running action, if the server offers it.
    pub fn watch(&self, action: &Action) -> Option<HeldCall> {
        match self {
            Self::Server(connection) => connection.watch(action),
            Self::File(_) => None,
        }
    }

    /// Sends the output of actions, if a server may take it.
    pub fn output(&self, agent: &str) -> Option<impl Future<Output = ()> + Send + use<>> {
        match self {
            Self::Server(connection) => Some(connection.output(agent)),
            Self::File(_) => None,
        }
    }

    /// Waits for a moment until the server has the output so far.
    pub fn output_sent(&self) -> impl Future<Output = ()> + use<> {
        let outbox = match self {
            Self::Server(connection) => Some(connection.outbox()),
            Self::File(_) => None,
        };
        async move {
            if let Some(outbox) = outbox {
                outbox.empty(LAST_LINES).await;
            }
        }
    }

    /// The action that runs because this one failed.
    pub fn reaction(&self, action: &Action, failure: &Reason) -> Option<Action> {
        match self {
            Self::Server(connection) => connection.reaction(action, failure),
            Self::File(_) => None,
        }
    }

    /// The exit code, once no more actions can come. A service may always have more.
    pub fn over(&self) -> Option<u8> {
        match self {
            Self::Server(_) => None,
            Self::File(script) => script.over(),
        }
    }
}
