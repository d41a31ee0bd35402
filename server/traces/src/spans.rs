//! The spans of a workflow, from what the store has of it. Pure, so a workflow gives the same trace however often it is asked.

use std::borrow::Cow;
use std::time::SystemTime;

use jiff::Timestamp;
use model::{ActionState, Workflow, WorkflowAction, WorkflowState, WorkflowTask};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest, Sha256};

/// The root span first, then the actions in their order. Empty unless the workflow has ended here.
#[must_use]
pub fn spans(workflow: &Workflow) -> Vec<SpanData> {
    let status = &workflow.status;
    let ended =
        status.state.filter(|state| matches!(state, WorkflowState::Success | WorkflowState::Failed | WorkflowState::Timeout));
    let (Some(state), Some((begin, end))) = (ended, time(workflow)) else { return Vec::new() };
    let seed = seed(workflow, begin);
    let trace = TraceId::from_bytes(hash(&[&seed]));
    let root = span_id(&[&seed, "workflow"]);
    let mut attributes = vec![
        KeyValue::new("thimble.workflow.namespace", workflow.metadata.namespace.clone()),
        KeyValue::new("thimble.workflow.name", workflow.metadata.name.clone()),
        KeyValue::new("thimble.workflow.state", state.as_str()),
    ];
    attributes.extend(named("thimble.template", &workflow.spec.template_ref));
    attributes.extend(named("thimble.hardware", &workflow.spec.hardware_ref));
    let whole = Part { trace, parent: SpanId::INVALID, id: root, begin, end };
    let name = format!("workflow {}", workflow.metadata.name);
    let mut spans = vec![whole.span(name, outcome(state == WorkflowState::Success, &status.message), attributes)];
    for (at, task) in status.tasks.iter().enumerate() {
        for (number, action) in task.actions.iter().enumerate() {
            let id = span_id(&[&seed, &at.to_string(), &number.to_string()]);
            spans.extend(action_span(&whole, id, task, action));
        }
    }
    spans
}

/// From the order, or else the first action, to the end of the last action.
fn time(workflow: &Workflow) -> Option<(Timestamp, Timestamp)> {
    let status = &workflow.status;
    let actions = || status.tasks.iter().flat_map(|task| &task.actions);
    let begin = status.begun.or_else(|| actions().filter_map(|action| action.execution_start).min())?;
    let last = actions().filter_map(|action| action.execution_stop).max();
    let logged = status.logged.map(|logged| logged.latest);
    Some((begin, last.max(logged).unwrap_or(begin).max(begin)))
}

/// What makes one run of one workflow unique.
fn seed(workflow: &Workflow, begin: Timestamp) -> String {
    let created = workflow.metadata.creation_timestamp.map(|at| at.to_string()).unwrap_or_default();
    let metadata = &workflow.metadata;
    [metadata.namespace.as_str(), &metadata.name, &created, &begin.to_string()].join("\0")
}

fn action_span(whole: &Part, id: SpanId, task: &WorkflowTask, action: &WorkflowAction) -> Option<SpanData> {
    let begin = action.execution_start?;
    let end = action.execution_stop.unwrap_or(begin).max(begin);
    let mut attributes = vec![
        KeyValue::new("thimble.task", task.name.clone()),
        KeyValue::new("thimble.agent", task.agent_id.to_string()),
        KeyValue::new("thimble.action.image", action.image.clone()),
        KeyValue::new("thimble.action.state", action.state.as_str()),
        KeyValue::new("thimble.action.attempts", i64::from(action.attempts)),
    ];
    attributes.extend(named("thimble.action.message", &action.message));
    let part = Part { trace: whole.trace, parent: whole.id, id, begin, end };
    Some(part.span(action.name.clone(), outcome(action.state == ActionState::Success, &action.message), attributes))
}

fn named(key: &'static str, value: &str) -> Option<KeyValue> {
    (!value.is_empty()).then(|| KeyValue::new(key, value.to_owned()))
}

fn outcome(is_success: bool, message: &str) -> Status {
    if is_success { Status::Ok } else { Status::error(message.to_owned()) }
}

struct Part {
    trace: TraceId,
    parent: SpanId,
    id: SpanId,
    begin: Timestamp,
    end: Timestamp,
}

impl Part {
    fn span(&self, name: String, status: Status, attributes: Vec<KeyValue>) -> SpanData {
        SpanData {
            span_context: SpanContext::new(self.trace, self.id, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: self.parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Owned(name),
            start_time: SystemTime::from(self.begin),
            end_time: SystemTime::from(self.end),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("thimble").build(),
        }
    }
}

fn span_id(parts: &[&str]) -> SpanId {
    SpanId::from_bytes(hash(parts))
}

/// Never all zeros, which would be no ID, for any seed that can be found.
fn hash<const LENGTH: usize>(parts: &[&str]) -> [u8; LENGTH] {
    let digest = Sha256::digest(parts.join("\0").as_bytes());
    let mut bytes = [0; LENGTH];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests;
