//! Changes of stored objects. If another writer was first, the change is prepared again on top of the other writer's state.

use std::ops::Deref;

use jiff::Timestamp;
use model::{Kind, LogServer, ObjectName, Workflow};

use crate::history::logged;
use crate::log_servers;
use crate::progress::{self, Command, Happened, Refused};
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::view::key;

/// More lost tries in a row mean a fault, not a race.
const TRIES: u32 = 32;

/// Counts the tries of one change.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    pub const fn none_yet(&self) -> bool {
        self.0 == 0
    }

    /// Whether the write is done. If false, the caller must prepare it again.
    ///
    /// # Errors
    /// When the store failed. After the last try this can be `Conflict`, which names what another writer changed.
    pub fn done(&mut self, committed: Result<u64, StoreError>) -> Result<bool, StoreError> {
        self.0 += 1;
        match committed {
            Err(StoreError::Conflict { .. }) if self.0 < TRIES => Ok(false),
            committed => committed.map(|_| true),
        }
    }
}

/// A workflow in the middle of a change. Only commands change it, and their events go into its log.
pub(crate) struct Acting {
    workflow: Workflow,
    happened: Vec<Happened>,
}

impl Acting {
    /// Runs a command, and returns whether it changed anything.
    pub fn take(&mut self, command: &Command<'_>, now: Timestamp) -> Result<bool, Refused> {
        let happened = progress::act(&mut self.workflow, command, now)?;
        let news = !happened.is_empty();
        self.happened.extend(happened);
        Ok(news)
    }

    /// Stored with what else changes.
    pub fn name_log_server(&mut self, server: LogServer) {
        log_servers::name(&mut self.workflow, server);
    }
}

impl Deref for Acting {
    type Target = Workflow;

    fn deref(&self) -> &Workflow {
        &self.workflow
    }
}

impl Server {
    /// Changes a workflow and returns it in its stored state, or `None` if it does not exist. `edit` gets it from the view,
    /// which shows everything that was acknowledged. If the store is ahead, it refuses the write, and `edit` gets the state of
    /// the store. An edit that changes nothing writes nothing.
    ///
    /// # Errors
    /// When `edit` refuses, or the store fails.
    pub(crate) async fn change<T, E: From<StoreError>>(
        &self,
        name: &ObjectName,
        mut edit: impl FnMut(&mut Acting) -> Result<T, E>,
    ) -> Result<Option<(Workflow, T)>, E> {
        self.change_with(name, |workflow| Ok((edit(workflow)?, Transaction::default()))).await
    }

    /// Like `change`, but `edit` also returns other writes for the same transaction.
    pub(crate) async fn change_with<T, E: From<StoreError>>(
        &self,
        name: &ObjectName,
        mut edit: impl FnMut(&mut Acting) -> Result<(T, Transaction), E>,
    ) -> Result<Option<(Workflow, T)>, E> {
        let key = key(Kind::Workflow, name);
        let mut tries = Tries::default();
        loop {
            let shown = || self.view().workflows.get(name).cloned();
            let (workflow, modified) = match tries.none_yet().then(shown).flatten() {
                Some(shown) => (Workflow::clone(&shown.object), shown.modified),
                None => {
                    let Some(pair) = self.0.store.get(&key).await? else { return Ok(None) };
                    let workflow = serde_json::from_slice(&pair.value).map_err(|error| broken("read a workflow", error))?;
                    (workflow, pair.modified)
                }
            };
            let mut acting = Acting { workflow, happened: Vec::new() };
            let (result, others) = edit(&mut acting)?;
            let Acting { workflow, happened } = acting;
            if happened.is_empty() {
                return Ok(Some((workflow, result)));
            }
            let transaction = logged(others.put(&key, modified, encoded(&workflow)?), &workflow, &happened)?;
            if tries.done(self.commit(transaction).await)? {
                return Ok(Some((workflow, result)));
            }
        }
    }

    /// Writes a pair, or removes it if `value` is `None`. The latest writer wins. False if the key did not exist.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn replace(&self, key: &str, value: Option<&[u8]>) -> Result<bool, StoreError> {
        let mut tries = Tries::default();
        loop {
            let found = self.0.store.get(key).await?.map(|pair| pair.modified);
            let transaction = match (value, found) {
                (Some(value), found) => Transaction::default().put(key, found.unwrap_or(0), value.to_owned()),
                (None, Some(modified)) => Transaction::default().delete(key, modified),
                (None, None) => return Ok(false),
            };
            if tries.done(self.commit(transaction).await)? {
                return Ok(true);
            }
        }
    }
}

fn broken(doing: &'static str, error: serde_json::Error) -> StoreError {
    StoreError::Failed { doing, source: error.into() }
}

pub(crate) fn encoded<T: serde::Serialize>(object: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(object).map_err(|error| broken("encode an object", error))
}

#[cfg(test)]
mod tests {
    use model::parse_documents;

    use super::*;
    use crate::service::Config;

    const WORKFLOW: &str = "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {templateRef: t}\n";

    async fn server() -> (Server, ObjectName) {
        let server = Server::open(Config::default()).await.unwrap();
        server.apply(parse_documents(WORKFLOW, "f").unwrap()).await.unwrap();
        (server, ObjectName::new("default", "w"))
    }

    fn end(workflow: &mut Acting) {
        workflow.take(&Command::Cancel { reason: "mine", at_once: true }, Timestamp::UNIX_EPOCH).unwrap();
    }

    /// Plays another writer in the middle of an edit.
    fn interfere(server: &Server, name: &ObjectName, message: &str) {
        let mut other = Workflow::clone(&server.view().workflows.get(name).unwrap().object);
        other.metadata.labels.insert("other".to_owned(), message.to_owned());
        let (store, key) = (server.0.store.clone(), key(Kind::Workflow, name));
        let write = async move {
            let modified = store.get(&key).await.unwrap().unwrap().modified;
            store.commit(Transaction::default().put(&key, modified, encoded(&other).unwrap())).await.unwrap();
        };
        futures_util::FutureExt::now_or_never(write).unwrap(); // the memory store never waits
    }

    #[tokio::test]
    async fn an_overtaken_change_is_made_again_and_loses_nothing() {
        let (server, name) = server().await;
        let mut edits = 0;
        let changed = server.change(&name, |workflow| {
            edits += 1;
            if edits < 3 {
                interfere(&server, &name, &format!("write {edits}"));
            }
            end(workflow);
            Ok::<_, StoreError>(edits)
        });
        let (workflow, tries) = changed.await.unwrap().unwrap();
        let other = workflow.metadata.labels.get("other").map(String::as_str);
        assert_eq!((tries, other, workflow.status.message.as_str()), (3, Some("write 2"), "cancelled: mine"));
    }

    #[tokio::test]
    async fn a_change_that_is_always_overtaken_names_the_conflict() {
        let (server, name) = server().await;
        let mut edits = 0;
        let changed = server.change(&name, |workflow| {
            edits += 1;
            interfere(&server, &name, &edits.to_string());
            end(workflow);
            Ok::<_, StoreError>(())
        });
        let refused = changed.await.unwrap_err();
        assert!(matches!(&refused, StoreError::Conflict { key } if key == "/workflows/default/w"), "{refused}");
        assert_eq!(edits, TRIES);
    }

    #[tokio::test]
    async fn an_edit_without_effect_writes_nothing() {
        let (server, name) = server().await;
        let revision = server.view().revision;
        assert!(server.change(&name, |_| Ok::<_, StoreError>(())).await.unwrap().is_some());
        assert!(server.change(&ObjectName::new("default", "x"), |_| Ok::<_, StoreError>(())).await.unwrap().is_none());
        assert_eq!(server.view().revision, revision);
    }
}
