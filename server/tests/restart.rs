//! Acknowledged writes survive a restart, even after `kill -9`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{Lab, MAC, apply, everything};
use model::Kind;
use proto::action_status_request::StateType;
use server::Config;
use server::store::{Redb, Store, Transaction};

fn config(path: &Path) -> Config {
    Config { store: Some(path.join("thimble.redb")), long_poll: Duration::from_millis(50), ..Config::default() }
}

#[tokio::test]
async fn a_workflow_continues_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    assert_eq!(agent.work().await, "a0");
    let second = agent.ask().await.unwrap();
    agent.say(&second, StateType::Running).await.unwrap();
    drop(agent);
    lab.stop().await;

    let lab = Lab::start(config(folder.path())).await;
    let mut agent = lab.agent(MAC).await;
    assert_eq!(lab.state("w"), "RUNNING SUCCESS,RUNNING");
    agent.say(&second, StateType::Success).await.unwrap(); // the report that was sent before the restart
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS");
    apply(&lab.server, &everything()).await;
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS", "a finished workflow never runs twice");
}

#[tokio::test]
async fn an_agents_report_about_its_machine_survives() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let memory = proto::Memory { total: Some("128MB".into()), usable: None };
    let agent_attributes = Some(proto::AgentAttributes { memory: Some(memory), ..proto::AgentAttributes::default() });
    agent.client.get_action(proto::ActionRequest { agent_id: Some(MAC.into()), agent_attributes }).await.unwrap();
    drop(agent);
    let known = async |store: &dyn Store| store.get(&format!("/agents/{MAC}")).await.unwrap().is_some();
    lab.stop().await;
    let store = lab::soon(opened(&folder.path().join("thimble.redb"))).await;
    assert!(known(&store).await);
    drop(store);
    let lab = Lab::start(config(folder.path())).await;
    let machine = lab.server.machine(MAC.parse().unwrap()).unwrap();
    let attributes = machine.agent.unwrap().attributes.unwrap();
    assert_eq!(serde_json::to_value(attributes).unwrap(), serde_json::json!({"memory": {"total": "128MB"}}));
}

/// The server that had the store open may still be finishing a write in the background.
async fn opened(path: &Path) -> Redb {
    loop {
        match Redb::open(path) {
            Err(server::store::StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other.unwrap(),
        }
    }
}

const ROLE: &str = "THIMBLE_TEST_STORE";

/// Not a real test: it is the process that is killed. It prints a number once that number is acknowledged.
#[test]
fn writer() {
    let Ok(path) = std::env::var(ROLE) else { return };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let store = Redb::open(&PathBuf::from(path)).unwrap();
        let (entries, _) = store.list("/n/").await.unwrap();
        for number in entries.len().. {
            let value = vec![b'x'; 1 + number % 3000];
            store.commit(Transaction::default().put(format!("/n/{number:08}"), 0, value)).await.unwrap();
            println!("stored {number}");
            std::io::stdout().flush().unwrap();
        }
    });
}

fn start_writer(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(ROLE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    if std::env::var(ROLE).is_ok() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut acknowledged = 0;
    for round in 1..=4_usize {
        let mut child = start_writer(&path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut numbers =
            lines.map_while(Result::ok).filter_map(|line| line.split("stored ").nth(1)?.trim().parse::<usize>().ok());
        let last = numbers.by_ref().nth(round * 17).expect("the writer writes");
        child.kill().unwrap(); // SIGKILL, somewhere inside one of the next commits
        child.wait().unwrap();
        let last = numbers.last().unwrap_or(last);
        let store = Redb::open(&path).unwrap();
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (entries, revision) = executor.block_on(store.list("/n/")).unwrap();
        assert!(entries.len() > last, "round {round}: {last} was acknowledged, {} are stored", entries.len());
        assert!(last > acknowledged, "round {round}");
        acknowledged = last;
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!((entry.key.as_str(), entry.value.len()), (format!("/n/{number:08}").as_str(), 1 + number % 3000));
        }
        assert_eq!(revision, entries.len() as u64);
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    let refused = server::Server::open(config(folder.path())).await.err().unwrap();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    assert!(lab.server.list(Kind::Workflow).is_empty());
}
