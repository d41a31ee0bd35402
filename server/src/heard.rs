//! When agents called, for the other servers of the store. The one that leads must not take an agent for lost that calls another
//! one.
//!
//! All servers write the same key: who has called since the last write. Each version of it reaches each server by its watch.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use jiff::Timestamp;
use log::{error, warn};
use machine::Chain;
use model::AgentId;
use serde::{Deserialize, Serialize};

use crate::change::encoded;
use crate::service::{Inner, Server};
use crate::store::{Change, StoreError, Transaction};

pub(crate) const HEARD: &str = "/heard";
/// An agent is lost after 150 s, and calls each 55 s.
const EVERY: Duration = Duration::from_secs(10);
/// Agents of one write. The others come with the next one.
const TOGETHER: usize = 8192;

/// The calls of agents since the last write.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Calls {
    /// The server that wrote it, which knows them already.
    by: String,
    agents: BTreeMap<AgentId, Call>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub at: Timestamp,
    /// It calls while its action runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watches: bool,
}

/// Until the server is dropped.
pub(crate) async fn share(server: Weak<Inner>) {
    let mut works = true;
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = server.upgrade() else { return };
        let shared = Server(inner).share_calls().await;
        if let Err(reason) = &shared
            && works
        {
            warn!("other servers do not learn which agents call here: {}", Chain(reason));
        }
        works = shared.is_ok();
    }
}

impl Server {
    pub(crate) async fn share_calls(&self) -> Result<(), StoreError> {
        let agents = self.0.agents.called(TOGETHER);
        if agents.is_empty() {
            return Ok(());
        }
        let calls = Calls { by: self.0.leader.id().to_owned(), agents };
        self.0.store.commit(Transaction::default().write(HEARD, encoded(&calls)?)).await.map(drop)
    }
}

impl Inner {
    /// A change of the store that concerns what this server knows of agents and of other servers.
    pub(crate) fn learn(&self, change: &Change) {
        self.notice_twin(change);
        let Some(pair) = &change.pair else { return };
        if let Some(id) = change.key.strip_prefix("/agents/") {
            if let Ok(agent) = serde_json::from_slice::<api::Agent>(&pair.value) {
                self.agents.learned(api::Agent { id: AgentId::from(id), ..agent });
            }
        } else if change.key == HEARD {
            match serde_json::from_slice::<Calls>(&pair.value) {
                Ok(calls) if calls.by == self.leader.id() => {}
                Ok(calls) => self.agents.called_elsewhere(calls.agents),
                Err(reason) => error!("{HEARD} in the store cannot be read: {reason}"),
            }
        }
    }
}
