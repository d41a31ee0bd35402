//! Keeps the view in step with the store.

use std::sync::{PoisonError, Weak};
use std::time::Duration;

use api::What;
use log::{error, warn};
use machine::Chain;
use model::{Kind, WorkflowState};

use super::Inner;
use crate::rollout::ROLLOUTS;
use crate::site::TOKENS;
use crate::store::{StoreError, Watch};
use crate::view::{News, View};

/// Until the server is dropped. A transaction appears as a whole: once its revision
/// is announced, all of it is visible.
pub async fn follow(server: Weak<Inner>, mut watch: Watch) {
    while let Some(change) = watch.next().await {
        match change {
            Ok(change) => {
                let Some(inner) = server.upgrade() else { return };
                let revision = change.whole;
                let changes: Vec<_> = std::iter::once(change).chain(watch.rest()).collect();
                let mut news = News::default();
                {
                    let mut view = inner.view.write().unwrap_or_else(PoisonError::into_inner);
                    changes.iter().for_each(|change| news.add(view.update(change)));
                }
                inner.follow_running(&news.subjects);
                if inner.store.is_shared() {
                    changes.iter().for_each(|change| inner.learn(change));
                }
                if changes.iter().any(|change| change.key.starts_with(ROLLOUTS)) {
                    inner.rollouts.notify_one();
                }
                if changes.iter().any(|change| change.key == TOKENS) {
                    inner.tokens.notify_one();
                }
                if news.events.iter().any(is_end) {
                    inner.rollouts.workflow_ended();
                }
                for what in news.events {
                    inner.metrics.happened(&what);
                    inner.events.publish(what);
                }
                inner.revision.send_replace(revision);
                inner.calls.wake(news.subjects);
            }
            Err(reason) => {
                warn!("the view fell behind the store and is read again: {}", Chain(&reason));
                let Some(new) = resumed(&server).await else { return };
                watch = new;
            }
        }
    }
}

/// Whether a Workflow has ended or was deleted.
fn is_end(what: &What) -> bool {
    match what {
        What::Workflow { state, .. } => state.is_some_and(WorkflowState::is_final),
        What::Object { kind: Kind::Workflow | Kind::WorkflowV1alpha2, change, .. } => *change == api::Change::Deleted,
        _ => false,
    }
}

/// Tries until it succeeds, because the missed changes are not sent again.
async fn resumed(server: &Weak<Inner>) -> Option<Watch> {
    loop {
        let inner = server.upgrade()?;
        match read_again(&inner).await {
            Ok(watch) => {
                inner.events.publish(What::Missed { count: None });
                return Some(watch);
            }
            Err(reason) => error!("the store cannot be read: {}", Chain(&reason)),
        }
        drop(inner);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn read_again(inner: &Inner) -> Result<Watch, StoreError> {
    let (pairs, revision) = inner.store.list("/").await?;
    let watch = inner.store.watch(revision)?;
    *inner.view.write().unwrap_or_else(PoisonError::into_inner) = View::load(pairs, revision);
    inner.look_at_all_running();
    inner.revision.send_replace(revision);
    inner.calls.wake_all();
    inner.tokens.notify_one();
    inner.rollouts.notify_one();
    Ok(watch)
}
