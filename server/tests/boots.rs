//! How machines booted: kept over restarts, explained, and shown with the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use api::{BootStep, StepKind, Verdict};
use jiff::Timestamp;
use lab::{Lab, MAC, apply, everything};
use model::Mac;
use server::{Config, LogLimits, Server};

const STRANGER: Mac = Mac::new([0x52, 0x54, 0, 0x12, 0x34, 0x96]);

fn config(folder: &std::path::Path) -> Config {
    let logs = Some((folder.join("log"), LogLimits { keep_free: 0, ..LogLimits::default() }));
    Config { store: Some(folder.join("thimble.redb")), logs, ..Config::default() }
}

fn mac() -> Mac {
    MAC.parse().unwrap()
}

fn later() -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_secs(600)
}

fn step(kind: StepKind, asked: &str) -> BootStep {
    BootStep::new(Timestamp::now(), kind, asked, "an answer").with_file("ipxe.efi")
}

async fn kept_is_explained(server: &Server) {
    for word in ["node-1", MAC, "10.0.0.20"] {
        let history = server.boots_of(word, later()).await.unwrap_or_else(|| panic!("{word}"));
        assert_eq!((history.hardware.as_deref(), history.steps.len()), (Some("default/node-1"), 2), "{word}");
        assert_eq!(history.diagnosis.verdict, Verdict::Stuck, "{word}");
        assert!(history.diagnosis.cause.contains("did not ask for it by TFTP"), "{word}: {:?}", history.diagnosis);
    }
    let unknown = server.boots_of(&STRANGER.to_string(), later()).await.unwrap();
    assert!(unknown.hardware.is_none() && unknown.diagnosis.cause.contains("no Hardware has this MAC"), "{unknown:?}");
    let silent = server.boots_of("52:54:00:12:34:99", later()).await.unwrap();
    assert!(silent.diagnosis.checks[0].contains("52:54:00:12:34:96 asked"), "a typing error: {silent:?}");
    assert!(server.boots_of("node-2", later()).await.is_none());
    let last = server.machine(mac()).unwrap().last_step.unwrap();
    assert_eq!((last.step.mac, last.step.step.kind), (mac(), StepKind::Acknowledged));
}

#[tokio::test]
async fn a_boot_is_explained_before_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    lab.server.keep_step(mac(), step(StepKind::Offered, "DISCOVER"));
    lab.server.keep_step(mac(), step(StepKind::Acknowledged, "REQUEST"));
    lab.server.keep_step(STRANGER, step(StepKind::Unknown, "DISCOVER"));
    kept_is_explained(&lab.server).await;
    lab.stop().await;
    let lab = Lab::start(config(folder.path())).await;
    kept_is_explained(&lab.server).await;
}

#[tokio::test]
async fn the_first_call_of_an_agent_is_a_step_with_the_work_that_it_finds() {
    let lab = Lab::start(Config { long_poll: std::time::Duration::from_millis(50), ..Config::default() }).await;
    apply(&lab.server, &everything()).await;
    lab.server.keep_step(mac(), step(StepKind::Ramdisk, "GET initramfs"));
    let mut agent = lab.agent(MAC).await;
    assert_eq!(agent.work().await, "a0");
    agent.ask().await.unwrap();
    let history = lab.server.boots_of("node-1", later()).await.unwrap();
    let steps: Vec<String> = history.steps.iter().skip(1).map(|one| one.step.to_string()).collect();
    assert_eq!(steps, [format!("gRPC: first call of agent {MAC} -> workflow default/w")]);
    assert_eq!(history.diagnosis.verdict, Verdict::Fine, "{:?}", history.diagnosis);
}

#[tokio::test]
async fn another_dhcp_server_is_shown_with_the_machine_until_boots_is_chosen() {
    let lab = Lab::start(Config::default()).await;
    apply(&lab.server, &everything()).await;
    let other = "10.0.0.9".parse().unwrap();
    lab.server.keep_step(mac(), step(StepKind::ChoseOther, "REQUEST").of_server(other));
    assert_eq!(lab.server.machine(mac()).unwrap().last_step.unwrap().other_server, Some(other));
    lab.server.keep_step(mac(), step(StepKind::Acknowledged, "REQUEST"));
    assert_eq!(lab.server.machine(mac()).unwrap().last_step.unwrap().other_server, None);
}
