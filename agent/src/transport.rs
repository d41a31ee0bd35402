//! The source of actions and the destination of reports: a workflow service or a workflow file.

mod clock;
mod connection;
pub mod decide;
mod watch;

use proto::{ActionRequest, ActionStatusRequest};
use tonic::Status;

use crate::action::Action;
use crate::offline::Script;
use crate::outcome::Reason;

pub use connection::Connection;
use decide::Answer;
use watch::HeldCall;

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
