//! How far running actions say they are, as state of their Workflows. All that was said within two seconds is one
//! transaction, so a hall of machines that stream their disks costs one write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use log::warn;
use machine::Chain;
use model::{Kind, ObjectName, Progress, Workflow};
use tokio::sync::Notify;

use crate::change::encoded;
use crate::progress::running_action;
use crate::service::{Inner, Server};
use crate::store::{StoreError, Transaction};
use crate::view::key;

/// The shortest time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// The most Workflows of one transaction. The rest comes with the next one.
const TOGETHER: usize = 256;

/// What was said and is not stored yet: the latest of each Workflow.
#[derive(Debug, Default)]
pub(crate) struct Percents {
    said: Mutex<Said>,
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Said {
    waiting: BTreeMap<ObjectName, Progress>,
    /// The last one of the transaction before. Those after it come first, so that none waits for ever.
    last: Option<ObjectName>,
}

impl Percents {
    fn say(&self, name: ObjectName, progress: Progress) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).waiting.insert(name, progress);
        self.news.notify_one();
    }

    fn next(&self, most: usize) -> BTreeMap<ObjectName, Progress> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Said { waiting, last } = &mut *said;
        let is_after = |name: &&ObjectName| last.as_ref().is_none_or(|last| *name > last);
        let (after, before): (Vec<_>, Vec<_>) = waiting.keys().partition(is_after);
        let names: Vec<ObjectName> = after.into_iter().chain(before).take(most).cloned().collect();
        last.clone_from(&names.last().cloned());
        if names.len() < waiting.len() {
            self.news.notify_one();
        }
        names.into_iter().filter_map(|name| waiting.remove_entry(&name)).collect()
    }
}

/// Stores what actions say, until the server is dropped.
pub(crate) async fn write(server: Weak<Inner>, news: Arc<Notify>) {
    loop {
        news.notified().await;
        let Some(inner) = server.upgrade() else { return };
        if let Err(reason) = Server(inner).store_percents().await {
            warn!("how far running actions are could not be stored: {}", Chain(&reason));
        }
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

/// The Workflow as it shall be stored. `None` if its running action is another one by now, or is as far already.
fn with(mut workflow: Workflow, progress: Progress) -> Option<Workflow> {
    let runs = running_action(&workflow).is_some_and(|running| running.action == progress.action);
    if !runs || workflow.status.progress.as_ref() == Some(&progress) {
        return None;
    }
    workflow.status.progress = Some(progress);
    Some(workflow)
}

impl Server {
    /// An action said how far it is. This waits for nothing.
    pub(crate) fn said_percent(&self, name: ObjectName, action: &str, percent: u8) {
        let progress = Progress { workflow: name.to_string(), action: action.to_owned(), percent };
        self.0.percents.say(name, progress);
    }

    pub(crate) fn percents_to_write(&self) -> Arc<Notify> {
        Arc::clone(&self.0.percents.news)
    }

    async fn store_percents(&self) -> Result<(), StoreError> {
        let mut said = self.0.percents.next(TOGETHER.min(self.0.store.most_writes()));
        // Each try but the last leaves one out.
        for _ in 0..said.len() {
            let mut together = Transaction::default();
            for (name, progress) in &said {
                together = together.and(self.percent_of(name, progress.clone()).await?);
            }
            if together.writes.is_empty() {
                return Ok(());
            }
            match self.commit(together).await {
                // This one has changed meanwhile. Its action goes on, and says it again; the others need not wait for it.
                Err(StoreError::Conflict { key: changed }) => said.retain(|name, _| key(Kind::Workflow, name) != changed),
                done => return done.map(drop),
            }
        }
        Ok(())
    }

    async fn percent_of(&self, name: &ObjectName, progress: Progress) -> Result<Transaction, StoreError> {
        let key = key(Kind::Workflow, name);
        let Some(pair) = self.0.store.get(&key).await? else { return Ok(Transaction::default()) };
        // A Workflow that cannot be read has an error wherever it is used.
        let Ok(workflow) = serde_json::from_slice::<Workflow>(&pair.value) else { return Ok(Transaction::default()) };
        match with(workflow, progress) {
            Some(workflow) => Ok(Transaction::default().put(&key, pair.modified, encoded(&workflow)?)),
            None => Ok(Transaction::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{ActionState, AgentId, parse_documents};

    use super::*;
    use crate::progress::Report;
    use crate::service::Config;
    use crate::store::Memory;

    fn objects(count: usize) -> String {
        let template = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec:\n  data: |\n    name: t\n    \
                        tasks:\n    - {name: t, worker: \"{{.agent}}\", actions: [{name: one, image: \"i:1\"}, {name: two, image: \"i:1\"}]}\n";
        let workflow = |n| {
            format!(
                "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: w{n}}}\nspec: {{templateRef: t, \
                 hardwareMap: {{agent: a{n}}}}}\n"
            )
        };
        (0..count).fold(template.to_owned(), |text, n| text + &workflow(n))
    }

    /// A server whose Workflows each run their first action.
    async fn running(count: usize) -> Server {
        let server = Server::on(Arc::new(Memory::default()), Config::default()).await.unwrap();
        server.apply(parse_documents(&objects(count), "f").unwrap()).await.unwrap();
        for n in 0..count {
            report(&server, n, ActionState::Running).await;
        }
        server
    }

    async fn report(server: &Server, n: usize, state: ActionState) {
        let agent = AgentId(format!("a{n}"));
        let given = server.next_action(&agent).await.unwrap();
        let report = Report { agent, task_id: given.task.id, action_id: given.action.id, state, ..Report::default() };
        server.report(&given.workflow, &report).await.unwrap();
    }

    fn name(n: usize) -> ObjectName {
        ObjectName::new("default", format!("w{n}"))
    }

    fn shown(server: &Server, n: usize) -> Option<u8> {
        server.view().workflows.get(&name(n))?.object.status.progress.as_ref().map(|progress| progress.percent)
    }

    #[tokio::test]
    async fn what_many_actions_say_is_one_transaction_and_the_end_of_an_action_takes_it_back() {
        let server = running(3).await;
        let before = server.view().revision;
        for (n, percent) in [(0, 5), (1, 6), (0, 7)] {
            server.said_percent(name(n), "one", percent);
        }
        server.store_percents().await.unwrap();
        assert_eq!([0, 1, 2].map(|n| shown(&server, n)), [Some(7), Some(6), None]);
        assert_eq!(server.view().revision, before + 2, "each Workflow was written once");
        server.said_percent(name(0), "one", 7);
        server.said_percent(name(2), "two", 9);
        server.store_percents().await.unwrap();
        assert_eq!(server.view().revision, before + 2, "no news, and not the running action");
        report(&server, 0, ActionState::Success).await;
        assert_eq!([0, 1].map(|n| shown(&server, n)), [None, Some(6)]);
    }

    #[tokio::test]
    async fn more_workflows_than_fit_into_a_transaction_follow_in_the_next_one() {
        let server = running(TOGETHER + 2).await;
        (0..TOGETHER + 2).for_each(|n| server.said_percent(name(n), "one", 50));
        let stored = || (0..TOGETHER + 2).filter(|n| shown(&server, *n) == Some(50)).count();
        for count in [TOGETHER, TOGETHER + 2] {
            tokio::time::timeout(WRITE_EVERY, server.percents_to_write().notified()).await.expect("there is more to write");
            server.store_percents().await.unwrap();
            assert_eq!(stored(), count);
        }
    }

    #[test]
    fn those_that_speak_often_do_not_keep_others_waiting() {
        let percents = Percents::default();
        let say = |n| percents.say(name(n), Progress { workflow: name(n).to_string(), action: "one".to_owned(), percent: 1 });
        (0..2 * TOGETHER).for_each(say);
        let first = percents.next(TOGETHER);
        (0..2 * TOGETHER).filter(|n| first.contains_key(&name(*n))).for_each(say);
        let second = percents.next(TOGETHER);
        assert!(second.len() == TOGETHER && second.keys().all(|name| !first.contains_key(name)));
        assert_eq!(percents.next(TOGETHER), first, "they have waited longest now");
    }
}
