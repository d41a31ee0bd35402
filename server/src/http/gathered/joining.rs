//! Which servers are asked for the log of a Workflow: those that it names. While it is followed, further ones may get lines.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use futures_util::stream::{self, BoxStream, StreamExt};
use machine::Chain;
use model::{LogServer, ObjectName};
use tokio::sync::watch;

use super::merge::Part;
use super::{away, open};
use crate::http::logs::{LogQuery, Place, has_ended};
use crate::others::{Other, OtherError};
use crate::service::{Inner, Server};
use crate::wake::{Subject, Waiting};

/// The servers to ask, and those that are named but have left the site. A Workflow that names none has a log of an earlier
/// version or none yet, so each server is asked. One that does not name itself is always asked.
pub fn asked(named: &[LogServer], others: Vec<Other>, own: &str) -> (Vec<Other>, Vec<OtherError>) {
    let is_there = |one: &LogServer| one.id == own || others.iter().any(|other| other.id == one.id);
    let gone = named.iter().filter(|one| !is_there(one));
    let gone = gone.map(|one| OtherError::Gone { id: one.id.clone(), host: machine::said(&one.host, 80) }).collect();
    let is_named = |other: &Other| named.iter().any(|one| one.id == other.id);
    let others = others.into_iter().filter(|other| named.is_empty() || !other.names_itself || is_named(other)).collect();
    (others, gone)
}

/// The servers that a Workflow names while its log is followed.
pub struct Joining {
    server: Weak<Inner>,
    workflow: ObjectName,
    /// The revision of its first write.
    created: u64,
    query: LogQuery,
    /// The ids of servers that were asked, or need not be.
    known: BTreeSet<String>,
    changes: Waiting,
    stopping: watch::Receiver<bool>,
}

impl Joining {
    pub fn new(server: &Server, workflow: ObjectName, created: u64, query: LogQuery, known: BTreeSet<String>) -> Self {
        let changes = server.wait_for(Subject::Workflow(workflow.clone()));
        let stopping = server.stopping();
        Self { server: Arc::downgrade(&server.0), workflow, created, query, known, changes, stopping }
    }

    /// What each of them has. It ends with the Workflow.
    pub fn parts(self) -> BoxStream<'static, Part> {
        stream::unfold(self, |mut joining| async move { Some((joining.next().await?, joining)) }).boxed()
    }

    async fn next(&mut self) -> Option<Part> {
        loop {
            self.changes.look(); // before the state of the workflow
            let server = Server(self.server.upgrade()?);
            if let Some(new) = self.unknown(&server)? {
                self.known.insert(new.id.clone());
                if let Some(part) = self.part_of(&server, new).await {
                    return Some(part);
                }
                continue;
            }
            if has_ended(&server, &self.workflow) {
                return None;
            }
            drop(server); // a connected reader must not keep the store open
            tokio::select! {
                () = self.changes.changed() => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }

    /// The next server that was not asked. `None` in place of an answer if the Workflow is gone.
    fn unknown(&self, server: &Server) -> Option<Option<LogServer>> {
        let view = server.view();
        let stored = view.workflows.get(&self.workflow).filter(|stored| stored.created == self.created)?;
        Some(stored.object.status.log_servers.iter().find(|one| !self.known.contains(&one.id)).cloned())
    }

    async fn part_of(&self, server: &Server, new: LogServer) -> Option<Part> {
        let others = match server.others().await {
            Ok(others) => others,
            Err(reason) => return Some(Part::missing(&Chain(&reason).to_string())),
        };
        let Some(other) = others.into_iter().find(|other| other.id == new.id) else {
            let gone = OtherError::Gone { id: new.id, host: machine::said(&new.host, 80) };
            return Some(Part::missing(&Chain(&gone).to_string()));
        };
        let place = Place::Workflow(self.workflow.clone());
        match open(server, other, &place, &self.query).await {
            (_, Ok(Some(opened))) if opened.run == self.created => Some(opened.remote.part()),
            (_, Ok(_)) => None,
            (other, Err(reason)) => Some(away(server, other, &place, &self.query, &reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_that_a_workflow_names_are_asked_and_those_that_do_not_name_themselves() {
        let other = |id: &str, names_itself| Other {
            id: id.to_owned(),
            host: format!("host-{id}"),
            url: format!("https://{id}:6443"),
            names_itself,
        };
        let others = || vec![other("b", true), other("c", true), other("old", false)];
        for (case, named, expected, gone) in [
            ("a log of an earlier version", "", "b c old", ""),
            ("lines are here only", "a", "old", ""),
            ("lines are at another one", "b", "b old", ""),
            ("lines are here and at all others", "a b c", "b c old", ""),
            ("a server that has left", "a b x", "b old", "x"),
        ] {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let named: Vec<_> = words(named).into_iter().map(|id| LogServer { host: format!("host-{id}"), id }).collect();
            let (asked, left) = asked(&named, others(), "a");
            assert_eq!(asked.into_iter().map(|other| other.id).collect::<Vec<_>>(), words(expected), "{case}");
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            assert_eq!(left.len(), words(gone).len(), "{case}");
            assert!(left.iter().zip(words(gone)).all(|(left, id)| left.contains(&format!("host-{id} has left"))), "{left:?}");
        }
    }
}
