//! `/healthz`, `/readyz` and `/metrics` by HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::time::Duration;

use lab::{Lab, apply, everything};
use server::Config;

async fn get(lab: &Lab, path: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error only means that another test did it
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{}{path}", lab.http)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_server_on_its_sockets_is_healthy_ready_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(Config {
        store: Some(folder.path().join("store.redb")),
        long_poll: Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent("stranger").await;
    assert_eq!(agent.ask().await.unwrap_err().code(), tonic::Code::NotFound);
    let revision = |text: &str| text.lines().find(|line| line.starts_with("thimble_store_revision ")).unwrap().to_owned();
    let before = revision(&get(&lab, "/metrics").await.1);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(&lab, path).await, (200, "ok".to_owned()), "{path}");
    }
    let (code, text) = get(&lab, "/metrics").await;
    assert_eq!(code, 200);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert_eq!(revision(&text), before, "a probe is not a revision");
    assert_ne!(line("thimble_store_size_bytes"), "thimble_store_size_bytes 0");
    assert!(text.contains("thimble_grpc_calls_total{method=\"GetAction\",code=\"NOT_FOUND\"} 1"), "{text}");
    lab.stop().await;
}
