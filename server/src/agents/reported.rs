//! What agents reported of their machines, as state of the store, so that it outlives this process. Agents that report in the
//! same moment share a write: a hall of machines that is switched on costs a write for each sixty-four.

use std::sync::{Arc, Weak};
use std::time::Duration;

use log::warn;
use machine::Chain;
use model::AgentId;
use tokio::sync::Notify;

use crate::change::encoded;
use crate::service::{AGENTS, Inner, Server};
use crate::store::{StoreError, Transaction};

/// The pause after a write, in which reports gather. A stop of the server ends it.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// The pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Agents of one write.
const TOGETHER: usize = 64;

/// Stores what agents report, until the server is dropped.
pub(crate) async fn write(server: Weak<Inner>, news: Arc<Notify>) {
    loop {
        news.notified().await;
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        let mut stopping = server.stopping();
        let stored = server.store_reported().await;
        drop(server); // a pause does not keep the store open
        match stored {
            // Either end is the end of the pause.
            Ok(()) => drop(tokio::time::timeout(WRITE_EVERY, stopping.wait_for(|stopping| *stopping)).await),
            Err(reason) => {
                warn!("what agents report of their machines could not be stored, and is tried again: {}", Chain(&reason));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Server {
    /// An agent has reported something new. This waits for nothing.
    pub(crate) fn has_reported(&self, id: AgentId) {
        self.0.reported.add(id);
    }

    pub(crate) async fn store_reported(&self) -> Result<(), StoreError> {
        let ids = self.0.reported.next(TOGETHER.min(self.0.store.most_writes()));
        let mut together = Transaction::default();
        for id in &ids {
            if let Some(agent) = self.0.agents.get(id) {
                together = together.write(format!("{AGENTS}{id}"), encoded(&agent)?);
            }
        }
        if together.writes.is_empty() {
            return Ok(());
        }
        self.commit(together).await.map(drop).inspect_err(|_| ids.into_iter().for_each(|id| self.has_reported(id)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proto::{AgentAttributes, Memory};

    use super::*;
    use crate::agents::Facts;
    use crate::service::Config;
    use crate::store::Memory as InMemory;

    /// A server that stores nothing by itself, with agents that have reported.
    async fn with_agents(count: usize) -> Server {
        let server = Server::on(Arc::new(InMemory::default()), Config::default()).await.unwrap();
        (0..count).for_each(|number| report(&server, number, "1GB"));
        server
    }

    fn report(server: &Server, number: usize, memory: &str) {
        let memory = Some(Memory { total: Some(memory.to_owned()), usable: None });
        let facts = Facts::from(&AgentAttributes { memory, ..AgentAttributes::default() });
        let id = AgentId(number.to_string());
        server.0.agents.known(&id, None, Some(facts), Timestamp::UNIX_EPOCH, |_| true);
        server.has_reported(id);
    }

    async fn stored(server: &Server, number: usize) -> Option<String> {
        let pair = server.0.store.get(&format!("{AGENTS}{number}")).await.unwrap()?;
        let agent: api::Agent = serde_json::from_slice(&pair.value).unwrap();
        agent.attributes?.memory?.total
    }

    #[tokio::test]
    async fn agents_that_report_together_share_a_write_of_bounded_size() {
        let server = with_agents(TOGETHER + 1).await;
        let before = server.0.store.list("/").await.unwrap().1;
        server.store_reported().await.unwrap();
        assert_eq!((stored(&server, TOGETHER - 1).await, stored(&server, TOGETHER).await), (Some("1GB".into()), None));
        server.store_reported().await.unwrap();
        assert_eq!(stored(&server, TOGETHER).await.as_deref(), Some("1GB"));
        server.store_reported().await.unwrap();
        assert_eq!(server.0.store.list("/").await.unwrap().1, before + TOGETHER as u64 + 1, "each is written once");
    }

    #[tokio::test]
    async fn the_latest_report_is_stored_over_an_earlier_one() {
        let server = with_agents(1).await;
        server.store_reported().await.unwrap();
        report(&server, 0, "2GB");
        report(&server, 0, "3GB");
        server.store_reported().await.unwrap();
        assert_eq!(stored(&server, 0).await.as_deref(), Some("3GB"));
    }
}
