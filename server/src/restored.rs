//! The first start on a restored store. The store does not know what came after the backup. So machines with an order are held,
//! and rollouts are paused, until a person has looked.

use api::{Intent, MachineState, Rollout, RolloutState};
use jiff::Timestamp;
use log::warn;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::intent::{self, BY_RESTORE};
use crate::rollout::ROLLOUTS;
use crate::store::{KeyValue, RESTORED, Store, StoreError, Transaction};
use crate::view::MACHINES;

/// Holds what the backup would order again, once.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn hold(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let Some(mark) = store.get(RESTORED).await? else { return Ok(()) };
    let taken = String::from_utf8_lossy(&mark.value).into_owned();
    let reason = format!("the store was restored from a backup of {taken}, which does not know what came after it");
    let machines = changed(store.list(MACHINES).await?.0, |state| held(state, &reason, now))?;
    let rollouts = changed(store.list(ROLLOUTS).await?.0, |rollout| paused(rollout, &reason, now))?;
    let (held, paused) = (machines.len(), rollouts.len());
    let mut transaction = Transaction::default().delete(RESTORED, mark.modified);
    for (key, modified, value) in machines.into_iter().chain(rollouts) {
        transaction = transaction.put(key, modified, value);
    }
    match store.commit(transaction).await {
        Err(StoreError::Conflict { .. }) => return Ok(()), // another server of the store was first
        done => done?,
    };
    warn!(
        "{reason}: {held} machines with orders are held, and {paused} rollouts are paused; `thimble machine approve NAME` and `thimble rollout resume NAME` let them go on"
    );
    Ok(())
}

type Changed = (String, u64, Vec<u8>);

/// What is not readable stays as it is: nothing acts on it.
fn changed<T: Serialize + DeserializeOwned>(
    pairs: Vec<KeyValue>,
    change: impl Fn(&mut T) -> bool,
) -> Result<Vec<Changed>, StoreError> {
    let mut changed = Vec::new();
    for KeyValue { key, value, modified, .. } in pairs {
        let Ok(mut object) = serde_json::from_slice::<T>(&value) else { continue };
        if change(&mut object) {
            let value = serde_json::to_vec(&object);
            let value = value.map_err(|source| StoreError::Failed { doing: "hold what was restored", source: source.into() })?;
            changed.push((key, modified, value));
        }
    }
    Ok(changed)
}

fn held(state: &mut MachineState, reason: &str, now: Timestamp) -> bool {
    if state.decision.intent != Intent::Install {
        return false;
    }
    intent::set(state, Intent::Hold, BY_RESTORE, reason.to_owned(), now);
    true
}

fn paused(rollout: &mut Rollout, reason: &str, now: Timestamp) -> bool {
    if rollout.state != RolloutState::Running {
        return false;
    }
    rollout.state = RolloutState::Paused;
    reason.clone_into(&mut rollout.reason);
    BY_RESTORE.clone_into(&mut rollout.by);
    rollout.at = now;
    true
}

#[cfg(test)]
mod tests;
