//! The commands apply, get, delete and cancel.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::paths::{object, objects, of_workflow};
use api::{Applied, Cancelled, Changed, List};
use jiff::Timestamp;
use model::v1alpha2::{Policy, Task};
use model::{ActionState, Hardware, Kind, ObjectName, Template, Workflow, WorkflowRuleSet, WorkflowState};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connection::Connection;
use super::sources::Sources;
use super::table::{age, print};
use super::{Output, print_mistakes, read};

pub(super) async fn apply(server: &Connection, files: &[PathBuf], yes: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let sources = match Sources::read(files)? {
        Ok(sources) => sources,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    if !yes {
        let planned = post(server, &Sources::path(true), sources.text()).await?;
        if planned.installs.len() > 1 && !confirmed(&planned.installs)? {
            bail!("nothing was changed; --yes installs without a question");
        }
    }
    let Applied { changes, mistakes, installs, .. } = post(server, &Sources::path(false), sources.text()).await?;
    for Changed { kind, name, change, problem } in &changes {
        let problem = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        writeln!(out, "{kind} {name} {change}{problem}")?;
    }
    if let Some(first) = installs.first() {
        // This goes to standard error, so that a program still reads one object per line.
        let others = if installs.len() > 1 { format!(" and {} others", installs.len() - 1) } else { String::new() };
        let machines = if installs.len() > 1 { "machines" } else { "machine" };
        writeln!(io::stderr(), "{} {machines} will be installed: {first}{others}", installs.len())?;
    }
    if mistakes.is_empty() { Ok(ExitCode::SUCCESS) } else { print_mistakes(out, &sources.placed(mistakes)) }
}

async fn post(server: &Connection, path: &str, text: String) -> anyhow::Result<Applied> {
    let answer = server.call(Method::POST, path, text).await?;
    let applied: Applied = match answer.read() {
        Ok(applied) => applied,
        Err(error) if answer.code.is_success() => return Err(error),
        Err(_) => return Err(answer.refusal()),
    };
    if applied.mistakes.is_empty() && !answer.code.is_success() { Err(answer.refusal()) } else { Ok(applied) }
}

/// Asks the person at the terminal.
pub(super) fn confirmed(machines: &[String]) -> anyhow::Result<bool> {
    const SHOWN: usize = 10;
    let names = machines.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if machines.len() > SHOWN { ", ..." } else { "" };
    let what = format!("This orders {} machines to be installed: {names}{more}", machines.len());
    if !io::stdin().is_terminal() {
        bail!("{what}. Give --yes if that is right; nothing was changed");
    }
    write!(io::stderr(), "{what}\nInstall them? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

pub(super) async fn get(
    server: &Connection,
    kind: Kind,
    name: Option<ObjectName>,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let path = name.as_ref().map_or_else(|| objects(kind), |name| object(kind, name));
    match output {
        Output::Json | Output::Yaml => print_value(&server.get(&path).await?, output, out)?,
        Output::Table => table(server, kind, &path, name.is_some(), out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer as the server sent it.
pub(super) fn print_value(value: &Value, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    match output {
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(value).context("cannot write YAML")?)?,
        Output::Json | Output::Table => writeln!(out, "{}", serde_json::to_string_pretty(value)?)?,
    }
    Ok(())
}

/// Deletes Workflows first, because the objects they use can be deleted after them.
pub(super) async fn delete(
    server: &Connection,
    mut named: Vec<(Kind, ObjectName)>,
    files: &[PathBuf],
    force: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if !files.is_empty() {
        match read(files)? {
            Ok(objects) => named.extend(objects.iter().map(|object| (object.kind(), object.name()))),
            Err(mistakes) => return print_mistakes(out, &mistakes),
        }
    }
    named.sort_by_key(|(kind, _)| !matches!(kind, Kind::Workflow | Kind::WorkflowV1alpha2));
    let mut code = ExitCode::SUCCESS;
    for (kind, name) in &named {
        let path = format!("{}{}", object(*kind, name), if force { "?gracePeriodSeconds=0" } else { "" });
        let answer = server.call(Method::DELETE, &path, String::new()).await?;
        if answer.code.is_success() {
            writeln!(out, "{kind} {name} deleted")?;
        } else if named.len() == 1 {
            return Err(answer.refusal());
        } else {
            writeln!(out, "{kind} {name} is not deleted: {}", answer.refusal())?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// A workflow without a running action ends at once. Otherwise it ends when its agent has stopped the action.
pub(super) async fn cancel(
    server: &Connection,
    name: &ObjectName,
    reason: Option<&str>,
    now: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let path = format!("{}?now={now}", of_workflow(name, "cancel"));
    let answer = server.call(Method::POST, &path, reason.unwrap_or_default().to_owned()).await?;
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    match answer.read::<Cancelled>()?.running {
        None => writeln!(out, "Workflow {name} cancelled")?,
        Some(running) => {
            let (agent, action) = (running.agent, running.action);
            writeln!(out, "Workflow {name} ends when agent {agent} has stopped action {action}; --now does not wait for it")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn table(server: &Connection, kind: Kind, path: &str, one: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    match kind {
        Kind::Hardware => {
            let rows = rows(server, path, one, hardware_row).await?;
            print(out, ["NAME", "MAC", "ADDRESS", "PXE", "DISKS", "AGE"], &rows)?;
        }
        Kind::Template => {
            let rows = rows(server, path, one, template_row).await?;
            print(out, ["NAME", "LINES", "AGE"], &rows)?;
        }
        // The columns show the status, which is the same in both versions.
        Kind::Workflow | Kind::WorkflowV1alpha2 => {
            let rows = rows(server, path, one, workflow_row).await?;
            print(out, ["NAME", "STATE", "DONE", "ACTION", "AGENT", "AGE", "MESSAGE"], &rows)?;
        }
        Kind::WorkflowRuleSet => {
            let rows = rows(server, path, one, rule_set_row).await?;
            print(out, ["NAME", "RULES", "TEMPLATE", "NAMESPACE", "DISABLED", "AGE"], &rows)?;
        }
        Kind::Task => {
            let rows = rows(server, path, one, task_row).await?;
            print(out, ["NAME", "ACTIONS", "AGE"], &rows)?;
        }
        Kind::Policy => {
            let rows = rows(server, path, one, policy_row).await?;
            print(out, ["NAME", "ALLOW", "DENY", "AGE"], &rows)?;
        }
    }
    Ok(())
}

/// A row for the object at this path, or for each object of its list.
async fn rows<T: DeserializeOwned, const N: usize>(
    server: &Connection,
    path: &str,
    one: bool,
    row: fn(&T, Timestamp) -> [String; N],
) -> anyhow::Result<Vec<[String; N]>> {
    let now = Timestamp::now();
    let objects = if one { vec![server.get(path).await?] } else { server.get::<List<T>>(path).await?.items };
    Ok(objects.iter().map(|object| row(object, now)).collect())
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

fn rule_set_row(object: &WorkflowRuleSet, now: Timestamp) -> [String; 6] {
    let workflow = &object.spec.workflow;
    let namespace = if workflow.namespace.is_empty() { &object.metadata.namespace } else { &workflow.namespace };
    [
        object.name().to_string(),
        object.spec.rules.len().to_string(),
        workflow.template.name.clone(),
        namespace.clone(),
        if workflow.disabled == Some(true) { "yes" } else { "no" }.to_owned(),
        age(object.metadata.creation_timestamp, now),
    ]
}

fn task_row(object: &Task, now: Timestamp) -> [String; 3] {
    let actions = list(object.spec.actions.iter().map(|action| &action.name));
    [object.name().to_string(), actions, age(object.metadata.creation_timestamp, now)]
}

fn policy_row(object: &Policy, now: Timestamp) -> [String; 4] {
    let access = &object.spec.rules.reference_access;
    let lists = [&access.hardware, &access.task, &access.workflow];
    let allow: usize = lists.iter().map(|rules| rules.allow.len()).sum();
    let deny: usize = lists.iter().map(|rules| rules.deny.len()).sum();
    let age = age(object.metadata.creation_timestamp, now);
    [object.name().to_string(), allow.to_string(), deny.to_string(), age]
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
