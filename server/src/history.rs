//! The event logs of workflows in the store. A log is written together with the change, deleted with its workflow, and read
//! only on request. The view lists the keys below `/`, and the keys of logs are not among them.

use api::HistoryEntry;
use model::{Kind, ObjectName, Workflow};

use crate::change::encoded;
use crate::progress::Happened;
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::view::key;

/// The most entries of one workflow. The oldest are removed first.
const KEPT: u64 = 1000;

/// `history/default/install/000000000042`.
fn entry_key(name: &ObjectName, number: u64) -> String {
    format!("{}{number:012}", prefix(name))
}

fn prefix(name: &ObjectName) -> String {
    format!("history/{}/{}/", name.namespace, name.name)
}

/// Adds the entries for what happened to a workflow. Its status shows the change already.
pub fn logged(mut transaction: Transaction, workflow: &Workflow, happened: &[Happened]) -> Result<Transaction, StoreError> {
    let (name, entries) = (workflow.name(), entries(workflow));
    for (number, event) in (1..=entries).rev().zip(happened.iter().rev()) {
        transaction = transaction.write(entry_key(&name, number), encoded(event)?);
        if number > KEPT {
            transaction = transaction.remove(entry_key(&name, number - KEPT));
        }
    }
    Ok(transaction)
}

/// Adds the removal of a workflow's log.
pub fn forgotten(transaction: Transaction, workflow: &Workflow) -> Transaction {
    let (name, entries) = (workflow.name(), entries(workflow));
    let kept = entries.saturating_sub(KEPT) + 1..=entries;
    kept.fold(transaction, |transaction, number| transaction.remove(entry_key(&name, number)))
}

fn entries(workflow: &Workflow) -> u64 {
    workflow.status.logged.map_or(0, |logged| logged.entries)
}

impl Server {
    /// The log of a workflow, oldest entry first, or `None` if the workflow does not exist.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn history(&self, name: &ObjectName) -> Result<Option<Vec<HistoryEntry>>, StoreError> {
        if self.0.store.get(&key(Kind::Workflow, name)).await?.is_none() {
            return Ok(None);
        }
        let entry = |(number, happened): (u64, Happened)| HistoryEntry {
            number,
            time: happened.at,
            event: happened.fact.word().to_owned(),
            text: happened.fact.to_string(),
        };
        Ok(Some(self.log_of(name).await?.into_iter().map(entry).collect()))
    }

    /// Entries that this version cannot read are left out.
    pub(crate) async fn log_of(&self, name: &ObjectName) -> Result<Vec<(u64, Happened)>, StoreError> {
        let prefix = prefix(name);
        let (pairs, _) = self.0.store.list(&prefix).await?;
        let read = |pair: &crate::store::KeyValue| {
            Some((pair.key.strip_prefix(&prefix)?.parse().ok()?, serde_json::from_slice(&pair.value).ok()?))
        };
        Ok(pairs.iter().filter_map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use model::{ActionState, AgentId, parse_documents};

    use super::*;
    use crate::progress::{Report, beginning, evolve};
    use crate::service::Config;

    const OBJECTS: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: t}
spec:
  data: |
    name: t
    tasks:
    - {name: t, worker: a, actions: [{name: a0, image: i, timeout: 9}, {name: a1, image: i, timeout: 9}]}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: t}
";

    async fn server() -> (Server, ObjectName) {
        let server = Server::open(Config { long_poll: std::time::Duration::ZERO, ..Config::default() }).await.unwrap();
        server.apply(parse_documents(OBJECTS, "f").unwrap()).await.unwrap();
        (server, ObjectName::new("default", "w"))
    }

    async fn run(server: &Server, name: &ObjectName, end: ActionState) {
        let agent = AgentId::from("a");
        let given = server.next_action(&agent).await.unwrap();
        for state in [ActionState::Running, end] {
            let (task_id, action_id) = (given.task.id.clone(), given.action.id.clone());
            let report = Report { agent: agent.clone(), task_id, action_id, state, ..Report::default() };
            server.report(name, &report).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_stored_log_derives_the_stored_status_and_says_what_happened() {
        let (server, name) = server().await;
        run(&server, &name, ActionState::Success).await;
        run(&server, &name, ActionState::Success).await;
        let workflow = Workflow::clone(&server.view().workflows.get(&name).unwrap().object);
        let mut again = beginning(&workflow);
        server.log_of(&name).await.unwrap().iter().for_each(|(_, happened)| evolve(&mut again, happened));
        assert_eq!(again, workflow);
        let entries = server.history(&name).await.unwrap().unwrap();
        let words: Vec<&str> = entries.iter().map(|entry| entry.event.as_str()).collect();
        let action = ["handedOut", "reported", "reported"];
        assert_eq!(words, [&["prepared"][..], &action, &action, &["finished"]].concat());
        assert_eq!(entries[1].text, "action a0 handed out to agent a, attempt 1");
        assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_log_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let config = || Config {
            store: Some(folder.path().join("thimble.redb")),
            long_poll: std::time::Duration::ZERO,
            ..Config::default()
        };
        let server = Server::open(config()).await.unwrap();
        let name = ObjectName::new("default", "w");
        server.apply(parse_documents(OBJECTS, "f").unwrap()).await.unwrap();
        run(&server, &name, ActionState::Failed).await;
        let before = server.history(&name).await.unwrap();
        drop(server);
        let server = loop {
            match Server::open(config()).await {
                Err(StoreError::InUse { .. }) => tokio::task::yield_now().await, // the first server's last task is still ending
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(before.as_ref().map(Vec::len), Some(4));
        assert_eq!(server.history(&name).await.unwrap(), before);
    }

    #[tokio::test]
    async fn a_log_is_deleted_with_its_workflow_and_a_new_one_starts_empty() {
        let (server, name) = server().await;
        run(&server, &name, ActionState::Failed).await;
        server.delete(Kind::Workflow, &name, false).await.unwrap();
        assert_eq!(server.history(&name).await.unwrap(), None);
        assert!(server.0.store.list("history/").await.unwrap().0.is_empty());
        server.apply(parse_documents(OBJECTS, "f").unwrap()).await.unwrap();
        let numbers: Vec<u64> = server.history(&name).await.unwrap().unwrap().iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [1]);
    }

    #[tokio::test]
    async fn a_long_log_loses_its_oldest_entries_and_is_not_in_the_view() {
        let (server, name) = server().await;
        let agent = AgentId::from("a");
        let given = server.next_action(&agent).await.unwrap();
        let (task_id, action_id) = (given.task.id.clone(), given.action.id.clone());
        for number in 0..KEPT {
            let (task_id, action_id, message) = (task_id.clone(), action_id.clone(), number.to_string());
            let report =
                Report { agent: agent.clone(), task_id, action_id, message, state: ActionState::Running, ..Report::default() };
            server.report(&name, &report).await.unwrap();
        }
        let entries = server.history(&name).await.unwrap().unwrap();
        assert_eq!((entries.len() as u64, entries[0].number), (KEPT, 3));
        assert!(server.0.store.list("/").await.unwrap().0.iter().all(|pair| !pair.key.contains("history")));
        server.delete(Kind::Workflow, &name, false).await.unwrap();
        assert!(server.0.store.list("history/").await.unwrap().0.is_empty());
    }
}
