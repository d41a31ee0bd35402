//! Input from unknown callers is bounded in memory, in the store and in the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use lab::lines::{lines_with, listen};
use lab::{Lab, MAC, apply, everything};
use model::Kind;
use proto::action_status_request::StateType;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

fn asking(id: String, disks: usize) -> proto::ActionRequest {
    let block = vec![proto::Block::default(); disks];
    let attributes = proto::AgentAttributes { block, ..proto::AgentAttributes::default() };
    proto::ActionRequest { agent_id: Some(id), agent_attributes: Some(attributes) }
}

#[tokio::test]
async fn the_text_of_a_report_is_bounded_and_one_line() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    let good = agent.request(&action, StateType::Failed);
    let long = Some("x".repeat(900));
    let evil = Some("a\n\u{1b}[2J".to_owned());
    for (case, request, refusal) in [
        ("a long agent id", proto::ActionStatusRequest { agent_id: long.clone(), ..good.clone() }, "invalid Agent ID"),
        ("escapes in it", proto::ActionStatusRequest { agent_id: evil.clone(), ..good.clone() }, "invalid Agent ID"),
        ("a long action id", proto::ActionStatusRequest { action_id: long.clone(), ..good.clone() }, "invalid action name"),
        ("escapes in it", proto::ActionStatusRequest { action_id: evil.clone(), ..good.clone() }, "invalid action name"),
        ("escapes in a task", proto::ActionStatusRequest { task_id: evil.clone(), ..good.clone() }, "invalid task name"),
        (
            "a workflow's name with a line feed",
            proto::ActionStatusRequest { workflow_id: Some("default/w\n".to_owned()), ..good.clone() },
            "invalid workflow id",
        ),
    ] {
        let refused = agent.client.report_action_status(request).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, refusal), "{case}");
    }
    let message = proto::ActionMessage { message: Some(format!("disk\n\u{1b}[31m{}", "y".repeat(100_000))) };
    let report = proto::ActionStatusRequest { execution_duration: Some("9".repeat(200_000)), message: Some(message), ..good };
    agent.client.report_action_status(report).await.unwrap();
    let workflow = lab.server.get(Kind::Workflow, &"w".parse().unwrap()).unwrap();
    let failed = &workflow["status"]["tasks"][0]["actions"][0];
    let said = failed["message"].as_str().unwrap();
    assert!(said.starts_with("disk ?[31my") && said.len() <= 4096, "{} bytes", said.len());
    assert_eq!(failed["executionDuration"], "3s250ms");
}

async fn call(lab: &Lab, path: &'static str, message: proto::ActionRequest) -> Status {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", lab.grpc)).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<proto::ActionRequest, proto::ActionResponse>::default();
    client.unary(Request::new(message), PathAndQuery::from_static(path), codec).await.unwrap_err()
}

#[tokio::test]
async fn a_caller_that_cannot_be_served_gets_one_line_with_its_address() {
    listen();
    let lab = Lab::hasty().await;
    let old = "/github.com.tinkerbell.tink.protos.workflow.WorkflowService/GetWorkflowContexts";
    for _ in 0..5 {
        assert_eq!(call(&lab, old, proto::ActionRequest::default()).await.code(), Code::Unimplemented);
    }
    let lines = lines_with("tink v0.8 or older");
    assert!(lines.len() == 1 && lines[0].contains("address=127.0.0.1:"), "{lines:?}");
    let huge = call(&lab, "/proto.WorkflowService/GetAction", asking("x".to_owned(), 100_000)).await;
    assert_eq!((huge.code(), huge.message()), (Code::InvalidArgument, "attributes have at most 8192 entries in their lists"));
    let huge = call(&lab, "/proto.WorkflowService/GetAction", asking("x".to_owned(), 200_000)).await;
    assert_eq!((huge.code(), huge.message()), (Code::ResourceExhausted, "a message has at most 262144 bytes"));
    assert_eq!(lines_with("a message has at most").len(), 1);
}
