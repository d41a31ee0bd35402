//! apply, get, delete, cancel.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use model::{ActionState, Hardware, Kind, Mistake, ObjectName, Template, Workflow, WorkflowState};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use server::Changed;

use super::Output;
use super::api::Api;
use super::table::{age, print};
use super::validate::{print_mistakes, read};

pub(super) async fn apply(api: &Api, files: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let objects = match read(files)? {
        Ok(objects) => objects,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    let texts = objects.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let (code, body) = api.call(Method::POST, "/v1/apply?file=server", texts.join("\n---\n")).await?;
    let changes: Vec<Changed> = part(&body, "changes");
    let mistakes: Vec<Mistake> = part(&body, "mistakes");
    if !code.is_success() && mistakes.is_empty() {
        return Err(api.refused(code, &body));
    }
    for Changed { kind, name, change, problem } in &changes {
        let problem = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        writeln!(out, "{kind} {name} {change}{problem}")?;
    }
    if mistakes.is_empty() { Ok(ExitCode::SUCCESS) } else { print_mistakes(out, &mistakes) }
}

fn part<T: DeserializeOwned>(body: &Value, key: &str) -> Vec<T> {
    body.get(key).and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default()
}

pub(super) async fn get(
    api: &Api,
    kind: Kind,
    name: Option<ObjectName>,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let path = name.as_ref().map_or_else(|| format!("/v1/{}", kind.plural()), |name| object_path(kind, name));
    let body = api.get(&path).await?;
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&body)?)?,
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(&body).context("cannot write YAML")?)?,
        Output::Table => {
            let items = if name.is_some() { vec![body] } else { part(&body, "items") };
            table(kind, items, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn object_path(kind: Kind, name: &ObjectName) -> String {
    format!("/v1/{}/{}/{}", kind.plural(), name.namespace, name.name)
}

pub(super) async fn delete(api: &Api, kind: Kind, name: &ObjectName, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (code, body) = api.call(Method::DELETE, &object_path(kind, name), String::new()).await?;
    if code != StatusCode::NO_CONTENT {
        return Err(api.refused(code, &body));
    }
    writeln!(out, "{kind} {name} deleted")?;
    Ok(ExitCode::SUCCESS)
}

/// A workflow of which nothing runs ends at once, another when its agent has stopped the action.
pub(super) async fn cancel(
    api: &Api,
    name: &ObjectName,
    reason: Option<&str>,
    now: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let path = format!("{}/cancel?now={now}", object_path(Kind::Workflow, name));
    let (code, body) = api.call(Method::POST, &path, reason.unwrap_or_default().to_owned()).await?;
    if !code.is_success() {
        return Err(api.refused(code, &body));
    }
    let word = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    if body.get("ended").and_then(Value::as_bool) == Some(true) {
        writeln!(out, "Workflow {name} cancelled")?;
    } else {
        let (agent, action) = (word("agent"), word("action"));
        writeln!(out, "Workflow {name} ends when agent {agent} has stopped action {action}; --now does not wait for it")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn typed<T: DeserializeOwned>(items: Vec<Value>) -> anyhow::Result<Vec<T>> {
    let read = |item| {
        serde_json::from_value(item).context("the server sent an object this client cannot read; are both of one version?")
    };
    items.into_iter().map(read).collect()
}

fn table(kind: Kind, items: Vec<Value>, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = Timestamp::now();
    match kind {
        Kind::Hardware => {
            let rows: Vec<_> = typed::<Hardware>(items)?.iter().map(|object| hardware_row(object, now)).collect();
            print(out, ["NAME", "MAC", "ADDRESS", "PXE", "DISKS", "AGE"], &rows)?;
        }
        Kind::Template => {
            let rows: Vec<_> = typed::<Template>(items)?.iter().map(|object| template_row(object, now)).collect();
            print(out, ["NAME", "LINES", "AGE"], &rows)?;
        }
        Kind::Workflow => {
            let rows: Vec<_> = typed::<Workflow>(items)?.iter().map(|object| workflow_row(object, now)).collect();
            print(out, ["NAME", "STATE", "DONE", "ACTION", "AGENT", "AGE", "MESSAGE"], &rows)?;
        }
    }
    Ok(())
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let text = items.map(|item| item.to_string()).collect::<Vec<_>>().join(",");
    if text.is_empty() { "-".to_owned() } else { text }
}

fn hardware_row(object: &Hardware, now: Timestamp) -> [String; 6] {
    let spec = &object.spec;
    let pxe = if spec.interfaces.iter().any(model::Interface::may_netboot) { "yes" } else { "no" };
    [
        object.name().to_string(),
        list(spec.macs()),
        list(spec.addresses()),
        pxe.to_owned(),
        list(spec.disks.iter().map(|disk| &disk.device)),
        age(object.metadata.creation_timestamp, now),
    ]
}

fn template_row(object: &Template, now: Timestamp) -> [String; 3] {
    [object.name().to_string(), object.spec.data.lines().count().to_string(), age(object.metadata.creation_timestamp, now)]
}

fn workflow_row(object: &Workflow, now: Timestamp) -> [String; 7] {
    let status = &object.status;
    let actions: Vec<_> = status.tasks.iter().flat_map(|task| &task.actions).collect();
    let done = actions.iter().filter(|action| action.state == ActionState::Success).count();
    let current = actions.iter().find(|action| action.state != ActionState::Success).map_or("-", |action| action.name.as_str());
    [
        object.name().to_string(),
        status.state.map_or("-", WorkflowState::as_str).to_owned(),
        format!("{done}/{}", actions.len()),
        current.to_owned(),
        status.agent_id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        age(object.metadata.creation_timestamp, now),
        status.message.clone(),
    ]
}
