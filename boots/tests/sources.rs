//! Where machines come from: a file that changes, a server that restarts; and what they say by syslog.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use boots::{BootState, FileSource, MachineSource, Milestone, RemoteSource, SourceError};
use model::Object;
use support::{FORBIDDEN, HARDWARE, Host, KNOWN, LIMIT, STRANGER, assert_logged, count_logged, keep_log};
use tokio::net::{TcpListener, UdpSocket};

#[tokio::test]
async fn a_file_of_hardware_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hardware.yaml");
    std::fs::write(&path, HARDWARE).unwrap();
    let source = FileSource::open(&path).unwrap();
    let machine = source.machine(KNOWN).await.unwrap().unwrap();
    assert_eq!(
        (machine.name.as_str(), machine.boot, machine.netboot_allowed),
        ("m1", BootState::Install { workflow: None }, true)
    );
    assert_eq!(source.machine_at([10, 0, 0, 12].into()).await.unwrap().unwrap().agent_id, "agent-2");
    assert!(source.machine(STRANGER).await.unwrap().is_none());

    std::fs::write(&path, "kind: Nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(1600)).await; // the source looks at the file twice a second
    assert!(source.machine(KNOWN).await.unwrap().is_some(), "a broken file changes nothing");

    std::fs::write(&path, HARDWARE.replace("name: m1", "name: renamed")).unwrap();
    let deadline = Instant::now() + LIMIT;
    while source.machine(KNOWN).await.unwrap().unwrap().name != "renamed" {
        assert!(Instant::now() < deadline, "the change was not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_again_is_reported_with_its_cause() {
    keep_log();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unreadable.yaml");
    std::fs::write(&path, HARDWARE).unwrap();
    let source = FileSource::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let deadline = Instant::now() + LIMIT;
    while count_logged("unreadable.yaml had before stay in force") == 0 {
        assert!(Instant::now() < deadline, "no line");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(source.machine(KNOWN).await.unwrap().is_some());
    assert_logged(&["the Hardware files cannot be used: cannot read", "unreadable.yaml: No such file or directory"]);
}

#[tokio::test]
async fn a_script_without_its_server_is_reported_with_the_whole_cause() {
    keep_log();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let host = Host::with(Arc::new(RemoteSource::new(&[format!("http://{closed}")]).unwrap())).await;
    let answer = reqwest::get(format!("http://{}/ipxe/script/{STRANGER}/auto.ipxe?https=1", host.http)).await.unwrap();
    assert_eq!(answer.status(), 200, "a script that asks again");
    assert!(answer.text().await.unwrap().contains("/auto.ipxe?unknown=1&https=1 ||\n"), "it stays known that it has HTTPS");
    assert_logged(&[
        &format!("HTTP: no script for {STRANGER}: cannot ask the server at http://{closed}/"),
        ": ",
        "Connection refused",
    ]);
    host.stop().await;
}

#[test]
fn a_file_with_mistakes_is_refused_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hardware.yaml");
    std::fs::write(&path, HARDWARE.replace("hostname: m1", "hostnam: m1")).unwrap();
    let error = machine::Chain(&FileSource::open(&path).unwrap_err()).to_string();
    assert!(error.contains("hardware.yaml:10") && error.contains("hostnam"), "{error}");
    assert!(matches!(FileSource::open("/nonexistent"), Err(SourceError::Files(model::FilesError::Unreadable { .. }))));
}

const NIC: &str = "pci:v00008086d000010D3sv*sd*bc02sc00i00";

/// A server's API as far as boots knows it.
async fn machines(Path(key): Path<String>) -> Response {
    let objects = model::parse_documents(HARDWARE, "lab.yaml").unwrap();
    let (Object::Hardware(first), Object::Hardware(second)) = (&objects[0], &objects[1]) else { panic!("hardware") };
    match key.as_str() {
        "02:00:00:00:00:01" | "127.0.0.1" => {
            Json(serde_json::json!({"hardware": first, "boot": "local", "reason": "workflow w1 has succeeded"})).into_response()
        }
        "02:00:00:00:00:02" => {
            Json(serde_json::json!({"hardware": second, "boot": "install", "workflow": "w2", "agent": {"id": "a", "lastSeen": "2026-01-02T03:04:05Z", "modaliases": [NIC, "nonsense"]}}))
                .into_response()
        }
        "10.0.0.9" => Json(serde_json::json!({"hardware": first, "boot": "local", "reason": "r", "same_address": ["default/m2"]})).into_response(),
        "02:00:00:00:00:03" => (http::StatusCode::INTERNAL_SERVER_ERROR, "the store is on fire").into_response(),
        "02:00:00:00:00:04" => "hello".into_response(),
        _ => http::StatusCode::NOT_FOUND.into_response(),
    }
}

async fn server() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let router = axum::Router::new().route(&format!("{}/{{key}}", api::paths::MACHINES), get(machines));
    (listener.local_addr().unwrap(), tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

#[tokio::test]
async fn the_server_says_who_a_machine_is_and_what_it_boots() {
    let (address, _server) = server().await;
    let source = RemoteSource::new(&[format!("http://{address}/")]).unwrap();
    let machine = source.machine(KNOWN).await.unwrap().unwrap();
    assert_eq!(
        (machine.name.as_str(), machine.boot),
        ("m1", BootState::Local { reason: "workflow w1 has succeeded".to_owned() })
    );
    assert_eq!(machine.devices, [], "no agent of it has called");
    let machine = source.machine(FORBIDDEN).await.unwrap().unwrap();
    assert_eq!(machine.boot, BootState::Install { workflow: Some("w2".to_owned()) });
    assert_eq!(machine.devices.iter().map(ToString::to_string).collect::<Vec<_>>(), [NIC]);
    assert_eq!(source.machine_at(Ipv4Addr::LOCALHOST.into()).await.unwrap().unwrap().mac, KNOWN);
    assert!(source.machine(STRANGER).await.unwrap().is_none());
    let refused = source.machine("02:00:00:00:00:03".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&refused, SourceError::Refused { status: 500, body, .. } if body == "the store is on fire"), "{refused}");
    let nonsense = source.machine("02:00:00:00:00:04".parse().unwrap()).await.unwrap_err();
    assert!(matches!(nonsense, SourceError::Nonsense { .. }));
    assert_eq!(source.hardware_at(Ipv4Addr::LOCALHOST.into()).await.unwrap().unwrap().name().name, "m1");
    let shared = source.hardware_at([10, 0, 0, 9].into()).await.unwrap_err();
    assert!(matches!(&shared, SourceError::Ambiguous { names, .. } if names.len() == 2), "one would read the other's: {shared}");
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_bridged() {
    keep_log();
    let (address, server) = server().await;
    let source = RemoteSource::new(&[format!("http://{address}")]).unwrap();
    let before = source.machine(KNOWN).await.unwrap();
    server.abort();
    let _ = server.await;
    let deadline = Instant::now() + LIMIT;
    while matches!(source.machine(FORBIDDEN).await, Ok(Some(_))) {
        assert!(Instant::now() < deadline, "the server did not stop");
    }
    assert_eq!(source.machine(KNOWN).await.unwrap(), before, "its last answer");
    assert_logged(&[&format!("cannot ask the server at http://{address}/"), "; using its answer of"]);
    assert!(matches!(source.machine(FORBIDDEN).await, Err(SourceError::Unreachable { .. })), "never asked before");
}

#[tokio::test]
async fn another_server_of_the_site_is_asked_while_one_is_away() {
    keep_log();
    let ((one, first), (two, _second)) = (server().await, server().await);
    let away = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let source = RemoteSource::new(&[one, two, away].map(|address| format!("http://{address}"))).unwrap();
    let before = source.machine(KNOWN).await.unwrap();
    first.abort();
    let _ = first.await;
    assert_eq!(source.machine(KNOWN).await.unwrap(), before);
    assert!(source.machine(FORBIDDEN).await.unwrap().is_some(), "the second answers, not the memory of the first");
    assert_logged(&[&format!("; the server http://{two} is asked from now on")]);
    let trouble = source.machine("02:00:00:00:00:03".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&trouble, SourceError::Refused { status: 500, .. }), "the one that answers says more: {trouble}");
}

#[tokio::test]
async fn what_machines_log_becomes_events() {
    let mut host = Host::start().await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(b"<30>1 - m1 thimble - - - hello", host.syslog).await.unwrap();
    let event = host.milestone(Milestone::Syslog { severity: 6, tag: "thimble".to_owned(), text: "hello".to_owned() }).await;
    assert_eq!(event.mac, Some(KNOWN));
    host.stop().await;
}
