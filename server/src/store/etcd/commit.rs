//! Commits. Each one happens at most once, and is reported as done only if it is known to be.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd::rpc::{RangeRequest, ResponseOp, TxnRequest};
use etcd::{CallError, Effect};
use log::{info, warn};
use machine::Chain;
use tokio::time::{Instant, timeout};

use super::super::{StoreError, Transaction};
use super::outcomes::{Expected, Outcome};
use super::written::{First, MOST_WRITES, operations, parts, revision};
use super::{Inner, one};

/// For the whole of a commit, with its repetitions.
const LIMIT: Duration = Duration::from_secs(30);
/// For the watch to show what has happened.
const SHOWN: Duration = Duration::from_secs(15);
/// The key of a process that has ended goes after a day. A process that runs for longer writes it anew.
const SESSION_SECONDS: i64 = 24 * 3600;
/// Keys that are read at once.
const READ_AT_ONCE: usize = 100;

impl Inner {
    pub fn most_writes(&self) -> usize {
        // The record and the session take one.
        self.most.min(MOST_WRITES) - 1
    }

    pub async fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
        let (writes, most) = (transaction.writes.len().max(transaction.conditions.len()), self.most_writes());
        if writes > most {
            return Err(StoreError::TooMany { writes, most, members: self.members.names().to_owned() });
        }
        let firsts = self.firsts_of(&transaction.conditions).await?;
        let end = Instant::now() + LIMIT;
        loop {
            let (fence, id) = (self.fence.load(Ordering::SeqCst), self.next.fetch_add(1, Ordering::Relaxed));
            let expected = self.outcomes.expect(id);
            let answer = self.members.transact("commit", self.request(transaction, &firsts, fence, id)).await;
            let reason = match answer {
                Ok(answer) if answer.succeeded => {
                    let at = answer.header.map_or(0, |header| header.revision);
                    let last = u16::try_from(transaction.writes.len().saturating_sub(1)).unwrap_or(u16::MAX);
                    return Ok(if transaction.writes.is_empty() { self.revision().await? } else { revision(at, last) });
                }
                Ok(answer) => match changed(&transaction.conditions, answer.responses) {
                    Some(key) => {
                        self.origins.forget(&key);
                        return Err(StoreError::Conflict { key });
                    }
                    None => {
                        self.renew(fence).await?; // only the session has another revision
                        continue;
                    }
                },
                Err((refused, Effect::None)) => return Err(refused.into()),
                Err((reason, Effect::Unknown)) => reason,
            };
            match self.settled(&expected, fence).await {
                Ok(Outcome::Happened(revision)) => return Ok(revision),
                Ok(Outcome::Unseen) if Instant::now() < end => {} // it never happens, so it can be sent again
                Ok(Outcome::Unseen) => return Err(reason.into()),
                Ok(Outcome::Missed) => return Err(self.unsure(reason)),
                Err(later) => return Err(self.unsure(later)),
            }
        }
    }

    fn unsure(&self, source: CallError) -> StoreError {
        StoreError::Unsure { members: self.members.names().to_owned(), source: source.into() }
    }

    pub(super) fn request(&self, transaction: &Transaction, firsts: &HashMap<&str, First>, fence: i64, id: u64) -> TxnRequest {
        let keys = &self.keys;
        let compare = |(key, expected): &(String, u64)| match expected {
            0 => etcd::absent(keys.data(key)),
            expected => etcd::at_revision(keys.data(key), parts(*expected).0),
        };
        let mut compare: Vec<_> = transaction.conditions.iter().map(compare).collect();
        compare.push(etcd::at_revision(keys.session(&self.session), fence));
        let look = |(key, _): &(String, u64)| etcd::get(RangeRequest { keys_only: true, ..one(keys.data(key)) });
        let failure = transaction.conditions.iter().map(look).collect();
        let success = match transaction.writes.as_slice() {
            [] => Vec::new(),
            writes => operations(keys, writes, firsts, &self.session, id),
        };
        TxnRequest { compare, success, failure }
    }

    /// Where the first writes of the keys stood. Also checks the places of the revisions, which etcd does not compare.
    async fn firsts_of<'t>(&self, conditions: &'t [(String, u64)]) -> Result<HashMap<&'t str, First>, StoreError> {
        let (mut known, mut missing) = (HashMap::new(), Vec::new());
        for (key, expected) in conditions {
            if *expected == 0 {
                known.insert(key.as_str(), First::Here);
            } else if let Some(origin) = self.origins.at(key, *expected) {
                known.insert(key.as_str(), First::Earlier(origin));
            } else {
                missing.push((key.as_str(), *expected));
            }
        }
        for some in missing.chunks(READ_AT_ONCE) {
            let success = some.iter().map(|(key, _)| etcd::get(one(self.keys.data(key)))).collect();
            let read = TxnRequest { success, ..TxnRequest::default() };
            let answer = self.members.read("read", &read).await?;
            for ((key, expected), response) in some.iter().zip(answer.responses) {
                let pair = etcd::value_of(response).into_iter().next().and_then(|stored| self.keys.pair(stored));
                let Some((pair, origin)) = pair.filter(|(pair, _)| pair.modified == *expected) else {
                    return Err(StoreError::Conflict { key: (*key).to_owned() });
                };
                self.origins.note(key, pair.modified, origin);
                known.insert(key, First::Earlier(origin));
            }
        }
        Ok(known)
    }

    /// Gives the session another revision, unless another call did so. No transaction that names the old one has an effect
    /// any more.
    pub async fn renew(&self, old: i64) -> Result<i64, CallError> {
        let _only = self.renewing.lock().await;
        let now = self.fence.load(Ordering::SeqCst);
        if now != old {
            return Ok(now);
        }
        let started = jiff::Timestamp::now().to_string().into_bytes();
        let new = self.members.put("write", self.keys.session(&self.session), started, Some(SESSION_SECONDS)).await?;
        self.fence.store(new, Ordering::SeqCst);
        Ok(new)
    }

    /// What has become of a transaction without an answer. `Unseen` means that it has not happened and never will.
    async fn settled(&self, expected: &Expected<'_>, fence: i64) -> Result<Outcome, CallError> {
        let barrier =
            self.renew(fence).await.inspect_err(|reason| warn!("the outcome of a commit is not known: {}", Chain(reason)))?;
        let mut seen = self.seen.subscribe();
        let shown = timeout(SHOWN, seen.wait_for(|seen| *seen >= barrier)).await;
        let outcome = if matches!(shown, Ok(Ok(_))) { expected.outcome() } else { Outcome::Missed };
        info!("etcd did not answer to a commit; what the watch shows: {outcome:?}");
        Ok(outcome)
    }
}

/// The first key whose condition does not hold.
fn changed(conditions: &[(String, u64)], responses: Vec<ResponseOp>) -> Option<String> {
    let found = responses.into_iter().map(|response| etcd::value_of(response).first().map_or(0, |stored| stored.mod_revision));
    let differs = |((_, expected), found): &(&(String, u64), i64)| parts(*expected).0 != *found;
    conditions.iter().zip(found).find(differs).map(|((key, _), _)| key.clone())
}
