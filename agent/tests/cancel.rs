//! The real agent and the real server, with a real container between them. Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use ::server::{Config, Server};
use lab::Lab;
use model::{Kind, ObjectName, Workflow, WorkflowState, parse_documents};
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
metadata: {{name: long}}
spec:
  data: |
    name: long
    tasks:
      - name: t
        worker: '02:00:00:00:00:01'
        actions:
          - {{name: long, image: '{image}', timeout: 0, command: [/bin/sh, -c, 'echo at work; sleep 1000']}}
          - {{name: never, image: '{image}', timeout: 0, command: [/bin/sh, -c, 'echo not cancelled']}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {{name: w}}
spec: {{templateRef: long, hardwareRef: node}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_workflow_ends_its_container_and_no_further_action_runs() {
    let lab = Lab::new().await;
    let server = Server::open(Config::default()).await.unwrap();
    let (grpc, http) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let authority = grpc.local_addr().unwrap().to_string();
    tokio::spawn(::server::run(server.clone(), grpc, http, std::future::pending()));
    server.apply(parse_documents(&objects(&lab.image), "test.yaml").unwrap()).await.unwrap();
    let _agent = lab.agent_with(&[("TINKERBELL_GRPC_AUTHORITY", &authority)]);
    let name = ObjectName::new("default", "w");
    let workflow = || serde_json::from_value::<Workflow>(server.get(Kind::Workflow, &name).unwrap()).unwrap();

    lab.until("the action", || lab.text().contains("A| at work")).await;
    server.cancel(&name, "wrong machine", false).await.unwrap();
    lab.until("the end", || workflow().status.state == Some(WorkflowState::Failed)).await;
    let ended = workflow();
    let words = &ended.status.message;
    assert!(words.starts_with("cancelled: wrong machine; action long ended FAILED: Cancelled: wrong machine"), "{words}");

    // The agent is ready for the next workflow, and has left nothing of this one.
    let next = objects(&lab.image).replace("name: w}", "name: next}").replace("sleep 1000", "true");
    server
        .apply(
            parse_documents(&next.replace("name: long}", "name: short}").replace("templateRef: long", "templateRef: short"), "n")
                .unwrap(),
        )
        .await
        .unwrap();
    let next = ObjectName::new("default", "next");
    let state = || serde_json::from_value::<Workflow>(server.get(Kind::Workflow, &next).unwrap()).unwrap().status.state;
    lab.until("the next workflow", || state() == Some(WorkflowState::Success)).await;
    assert_eq!(lab.text().matches("A| not cancelled").count(), 1, "{}", lab.text());
    lab.assert_clean();
}
