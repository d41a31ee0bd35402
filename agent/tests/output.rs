//! The output of a real container on its way to the real server's log. Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use ::server::{Config, LogLimits, Server};
use lab::Lab;
use model::parse_documents;
use tokio::net::TcpListener;

fn objects(image: &str) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {{name: node}}
spec: {{interfaces: [{{dhcp: {{mac: '02:00:00:00:00:01', ip: {{address: 10.0.0.20}}}}, netboot: {{allowPXE: true}}}}]}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {{name: talk}}
spec:
  data: |
    name: talk
    tasks:
      - name: t
        worker: '02:00:00:00:00:01'
        actions:
          - {{name: talk, image: '{image}', timeout: 60, command: [/bin/sh, -c, 'seq 1 800; echo the end >&2']}}
          - {{name: next, image: '{image}', timeout: 60, command: [/bin/sh, -c, 'printf \"\\033[2Jno line end\"']}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {{name: w}}
spec: {{templateRef: talk, hardwareRef: node}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_log_has_every_line_though_the_console_shows_few_of_them() {
    let lab = Lab::new().await;
    let folder = tempfile::tempdir().unwrap();
    let logs = Some((folder.path().to_owned(), LogLimits { keep_free: 0, ..LogLimits::default() }));
    let server = Server::open(Config { logs, ..Config::default() }).await.unwrap();
    let (grpc, http) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let authority = grpc.local_addr().unwrap().to_string();
    tokio::spawn(::server::run(server.clone(), grpc, http, std::future::pending()));
    server.apply(parse_documents(&objects(&lab.image), "test.yaml").unwrap()).await.unwrap();
    let _agent = lab.agent_with(&[("TINKERBELL_GRPC_AUTHORITY", &authority)]);
    // A log is below the name of its workflow and the revision of its first write.
    let text = || {
        let mut logs = std::fs::read_dir(folder.path().join("workflows")).into_iter().flatten().flatten();
        let log = logs.find(|log| log.file_name().to_string_lossy().starts_with("default_w@"));
        log.and_then(|log| std::fs::read_to_string(log.path().join("00000001.jsonl")).ok()).unwrap_or_default()
    };
    lab.until("the last line", || text().contains("no line end")).await;
    let text = text();
    let of = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        (of("\"stdout\",\"text\":\"500\""), of("\"action\":\"talk\""), of("the end"), of("\"note\"")),
        (1, 801, 1, 0),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    let console = lab.text();
    assert!(console.contains("lines left out") && !console.contains("A| 500"), "{console}");
}
