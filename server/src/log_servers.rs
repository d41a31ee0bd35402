//! Of several servers those that have lines of a Workflow's log, as state of the Workflow. So a server that is asked for the log
//! knows which others to ask.
//!
//! Each server names itself once in each Workflow: with a report of an agent that sends its output here, else by a write of its
//! own. What a server could not write before it ended, it writes at its next start, because its files say what it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use log::warn;
use machine::Chain;
use model::{AgentId, Kind, LogServer, ObjectName, Workflow};
use tokio::sync::Notify;

use crate::change::encoded;
use crate::others::Others;
use crate::service::{Inner, Server};
use crate::store::{StoreError, Transaction};
use crate::view::{Stored, key};

/// The shortest time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// The most Workflows of one transaction.
const TOGETHER: usize = 256;

/// Workflows that do not name this server yet, by the revision of their first write.
#[derive(Debug, Default)]
pub(crate) struct LogServers {
    waiting: Mutex<BTreeMap<ObjectName, u64>>,
    news: Arc<Notify>,
}

impl LogServers {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<ObjectName, u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, workflows: impl IntoIterator<Item = (ObjectName, u64)>) {
        self.waiting().extend(workflows);
        self.news.notify_one();
    }

    fn next(&self, most: usize) -> BTreeMap<ObjectName, u64> {
        let mut waiting = self.waiting();
        let rest = waiting.keys().nth(most).cloned().map(|first| waiting.split_off(&first)).unwrap_or_default();
        std::mem::replace(&mut *waiting, rest)
    }

    fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }
}

/// Whether a Workflow names the server with this id.
fn names(workflow: &Workflow, id: &str) -> bool {
    workflow.status.log_servers.iter().any(|server| server.id == id)
}

/// Names a server in a Workflow.
pub(crate) fn name(workflow: &mut Workflow, server: LogServer) {
    if !names(workflow, &server.id) {
        workflow.status.log_servers.push(server);
    }
}

/// Names this server in Workflows, until the server is dropped. It begins with those that its files have from before.
pub(crate) async fn write(server: Weak<Inner>) {
    let news = {
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        server.0.log_servers.add(server.unnamed());
        Arc::clone(&server.0.log_servers.news)
    };
    let (mut works, mut has_begun) = (true, false);
    loop {
        news.notified().await;
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        let stored = server.store_log_servers().await;
        if let Err(reason) = &stored
            && works
        {
            warn!("other servers do not learn which logs this one has: {}", Chain(reason));
        }
        works = stored.is_ok();
        if !has_begun && works && server.0.log_servers.is_empty() {
            server.says_that_it_names_itself().await;
            has_begun = true;
        }
        drop(server);
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

impl Server {
    /// This server as Workflows name it. `None` if it does not know others.
    pub(crate) fn own_log_server(&self) -> Option<LogServer> {
        self.0.others.get().map(Others::me)
    }

    /// A line of a Workflow's log came here. This waits for nothing.
    pub(crate) fn has_lines_of(&self, workflow: &Stored<Workflow>) {
        let Some(others) = self.0.others.get() else { return };
        if !names(&workflow.object, others.id()) {
            self.0.log_servers.add([(workflow.object.name(), workflow.created)]);
        }
    }

    /// Whether lines of a Workflow are here, or will soon be because its agent sends its output here.
    pub(crate) fn gets_lines_of(&self, workflow: &Workflow, agent: &AgentId) -> bool {
        self.keeps_logs()
            && (self.0.agents.does_send_output(agent) || self.0.log_servers.waiting().contains_key(&workflow.name()))
    }

    /// The Workflows with lines in this server's files that do not name it.
    fn unnamed(&self) -> Vec<(ObjectName, u64)> {
        let (Some(others), Some(logs)) = (self.0.others.get(), &self.0.logs) else { return Vec::new() };
        let view = self.snapshot();
        let is_unnamed = |name: &ObjectName, created: u64| {
            view.workflows.get(name).is_some_and(|stored| stored.created == created && !names(&stored.object, others.id()))
        };
        let found = logs.workflows().into_iter().map(|(name, created)| {
            let Ok(name) = name.parse::<ObjectName>();
            (name, created)
        });
        found.filter(|(name, created)| is_unnamed(name, *created)).collect()
    }

    async fn store_log_servers(&self) -> Result<(), StoreError> {
        let Some(own) = self.own_log_server() else { return Ok(()) };
        let log_servers = &self.0.log_servers;
        let mut some = log_servers.next(TOGETHER.min(self.0.store.most_writes()));
        // Each try but the last leaves one out.
        for _ in 0..some.len() {
            let transaction = self.named_in(&some, &own)?;
            if transaction.writes.is_empty() {
                break;
            }
            match self.commit(transaction).await {
                // It has changed meanwhile, and comes with the next ones.
                Err(StoreError::Conflict { key: changed }) => {
                    let (later, rest): (BTreeMap<_, _>, _) =
                        some.into_iter().partition(|(name, _)| key(Kind::Workflow, name) == changed);
                    log_servers.add(later);
                    some = rest;
                }
                Err(reason) => {
                    log_servers.add(some);
                    return Err(reason);
                }
                Ok(_) => break,
            }
        }
        if !log_servers.is_empty() {
            log_servers.news.notify_one();
        }
        Ok(())
    }

    /// The writes that name this server in those of the Workflows that exist and do not name it.
    fn named_in(&self, workflows: &BTreeMap<ObjectName, u64>, own: &LogServer) -> Result<Transaction, StoreError> {
        let view = self.view();
        let mut transaction = Transaction::default();
        for (workflow, created) in workflows {
            let Some(stored) = view.workflows.get(workflow).filter(|stored| stored.created == *created) else { continue };
            if !names(&stored.object, &own.id) {
                let mut new = Workflow::clone(&stored.object);
                name(&mut new, own.clone());
                transaction = transaction.put(key(Kind::Workflow, workflow), stored.modified, encoded(&new)?);
            }
        }
        Ok(transaction)
    }
}

#[cfg(test)]
mod tests;
