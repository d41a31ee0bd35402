//! Shows one workflow with all its actions, and follows it to its end.

use std::io::{self, Write};
use std::process::ExitCode;

use api::paths::{object, of_workflow};
use api::{Waiting, What};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::{ActionState, Kind, ObjectName, Workflow, WorkflowAction, WorkflowState, took_text};
use reqwest::Method;

use super::connection::Connection;
use super::events::{line, reconnected};
use super::table::{age, clean, print};

pub(super) async fn run(server: &Connection, name: &ObjectName, watch: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut stream = if watch { Some(server.events(None).await?) } else { None }; // opened first, so that no event is missed
    let mut workflow = fetch(server, name).await?;
    let waiting: Option<Waiting> = server.get(&of_workflow(name, "waiting")).await?;
    print_workflow(&workflow, waiting.as_ref(), Timestamp::now(), out)?;
    let Some(stream) = &mut stream else { return Ok(ExitCode::SUCCESS) };
    let mut since = None;
    loop {
        if let Some(code) = workflow.status.state.and_then(ended) {
            return Ok(code);
        }
        out.flush()?;
        match stream.next().await? {
            None => {
                *stream = reconnected(server, since).await;
                workflow = fetch(server, name).await?;
            }
            Some(event) => {
                since = Some(event.revision);
                if matches!(event.what, What::Missed { .. }) {
                    workflow = fetch(server, name).await?;
                } else if concerns(&event.what, name) {
                    writeln!(out, "{}", line(&event))?;
                    workflow = fetch(server, name).await?;
                }
            }
        }
    }
}

async fn fetch(server: &Connection, name: &ObjectName) -> anyhow::Result<Workflow> {
    let answer = server.call(Method::GET, &object(Kind::Workflow, name), String::new()).await?;
    if answer.code.is_success() {
        return answer.read();
    }
    // A Workflow of v1alpha2 has the same status.
    let other = server.call(Method::GET, &object(Kind::WorkflowV1alpha2, name), String::new()).await?;
    if other.code.is_success() { other.read() } else { Err(answer.refusal()) }
}

fn ended(state: WorkflowState) -> Option<ExitCode> {
    match state {
        WorkflowState::Success => Some(ExitCode::SUCCESS),
        WorkflowState::Failed | WorkflowState::Timeout => Some(ExitCode::FAILURE),
        _ => None,
    }
}

fn concerns(what: &What, name: &ObjectName) -> bool {
    match what {
        What::Workflow { workflow, .. } | What::Action { workflow, .. } => *workflow == name.to_string(),
        What::Object { kind, name: other, .. } => {
            matches!(kind, Kind::Workflow | Kind::WorkflowV1alpha2) && *other == name.to_string()
        }
        _ => false,
    }
}

fn print_workflow(workflow: &Workflow, waiting: Option<&Waiting>, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let (spec, status) = (&workflow.spec, &workflow.status);
    writeln!(out, "Workflow  {}", workflow.name())?;
    writeln!(out, "State     {}", status.state.map_or("not ready", WorkflowState::as_str))?;
    let facts = [
        ("Message", status.message.as_str()),
        ("Template", spec.template_ref.as_str()),
        ("Hardware", spec.hardware_ref.as_str()),
    ];
    for (label, text) in facts.iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(out, "{label:<8}  {}", clean(text))?;
    }
    if let Some(waiting) = waiting {
        writeln!(out, "Waits     {}", clean(&waits(waiting)))?;
    }
    writeln!(out, "Age       {}", age(workflow.metadata.creation_timestamp, now))?;
    if status.tasks.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let row = |task: &model::WorkflowTask, action: &WorkflowAction| {
        [
            task.name.clone(),
            action.name.clone(),
            action.state.to_string(),
            if action.attempts > 0 { action.attempts.to_string() } else { "-".to_owned() },
            action
                .execution_start
                .map_or_else(|| "-".to_owned(), |time| time.to_zoned(TimeZone::system()).strftime("%F %T").to_string()),
            duration(action, now),
            task.agent_id.to_string(),
            action.message.clone(),
        ]
    };
    let rows: Vec<_> = status.tasks.iter().flat_map(|task| task.actions.iter().map(|action| row(task, action))).collect();
    print(out, ["TASK", "ACTION", "STATE", "ATTEMPTS", "STARTED", "DURATION", "AGENT", "MESSAGE"], &rows)
}

/// `boot since 2026-01-02T03:04:05Z, overdue: agent ...`
pub(super) fn waits(Waiting { phase, reason, since, overdue, .. }: &Waiting) -> String {
    format!("{phase} since {since:.0}{}: {reason}", if *overdue { ", overdue" } else { "" })
}

/// How long an action took, or how long a running action has taken so far.
fn duration(action: &WorkflowAction, now: Timestamp) -> String {
    match (action.state, action.execution_start) {
        (ActionState::Running, Some(start)) => took_text(now.duration_since(start).max(jiff::SignedDuration::ZERO)),
        _ if action.execution_duration.is_empty() => "-".to_owned(),
        _ => action.execution_duration.clone(),
    }
}
