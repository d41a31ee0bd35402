use std::sync::Arc;

use api::Decision;

use super::*;
use crate::service::{Config, Server};
use crate::store::Memory;

fn machine(intent: Intent, orders: &[&str]) -> MachineState {
    let decision = Decision { intent, by: "apply".to_owned(), at: Timestamp::UNIX_EPOCH, reason: String::new() };
    intent::imported(decision, orders.iter().map(|order| (*order).to_owned()).collect(), false)
}

fn rollout(state: RolloutState) -> serde_json::Value {
    serde_json::json!({
        "namespace": "default", "name": "r", "spec": {"selector": "a=b", "templateRef": "t"}, "state": state,
        "reason": "", "by": "ops", "at": Timestamp::UNIX_EPOCH, "waves": [["m"]],
    })
}

async fn read<T: DeserializeOwned>(store: &Memory, key: &str) -> T {
    serde_json::from_slice(&store.get(key).await.unwrap().unwrap().value).unwrap()
}

async fn store(mark: bool) -> Arc<Memory> {
    let store = Arc::new(Memory::default());
    let mut transaction = Transaction::default();
    for (name, intent, orders) in [
        ("ordered", Intent::Install, &["default/w"][..]),
        ("installed", Intent::Local, &[]),
        ("held", Intent::Hold, &["default/v"]),
        ("rescued", Intent::Rescue, &[]),
    ] {
        let value = serde_json::to_vec(&machine(intent, orders)).unwrap();
        transaction = transaction.put(format!("{MACHINES}default/{name}"), 0, value);
    }
    for (name, state) in [("runs", RolloutState::Running), ("ended", RolloutState::Done)] {
        transaction = transaction.put(format!("{ROLLOUTS}default/{name}"), 0, rollout(state).to_string().into_bytes());
    }
    if mark {
        transaction = transaction.put(RESTORED, 0, b"2026-07-01T10:00:00Z".to_vec());
    }
    store.commit(transaction).await.unwrap();
    store
}

#[tokio::test]
async fn a_restored_server_installs_nothing_before_a_person_has_looked() {
    let store = store(true).await;
    Server::on(store.clone(), Config::default()).await.unwrap();
    for (name, expected) in
        [("ordered", Intent::Hold), ("installed", Intent::Local), ("held", Intent::Hold), ("rescued", Intent::Rescue)]
    {
        let state: MachineState = read(&store, &format!("{MACHINES}default/{name}")).await;
        assert_eq!(state.decision.intent, expected, "{name}");
        let is_ours = state.decision.by == BY_RESTORE && state.decision.reason.contains("2026-07-01T10:00:00Z");
        assert_eq!(is_ours, name == "ordered", "{name}: {state:?}");
    }
    let ordered: MachineState = read(&store, &format!("{MACHINES}default/ordered")).await;
    assert_eq!(ordered.orders, ["default/w"], "the order waits");
    let runs: Rollout = read(&store, &format!("{ROLLOUTS}default/runs")).await;
    assert_eq!((runs.state, runs.by.as_str()), (RolloutState::Paused, BY_RESTORE));
    let ended: Rollout = read(&store, &format!("{ROLLOUTS}default/ended")).await;
    assert_eq!(ended.state, RolloutState::Done);
}

#[tokio::test]
async fn only_the_first_start_after_a_restore_holds_machines() {
    let store = store(true).await;
    Server::on(store.clone(), Config::default()).await.unwrap();
    let key = format!("{MACHINES}default/ordered");
    let modified = store.get(&key).await.unwrap().unwrap().modified;
    let approved = serde_json::to_vec(&machine(Intent::Install, &["default/w"])).unwrap();
    store.commit(Transaction::default().put(&key, modified, approved)).await.unwrap();
    Server::on(store.clone(), Config::default()).await.unwrap();
    assert_eq!(read::<MachineState>(&store, &key).await.decision.intent, Intent::Install);
}

#[tokio::test]
async fn a_start_without_a_restore_changes_nothing() {
    let store = store(false).await;
    let (before, revision) = store.list("/").await.unwrap();
    hold(&*store, Timestamp::UNIX_EPOCH).await.unwrap();
    let (after, still) = store.list("/").await.unwrap();
    assert_eq!((before.len(), revision), (after.len(), still));
}
