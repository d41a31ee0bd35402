//! The command workflow show: one with all its actions, followed to its end.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::paths::of_workflow;
use api::{Waiting, What};
use clap::Args;
use jiff::Timestamp;
use model::{ActionState, ObjectName, Workflow, WorkflowAction, WorkflowState, took_text};
use serde_json::{Value, json};

use super::connection::Connection;
use super::events::{line, reconnected};
use super::moment::Span;
use super::output::{Output, print_value};
use super::resources::Kind;
use super::scope::Usage;
use super::table::{Paint, age, clean, local, print};
use super::workflow::Namespace;
use super::{ServerArgs, kube};

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// NAME or NAMESPACE/NAME
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    namespace: Namespace,
    /// Follow it to its end; the exit code is 0 if it succeeded, and 1 if it failed
    #[arg(short, long)]
    watch: bool,
    /// Follow it for so long only (90s, 10m, 2h); the exit code is then 124
    #[arg(long, value_name = "TIME", requires = "watch")]
    timeout: Option<Span>,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

/// As of timeout(1).
const TIMED_OUT: u8 = 124;

pub(super) async fn run(args: ShowArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let names: Vec<ObjectName> = args.names.iter().map(|word| args.namespace.name(word, &server)).collect::<Result<_, _>>()?;
    if args.watch {
        let [name] = names.as_slice() else { return Err(Usage("--watch is for one workflow".to_owned()).into()) };
        if args.output != Output::Table {
            return Err(Usage("--watch prints text; `thimble get workflow NAME --watch -o json` prints JSON".to_owned()).into());
        }
        let following = watch(&server, name, out);
        let Some(Span(limit)) = args.timeout else { return following.await };
        let limit = std::time::Duration::try_from(limit).unwrap_or_default();
        return match tokio::time::timeout(limit, following).await {
            Ok(ended) => ended,
            Err(_) => {
                writeln!(io::stderr(), "Workflow {name} has not ended in this time")?;
                Ok(ExitCode::from(TIMED_OUT))
            }
        };
    }
    let mut found = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let object = object(&server, name).await?;
        match args.output {
            Output::Table | Output::Wide => {
                if number > 0 {
                    writeln!(out)?;
                }
                let workflow = serde_json::from_value(object).context("cannot read the workflow in the answer of the server")?;
                let waiting: Option<Waiting> = server.get(&of_workflow(name, "waiting")).await?;
                print_workflow(&workflow, waiting.as_ref(), Timestamp::now(), out)?;
            }
            Output::Name => {
                let kind = Kind::of(&object).map(|kind| kind.reference(&name.name)).unwrap_or_default();
                writeln!(out, "{}", clean(&kind))?;
            }
            Output::Json | Output::Yaml => found.push(object),
        }
    }
    if matches!(args.output, Output::Json | Output::Yaml) {
        let value = match found.len() {
            1 => found.swap_remove(0),
            _ => json!({"apiVersion": "v1", "kind": "List", "items": found}),
        };
        print_value(&value, args.output == Output::Yaml, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(server: &Connection, name: &ObjectName, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut stream = server.events(None).await?; // opened first, so that no event is missed
    let mut workflow = fetch(server, name).await?;
    let waiting: Option<Waiting> = server.get(&of_workflow(name, "waiting")).await?;
    print_workflow(&workflow, waiting.as_ref(), Timestamp::now(), out)?;
    let mut since = None;
    loop {
        if let Some(code) = workflow.status.state.and_then(ended) {
            return Ok(code);
        }
        out.flush()?;
        match stream.next().await? {
            None => {
                stream = reconnected(server, since).await;
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
    serde_json::from_value(object(server, name).await?).context("cannot read the workflow in the answer of the server")
}

/// A Workflow of either version: both have the same status.
pub(super) async fn object(server: &Connection, name: &ObjectName) -> anyhow::Result<Value> {
    let kinds = ["workflows", "workflows.v1alpha2"].map(Kind::named);
    let [Some(first), Some(second)] = kinds else { bail!("there are no workflows") };
    let found = kube::find(server, first, name).await?;
    match found {
        Some(found) => Ok(found),
        None => kube::find(server, second, name).await?.with_context(|| format!("Workflow {name} does not exist")),
    }
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
            matches!(kind, model::Kind::Workflow | model::Kind::WorkflowV1alpha2) && *other == name.to_string()
        }
        _ => false,
    }
}

pub(super) fn print_workflow(
    workflow: &Workflow,
    waiting: Option<&Waiting>,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (spec, status) = (&workflow.spec, &workflow.status);
    writeln!(out, "Workflow  {}", clean(&workflow.name().to_string()))?;
    let state = status.state.map_or("not ready", WorkflowState::as_str);
    writeln!(out, "State     {}", Paint::of_this_process().word(state))?;
    let hosts: Vec<&str> = status.log_servers.iter().map(|server| server.host.as_str()).collect();
    let facts = [
        ("Message", status.message.as_str()),
        ("Template", spec.template_ref.as_str()),
        ("Hardware", spec.hardware_ref.as_str()),
        ("Log on", &hosts.join(", ")),
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
            action.execution_start.map_or_else(|| "-".to_owned(), local),
            duration(action, now),
            task.agent_id.to_string(),
            action.message.clone(),
        ]
    };
    let rows: Vec<_> = status.tasks.iter().flat_map(|task| task.actions.iter().map(|action| row(task, action))).collect();
    print(out, ["TASK", "ACTION", "STATE", "ATTEMPTS", "STARTED", "DURATION", "AGENT", "MESSAGE"], &rows)
}

/// `boot since 2026-01-02 03:04:05, overdue: agent ...`
pub(super) fn waits(Waiting { phase, reason, since, overdue, .. }: &Waiting) -> String {
    format!("{phase} since {}{}: {reason}", local(*since), if *overdue { ", overdue" } else { "" })
}

/// How long an action took, or how long a running action has taken so far.
fn duration(action: &WorkflowAction, now: Timestamp) -> String {
    match (action.state, action.execution_start) {
        (ActionState::Running, Some(start)) => took_text(now.duration_since(start).max(jiff::SignedDuration::ZERO)),
        _ if action.execution_duration.is_empty() => "-".to_owned(),
        _ => action.execution_duration.clone(),
    }
}
