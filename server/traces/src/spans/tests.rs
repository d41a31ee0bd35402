use serde_json::json;

use super::*;

fn workflow(status: serde_json::Value) -> Workflow {
    serde_json::from_value(json!({
        "apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow",
        "metadata": {"name": "install", "namespace": "rack-7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"templateRef": "debian", "hardwareRef": "m1"},
        "status": status,
    }))
    .unwrap()
}

fn tasks(second: &str) -> serde_json::Value {
    json!([{"id": "t", "name": "install", "agentID": "52:54:00:00:00:01", "actions": [
        {"id": "1", "name": "write", "image": "image2disk:v1", "timeout": 9, "state": "SUCCESS", "attempts": 1,
         "executionStart": "2026-01-01T00:01:00Z", "executionStop": "2026-01-01T00:03:00Z"},
        {"id": "2", "name": "check", "image": "cexec:v1", "timeout": 9, "state": second, "message": "exit code 7", "attempts": 2,
         "executionStart": "2026-01-01T00:03:00Z", "executionStop": "2026-01-01T00:03:05Z"},
        {"id": "3", "name": "reboot", "image": "reboot:v1", "timeout": 9, "state": "PENDING"},
    ]}])
}

#[test]
fn a_workflow_is_one_trace_and_each_action_that_ran_is_a_span_of_it() {
    let spans = spans(&workflow(
        json!({"state": "FAILED", "message": "check failed", "begun": "2026-01-01T00:00:59Z", "tasks": tasks("FAILED")}),
    ));
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["workflow install", "write", "check"]);
    let root = &spans[0];
    assert_eq!((root.parent_span_id, &root.status), (SpanId::INVALID, &Status::error("check failed")));
    let seconds = |span: &SpanData| span.end_time.duration_since(span.start_time).unwrap().as_secs();
    assert_eq!(spans.iter().map(seconds).collect::<Vec<_>>(), [126, 120, 5]);
    for span in &spans[1..] {
        assert_eq!(span.parent_span_id, root.span_context.span_id());
        assert_eq!(span.span_context.trace_id(), root.span_context.trace_id());
    }
    assert_eq!((&spans[1].status, &spans[2].status), (&Status::Ok, &Status::error("exit code 7")));
    let has = |span: &SpanData, key: &str, value: &str| {
        span.attributes.iter().any(|one| one.key.as_str() == key && one.value.to_string() == value)
    };
    assert!(has(root, "thimble.template", "debian") && has(root, "thimble.workflow.namespace", "rack-7"));
    assert!(has(&spans[2], "thimble.action.attempts", "2") && has(&spans[2], "thimble.agent", "52:54:00:00:00:01"));
}

#[test]
fn the_same_run_has_the_same_ids_and_the_next_run_has_others() {
    let run = |begun: &str| spans(&workflow(json!({"state": "SUCCESS", "begun": begun, "tasks": tasks("SUCCESS")})));
    let ids = |spans: &[SpanData]| spans.iter().map(|span| span.span_context.span_id()).collect::<std::collections::HashSet<_>>();
    let (one, again, next) = (run("2026-01-01T00:00:59Z"), run("2026-01-01T00:00:59Z"), run("2026-01-02T00:00:00Z"));
    assert_eq!((ids(&one), ids(&one).len()), (ids(&again), 3));
    assert!(ids(&one).is_disjoint(&ids(&next)));
    assert_ne!(one[0].span_context.trace_id(), next[0].span_context.trace_id());
}

#[test]
fn what_has_not_ended_or_did_not_run_here_has_no_trace() {
    for (case, status) in [
        ("it runs", json!({"state": "RUNNING", "begun": "2026-01-01T00:00:59Z", "tasks": tasks("RUNNING")})),
        ("it was imported as ended", json!({"state": "SUCCESS"})),
        ("it is new", json!({})),
    ] {
        assert!(spans(&workflow(status)).is_empty(), "{case}");
    }
}

#[test]
fn times_that_an_agent_got_wrong_do_not_end_before_they_begin() {
    let mut wrong = tasks("SUCCESS");
    wrong[0]["actions"][0]["executionStop"] = json!("1970-01-01T00:00:00Z");
    let spans = spans(&workflow(json!({"state": "SUCCESS", "begun": "2026-01-01T00:00:59Z", "tasks": wrong})));
    assert!(spans.iter().all(|span| span.end_time >= span.start_time), "{spans:?}");
}
