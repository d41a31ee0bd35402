//! A client that invents agents. This test has its own process, because it measures the memory of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::time::Duration;

use futures_util::StreamExt;
use lab::lines::{lines_with, listen};
use lab::{Lab, MAC, apply, everything, soon};
use server::Config;
use tonic::Code;

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn asking(id: String, disks: usize) -> proto::ActionRequest {
    let block = vec![proto::Block::default(); disks];
    let attributes = proto::AgentAttributes { block, ..proto::AgentAttributes::default() };
    proto::ActionRequest { agent_id: Some(id), agent_attributes: Some(attributes) }
}

#[tokio::test]
async fn twenty_thousand_invented_agents_take_little_memory_and_do_not_push_out_a_known_one() {
    listen();
    let lab = Lab::start(Config { long_poll: Duration::ZERO, ..Config::default() }).await;
    apply(&lab.server, &everything()).await;
    let mut known = lab.agent(MAC).await;
    soon(known.client.get_action(asking(MAC.to_owned(), 3))).await.unwrap();
    let before = resident();
    let client = &known.client;
    let calls = futures_util::stream::iter(0..20_000).map(|n| async move {
        let refused = client.clone().get_action(asking(format!("{n:x>250}"), 100)).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    });
    tokio::time::timeout(Duration::from_secs(240), calls.buffer_unordered(32).collect::<Vec<_>>()).await.unwrap();
    let cost = resident().saturating_sub(before);
    assert!(cost < 32 << 20, "{} KiB", cost >> 10);
    let machine = lab.server.machine(MAC.parse().unwrap()).unwrap();
    assert_eq!(machine.agent.unwrap().attributes.unwrap().block_devices.len(), 3);
    assert_eq!(lines_with("many agent ids that no object names").len(), 1);
    assert!(lines_with("x calls for the first time").len() <= 64, "a flood of ids does not flood the log");
    lab.stop().await;
}
