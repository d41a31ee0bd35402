//! A collector of our own takes the trace of a workflow by OTLP over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use model::Workflow;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use traces::{Collector, TraceError};

type Sent = (String, ExportTraceServiceRequest);

async fn collector(answer: StatusCode) -> (String, mpsc::UnboundedReceiver<Sent>) {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error only means that another test did it
    let (sent, received) = mpsc::unbounded_channel();
    let take = move |State(sent): State<mpsc::UnboundedSender<Sent>>, headers: HeaderMap, body: Bytes| async move {
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        sent.send((kind, ExportTraceServiceRequest::decode(body).unwrap())).unwrap();
        answer
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(sent);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, received)
}

fn finished() -> Workflow {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow",
        "metadata": {"name": "install", "namespace": "default"}, "spec": {"templateRef": "debian"},
        "status": {"state": "SUCCESS", "begun": "2026-01-01T00:00:00Z", "tasks": [{"id": "t", "name": "t", "agentID": "a", "actions": [
            {"id": "1", "name": "write", "image": "i", "timeout": 9, "state": "SUCCESS",
             "executionStart": "2026-01-01T00:00:01Z", "executionStop": "2026-01-01T00:00:03Z"}]}]},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_one_trace_with_the_action_below_its_workflow() {
    let (address, mut received) = collector(StatusCode::OK).await;
    Collector::at(&address).unwrap().send(&finished()).await.unwrap();
    let (kind, request) = received.recv().await.unwrap();
    assert_eq!(kind, "application/x-protobuf");
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    assert!(resource.attributes.iter().any(|one| one.key == "service.name"), "{resource:?}");
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["workflow install", "write"]);
    assert!(spans[0].parent_span_id.is_empty() || spans[0].parent_span_id.iter().all(|byte| *byte == 0));
    assert_eq!((&spans[1].parent_span_id, &spans[1].trace_id), (&spans[0].span_id, &spans[0].trace_id));
    assert_eq!(spans[1].end_time_unix_nano - spans[1].start_time_unix_nano, 2_000_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_an_error_and_an_unfinished_workflow_is_not_sent() {
    let (address, mut received) = collector(StatusCode::BAD_REQUEST).await;
    let collector = Collector::at(&address).unwrap();
    assert!(matches!(collector.send(&finished()).await, Err(TraceError::Refused(_))));
    assert!(received.recv().await.is_some());
    collector.send(&Workflow { status: Default::default(), ..finished() }).await.unwrap();
    assert!(received.try_recv().is_err());
    assert!(matches!(Collector::at("not an address"), Err(TraceError::Settings(_))));
}
