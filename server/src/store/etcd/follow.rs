//! Follows etcd's watch, from member to member.

use std::sync::Weak;
use std::time::Duration;

use etcd::CallError;
use log::{error, info, warn};
use machine::Chain;
use tokio::sync::watch;

use super::written::{Moment, moments, revision};
use super::{Inner, latest, one};

/// Before the next member is asked.
const PAUSE: Duration = Duration::from_millis(200);

/// How a watch ended.
enum Ended {
    /// Its member does not answer any more.
    Broken(String),
    /// etcd has compacted what comes next.
    Compacted,
    /// The store was dropped.
    Dropped,
}

/// Until the store is dropped. `seen` is the revision after which the watch begins.
pub async fn follow(store: Weak<Inner>, mut ends: watch::Receiver<()>, mut seen: i64) {
    let mut broken = false;
    loop {
        let Some(inner) = store.upgrade() else { return };
        let base = inner.keys.base().as_bytes().to_vec();
        let opened = inner.members.watch(base.clone(), etcd::end_of(&base), seen + 1).await;
        drop(inner);
        let ended = match opened {
            Ok(events) => {
                if std::mem::take(&mut broken) {
                    info!("etcd answers again");
                }
                let member = events.at();
                let ended = through(&store, &mut ends, events, &mut seen).await;
                if let (Ended::Broken(_), Some(inner)) = (&ended, store.upgrade()) {
                    inner.members.left(member);
                }
                ended
            }
            Err(reason) => Ended::Broken(Chain(&reason).to_string()),
        };
        match ended {
            Ended::Dropped => return,
            Ended::Broken(reason) => {
                if !std::mem::replace(&mut broken, true) {
                    warn!("the changes in etcd cannot be followed for now: {reason}");
                }
            }
            Ended::Compacted => match again(&store).await {
                None => return,
                Some(Ok(now)) => seen = now,
                Some(Err(reason)) => error!("the changes in etcd cannot be followed: {}", Chain(&reason)),
            },
        }
        tokio::select! {
            _ = ends.changed() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Takes the events of one watch.
async fn through(store: &Weak<Inner>, ends: &mut watch::Receiver<()>, mut events: etcd::Events, seen: &mut i64) -> Ended {
    loop {
        let response = tokio::select! {
            _ = ends.changed() => return Ended::Dropped,
            response = events.next() => response,
        };
        let response = match response {
            Ok(response) => response,
            Err(reason) => return Ended::Broken(Chain(&reason).to_string()),
        };
        if response.compact_revision > 0 {
            return Ended::Compacted;
        }
        if response.canceled {
            return Ended::Broken(response.cancel_reason);
        }
        let Some(inner) = store.upgrade() else { return Ended::Dropped };
        for moment in moments(&inner.keys, response.events) {
            // A watch that begins again must not show anything twice.
            if moment.revision > *seen {
                *seen = moment.revision;
                inner.take(moment);
            }
        }
    }
}

/// The changes up to now are lost: watchers list again, and no outcome from before is known.
async fn again(store: &Weak<Inner>) -> Option<Result<i64, CallError>> {
    let inner = store.upgrade()?;
    Some(inner.members.range("read", &one(inner.keys.record())).await.map(|found| {
        let now = found.header.map_or(0, |header| header.revision);
        let revision = found.kvs.first().map_or(0, latest);
        warn!("etcd has compacted changes that this server has not seen: everything is listed again");
        inner.outcomes.missed();
        inner.log.lost(revision);
        inner.seen.send_replace(now);
        now
    }))
}

impl Inner {
    /// One revision of etcd.
    fn take(&self, moment: Moment) {
        for key in &moment.foreign {
            error!(
                "{key} in etcd was written by another program and is left out; only servers may write below {}",
                self.keys.base()
            );
        }
        for change in &moment.changes {
            if change.pair.is_none() {
                self.origins.forget(&change.key);
            }
        }
        let etcd = moment.revision;
        for (key, modified, origin) in moment.origins.into_iter().filter(|(.., origin)| origin.is_some()) {
            self.origins.note(&key, modified, origin);
        }
        let own = moment.record.filter(|record| record.session == self.session);
        let own = own.map(|record| (record.id, revision(etcd, record.last())));
        if !moment.changes.is_empty() {
            self.log.append(moment.changes);
        }
        if let Some((id, revision)) = own {
            self.outcomes.happened(id, revision);
        }
        self.seen.send_replace(etcd);
    }
}

/// Keeps etcd's history short. Every server does it, and those that come later find it done.
pub async fn compact(store: Weak<Inner>, mut ends: watch::Receiver<()>, every: Duration) {
    let mut before = None;
    loop {
        tokio::select! {
            _ = ends.changed() => return,
            () = tokio::time::sleep(every) => {}
        }
        let Some(inner) = store.upgrade() else { return };
        let now = *inner.seen.borrow();
        if let Some(before) = before.replace(now)
            && let Err(reason) = inner.members.compact(before).await
        {
            warn!("etcd's history could not be compacted: {}", Chain(&reason));
        }
    }
}
