use std::collections::BTreeSet;
use std::time::Duration;

use model::{ActionState, AgentId, parse_documents};

use super::*;
use crate::progress::Report;
use crate::service::{Config, Server};

const MAC: &str = "52:54:00:00:00:01";

fn objects(extra: &str) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m}}\nspec: {{interfaces: [{{dhcp: {{mac: '{MAC}'}}, netboot: \
         {{allowPXE: true}}}}]}}\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: t}}\nspec:\n  data: |\n    name: \
         t\n    tasks:\n    - name: t\n      worker: '{MAC}'\n      actions: [{{name: a, image: 'i:1', timeout: 60}}]\n---\napiVersion: \
         tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: w}}\nspec: {{templateRef: t, hardwareRef: m}}\n{extra}"
    )
}

async fn server() -> Server {
    let server = Server::open(Config { long_poll: Duration::from_millis(1), ..Config::default() }).await.unwrap();
    server.apply(parse_documents(&objects(""), "f").unwrap()).await.unwrap();
    server
}

fn shows(server: &Server, lines: &[&str]) {
    let text = server.metrics();
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_is_served_is_what_the_table_of_families_has() {
    let text = server().await.metrics();
    let served: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let families: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(served, families);
    assert_eq!(served.iter().collect::<BTreeSet<_>>().len(), served.len(), "each once");
}

#[tokio::test]
async fn workflows_machines_and_ended_actions_are_counted() {
    let server = server().await;
    shows(
        &server,
        &[
            "thimble_objects{kind=\"Hardware\"} 1",
            "thimble_objects{kind=\"Workflow\"} 1",
            "thimble_workflows{state=\"PENDING\"} 1",
            "thimble_workflows{state=\"SUCCESS\"} 0",
            "thimble_workflows_waiting{phase=\"boot\"} 1",
            "thimble_machines_overdue{phase=\"boot\"} 0",
            "thimble_machines{intent=\"install\"} 1",
            "thimble_store_commit_seconds_count 1",
            "thimble_store_revision 5",
        ],
    );
    let agent = AgentId::from(MAC);
    let assignment = server.next_action(&agent).await.unwrap();
    for state in [ActionState::Running, ActionState::Success] {
        let (task_id, action_id) = (assignment.task.id.clone(), assignment.action.id.clone());
        let report = Report { agent: agent.clone(), task_id, action_id, state, ..Report::default() };
        server.report(&assignment.workflow, &report).await.unwrap();
        server.report(&assignment.workflow, &report).await.unwrap(); // an agent repeats what was not acknowledged
    }
    shows(
        &server,
        &[
            "thimble_workflows{state=\"SUCCESS\"} 1",
            "thimble_workflows_waiting{phase=\"boot\"} 0",
            "thimble_action_duration_seconds_count{result=\"SUCCESS\"} 1",
            "thimble_action_duration_seconds_count{result=\"FAILED\"} 0",
            "thimble_machines{intent=\"local\"} 1",
        ],
    );
}

#[tokio::test]
async fn a_machine_that_waits_too_long_is_overdue_in_its_phase() {
    let server = server().await;
    let view = server.snapshot();
    let mut text = Text::default();
    let later = jiff::Timestamp::now() + SignedDuration::from_mins(21);
    server.workflows_by(&view, later, &mut text);
    let text = text.into_string();
    assert!(text.contains("thimble_machines_overdue{phase=\"boot\"} 1"), "{text}");
}

#[test]
fn no_label_holds_what_a_client_chose() {
    let metrics = Metrics::default();
    metrics.answered("/proto.workflow.v2.WorkflowService/GetAction", tonic::Code::Ok);
    let before = written(&metrics).lines().count();
    for n in 0..100 {
        metrics.answered(&format!("/x/invented{n}\"}}"), tonic::Code::Unimplemented);
        metrics.api(&format!("M{n}"), 600 + n);
        metrics.refused(tonic::Code::Unimplemented);
    }
    let text = written(&metrics);
    assert!(!text.contains("invented") && !text.contains("M1"), "{text}");
    assert!(text.lines().count() <= before + 3, "{text}");
    assert!(text.contains("thimble_refused_calls_total{reason=\"unimplemented\"} 100"), "{text}");
}

fn written(metrics: &Metrics) -> String {
    let mut text = Text::default();
    metrics.grpc.write(&mut text, &families::GRPC);
    metrics.api.write(&mut text, &families::API);
    metrics.refused.write(&mut text, &families::REFUSED);
    text.into_string()
}

#[test]
fn the_text_of_a_duration_is_read_as_agents_write_it() {
    for (text, milliseconds) in
        [("1h2m", 3_720_000), ("3s250ms", 3250), ("3.25s", 3250), ("0s", 0), ("", 0), ("soon", 0), ("-5s", 0)]
    {
        assert_eq!(took(text), Duration::from_millis(milliseconds), "{text}");
    }
}
