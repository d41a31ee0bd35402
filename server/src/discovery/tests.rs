use std::sync::Arc;

use api::{Block, Link};

use super::*;
use crate::service::Config;
use crate::store::Memory;

#[test]
fn names_are_tinkerbells() {
    for (id, name) in [
        ("52:54:00:12:34:56", Some("discovery-52-54-00-12-34-56")),
        ("Node_7", Some("discovery-node-7")),
        ("a..b", Some("discovery-a-b")),
        ("a:", Some("discovery-a-e")),
        (" x ", Some("discovery-x")),
        ("é", Some("discovery-e")),
        ("  ", None),
    ] {
        assert_eq!(name_of("discovery-", &AgentId::from(id)).as_deref(), name, "{id}");
    }
    assert_eq!(name_of("discovery-", &AgentId("x".repeat(253))).unwrap().len(), 63);
}

#[test]
fn a_discovered_machine_has_its_disks_and_interfaces() {
    let disk = |name: &str, size: &str| Block {
        name: Some(name.to_owned()),
        size: Some(size.to_owned()).filter(|size| !size.is_empty()),
        ..Block::default()
    };
    let link = |mac: &str| Link { mac: Some(mac.to_owned()), ..Link::default() };
    let attributes = Attributes {
        block_devices: vec![disk("sda", "16GB"), disk("sr0", ""), disk("nvme0n1", "1TB")],
        network_interfaces: ["52:54:00:00:00:01", "nonsense", "", "52:54:00:00:00:02", "52:54:00:00:00:01"].map(link).into(),
        ..Attributes::default()
    };
    let taken: Mac = "52:54:00:00:00:02".parse().unwrap();
    let found = hardware(&AgentId::from("A:1"), Some(&attributes), |mac| mac == taken).unwrap();
    let devices: Vec<&str> = found.spec.disks.iter().map(|disk| disk.device.as_str()).collect();
    assert_eq!((devices, found.spec.macs().count()), (vec!["/dev/sda", "/dev/nvme0n1"], 1));
    assert_eq!(found.metadata.labels[LABEL], "true");
    assert!(found.metadata.annotations[ATTRIBUTES].contains("nvme0n1"));
    assert_eq!((found.metadata.name.as_str(), found.spec.agent_id.as_deref()), ("discovery-a-1", Some("A:1")));
}

async fn server() -> Server {
    let discovery = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
    Server::on(Arc::new(Memory::default()), Config { discovery, ..Config::default() }).await.unwrap()
}

fn at(host: usize) -> Option<SocketAddr> {
    let [.., high, low] = u32::try_from(host).unwrap().to_be_bytes();
    Some(SocketAddr::from(([10, 0, high, low], 1)))
}

/// A product with a long name.
fn reported(letters: usize) -> AgentAttributes {
    let product = proto::Product { name: Some("x".repeat(letters)), ..proto::Product::default() };
    AgentAttributes { product: Some(product), ..AgentAttributes::default() }
}

fn id(number: usize) -> AgentId {
    AgentId(format!("02:00:00:00:{:02x}:{:02x}", number / 256, number % 256))
}

fn name(number: usize) -> model::ObjectName {
    model::ObjectName::new(NAMESPACE, name_of("discovery-", &id(number)).unwrap())
}

async fn approve(server: &Server, number: usize) {
    server.order(&name(number).to_string(), api::OrderKind::Approve, "ada", "").await.unwrap();
}

async fn meet(server: &Server, number: usize, from: Option<SocketAddr>, reported: &AgentAttributes) -> bool {
    server.met(&id(number), from, Some(reported)).await
}

#[tokio::test]
async fn a_thousand_machines_wait_and_of_further_ones_id_address_and_time_are_kept() {
    let server = server().await;
    for number in 0..MOST {
        assert!(meet(&server, number, at(number), &reported(100)).await, "{number}");
    }
    assert!(!meet(&server, MOST, at(MOST), &reported(100)).await);
    assert_eq!((server.list(Kind::Hardware).len(), server.machine_lines().len()), (MOST, MOST));
    let last = server.0.agents.get(&id(MOST)).unwrap();
    assert_eq!((last.address, last.attributes), (at(MOST), None));
    // One is approved, another one is forgotten: two places are free.
    approve(&server, 0).await;
    server.delete(Kind::Hardware, &name(1), false).await.unwrap();
    for number in MOST..MOST + 3 {
        assert_eq!(meet(&server, number, at(number), &reported(100)).await, number < MOST + 2, "{number}");
    }
}

#[tokio::test]
async fn an_inventory_has_at_most_64_kib_and_all_of_them_16_mib() {
    let server = server().await;
    assert!(meet(&server, 0, at(0), &reported(MAX_ATTRIBUTES)).await, "the machine is known without it");
    assert!(server.view().hardware.get(&name(0)).is_some_and(|stored| inventory(&stored.object).is_none()));
    let (long, mut number) = (reported(MAX_ATTRIBUTES - 100), 1);
    while meet(&server, number, at(number), &long).await {
        number += 1;
    }
    let bytes: usize = server.view().hardware.values().map(|stored| size(&stored.object)).sum();
    assert!((MOST_BYTES - MAX_ATTRIBUTES..=MOST_BYTES).contains(&bytes), "{bytes} bytes of {number} machines");
    // A machine that waits cannot report more than when it was met.
    assert!(meet(&server, 0, at(0), &long).await);
    assert!(server.0.agents.get(&id(0)).unwrap().attributes.is_none());
    assert!(server.0.store.get(&format!("/agents/{}", id(0))).await.unwrap().is_none());
    approve(&server, 0).await;
    assert!(meet(&server, 0, at(0), &long).await);
    assert!(server.0.agents.get(&id(0)).unwrap().attributes.is_some(), "an ordinary machine");
}

#[tokio::test]
async fn one_address_leaves_places_for_others() {
    let server = server().await;
    let small = reported(10);
    let mut number = 0;
    while meet(&server, number, at(7), &small).await {
        number += 1;
    }
    assert_eq!(number, MOST / 2);
    for _ in 0..SHARE {
        number += 1;
        assert!(meet(&server, number, at(8), &small).await);
    }
    approve(&server, 0).await;
    assert!(!meet(&server, 5000, at(7), &small).await, "it still has more than are free");
    for host in 0..10 {
        server.delete(Kind::Hardware, &name(host + 1), false).await.unwrap();
    }
    let local = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
    for number in 6000..6100 {
        assert!(meet(&server, number, local, &small).await, "this host has no share");
    }
}

#[tokio::test]
async fn invented_interfaces_and_disks_are_bounded() {
    let server = server().await;
    let link = |n: usize| proto::Network {
        mac: Some(format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256)),
        ..proto::Network::default()
    };
    let disk = |n: usize| proto::Block { name: Some(format!("sd{n}")), size: Some("1GB".into()), ..proto::Block::default() };
    let many = AgentAttributes {
        network: (0..300).map(link).collect(),
        block: (0..400).map(disk).collect(),
        ..AgentAttributes::default()
    };
    assert!(meet(&server, 0, at(0), &many).await);
    let view = server.view();
    let spec = &view.hardware.get(&name(0)).unwrap().object.spec;
    assert_eq!((spec.interfaces.len(), spec.disks.len()), (MOST_LINKS, MOST_DISKS));
    assert_eq!(spec.macs().next().map(|mac| mac.to_string()), Some(id(0).0), "the interface that booted");
}
