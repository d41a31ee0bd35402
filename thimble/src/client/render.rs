//! The actions of rendered workflows: of stored ones, of a Template that the server renders for a Hardware, and how they are
//! printed.

use std::io::{self, Write};
use std::process::ExitCode;

use model::ObjectName;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::escape::{clean, json as json_text, yaml};
use super::kube;
use super::output::Output;
use super::resources::{Kind, name_of, text};
use super::table::{Grid, Paint};

/// What a run has added to the rendered actions.
const OF_THE_RUN: [&str; 10] = [
    "id",
    "state",
    "executionStart",
    "executionStop",
    "executionDuration",
    "message",
    "attempts",
    "retried",
    "passedOver",
    "firstStart",
];

/// A Workflow for a Template and a Hardware. Without values its agent is the first interface of the Hardware.
pub fn workflow(name: &ObjectName, template: &str, hardware: Option<&str>, values: &[(String, String)]) -> Value {
    let map: Map<String, Value> = values.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let mut spec = json!({"templateRef": template, "hardwareMap": map});
    if let (Some(fields), Some(hardware)) = (spec.as_object_mut(), hardware) {
        fields.insert("hardwareRef".to_owned(), json!(hardware));
    }
    let metadata = json!({"name": name.name, "namespace": name.namespace});
    json!({"apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec})
}

/// The address of the first interface.
pub fn first_mac(hardware: &Value) -> Option<String> {
    let interfaces = hardware.pointer("/spec/interfaces").and_then(Value::as_array).into_iter().flatten();
    interfaces.map(|interface| text(interface, "/dhcp/mac").to_owned()).find(|mac| !mac.is_empty())
}

/// Stored Workflows.
pub async fn stored(server: &Connection, names: &[ObjectName]) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for name in names {
        found.push(super::show::object(server, name).await?);
    }
    Ok(found)
}

/// A Workflow that is not stored, as the server would store it.
pub async fn tried(server: &Connection, workflow: &Value) -> anyhow::Result<Value> {
    let namespace = text(workflow, "/metadata/namespace");
    let path = Kind::of(workflow).map(|kind| kind.path(Some(namespace))).unwrap_or_default();
    let answer = server.json(Method::POST, &format!("{path}?dryRun=All"), workflow).await?;
    if answer.code.is_success() { answer.read() } else { Err(answer.refusal()) }
}

/// A stored Hardware.
pub async fn hardware(server: &Connection, name: &ObjectName) -> anyhow::Result<Option<Value>> {
    match Kind::named("hardware") {
        Some(kind) => kube::find(server, kind, name).await,
        None => Ok(None),
    }
}

/// Prints the actions. What is not rendered has a line that says why, and makes the exit code 1.
pub fn print(workflows: &[Value], output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut shown = Vec::new();
    for workflow in workflows {
        let tasks = tasks(workflow);
        if tasks.is_empty() {
            let why = text(workflow, "/status/message");
            let why = if why.is_empty() { "its Template or its Hardware is missing" } else { why };
            writeln!(io::stderr(), "{}", clean(&format!("Workflow {} is not rendered: {why}", name_of(workflow))))?;
            code = ExitCode::FAILURE;
            continue;
        }
        let spec = |field: &str| text(workflow, &format!("/spec/{field}")).to_owned();
        let name = name_of(workflow).to_string();
        match output {
            Output::Yaml => {
                let whole =
                    json!({"workflow": name, "template": spec("templateRef"), "hardware": spec("hardwareRef"), "tasks": tasks});
                write!(out, "---\n{}", yaml(&whole)?)?;
            }
            Output::Json => {
                shown.push(
                    json!({"workflow": name, "template": spec("templateRef"), "hardware": spec("hardwareRef"), "tasks": tasks}),
                );
            }
            Output::Name => print_names(&tasks, out)?,
            Output::Table | Output::Wide => print_table(&tasks, output == Output::Wide, out)?,
        }
    }
    if output == Output::Json {
        let value = if shown.len() == 1 { shown.swap_remove(0) } else { Value::Array(shown) };
        writeln!(out, "{}", json_text(&value, false)?)?;
    }
    Ok(code)
}

/// The tasks without what their run has added.
fn tasks(workflow: &Value) -> Vec<Value> {
    let stripped = |value: &Value| {
        let mut value = value.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|key, _| !OF_THE_RUN.contains(&key.as_str()));
        }
        value
    };
    let tasks = workflow.pointer("/status/tasks").and_then(Value::as_array).into_iter().flatten();
    tasks
        .map(|task| {
            let mut task = stripped(task);
            if let Some(actions) = task.get_mut("actions").and_then(Value::as_array_mut) {
                actions.iter_mut().for_each(|action| *action = stripped(action));
            }
            task
        })
        .collect()
}

fn actions(task: &Value) -> impl Iterator<Item = &Value> {
    task.get("actions").and_then(Value::as_array).into_iter().flatten()
}

fn print_names(tasks: &[Value], out: &mut dyn Write) -> io::Result<()> {
    for task in tasks {
        for action in actions(task) {
            writeln!(out, "{}", clean(&format!("{}/{}", text(task, "/name"), text(action, "/name"))))?;
        }
    }
    Ok(())
}

fn print_table(tasks: &[Value], is_wide: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![["TASK", "ACTION", "IMAGE", "TIMEOUT", "AGENT"].map(str::to_owned).to_vec()];
    if is_wide {
        rows.iter_mut().for_each(|row| row.push("COMMAND".to_owned()));
    }
    for task in tasks {
        for action in actions(task) {
            let seconds = action.get("timeout").and_then(Value::as_i64).unwrap_or(0);
            let timeout = if seconds > 0 { format!("{seconds}s") } else { "-".to_owned() };
            let texts = [text(task, "/name"), text(action, "/name"), text(action, "/image"), &timeout, text(task, "/agentID")];
            let mut row: Vec<String> = texts.map(str::to_owned).to_vec();
            if is_wide {
                let words = action.get("command").and_then(Value::as_array).into_iter().flatten();
                row.push(words.filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
            }
            rows.push(row);
        }
    }
    Grid::new(Paint::of_this_process()).print(out, &rows)
}
