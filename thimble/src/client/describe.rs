//! The command describe: one object with everything that belongs to it.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use api::Waiting;
use api::paths::{machine, of_workflow};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::{ObjectName, Workflow};
use serde_json::Value;

use super::connection::Connection;
use super::escape::{clean, clean_lines, yaml};
use super::get::labels;
use super::machine::print_machine;
use super::resources::{Kind, name_of, text};
use super::scope::Scope;
use super::table::{Grid, Paint, age, local};
use super::{ServerArgs, columns, events, kube, show, workflow};

/// Of the log of a workflow, and of the events of the server.
const LATEST: usize = 10;
/// A longer annotation is cut.
const ANNOTATION: usize = 200;

#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// KIND NAME..., KIND/NAME..., or KIND for all that a list has
    #[arg(required = true, value_name = "KIND")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: DescribeArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let mut is_first = true;
    for target in args.scope.targets(&args.words, server.namespace())? {
        let mut items = kube::all_of(&server, &target, &args.scope).await?;
        columns::sort(target.kind, &mut items, None).map_err(super::Usage)?;
        for item in items {
            if !std::mem::take(&mut is_first) {
                writeln!(out, "\n")?;
            }
            describe(&server, target.kind, &item, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn describe(server: &Connection, kind: &'static Kind, item: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = name_of(item);
    head(kind, item, Timestamp::now(), out)?;
    match kind.kind {
        "Workflow" => of_a_workflow(server, item, &name, out).await?,
        "Hardware" => {
            of_machine(server, &name, out).await?;
            part("Spec", item.get("spec"), out)?;
        }
        "MachineState" => of_machine(server, &name, out).await?,
        "Template" => {
            writeln!(out, "Data:\n{}", indented(text(item, "/spec/data")))?;
        }
        "Secret" => {
            writeln!(out, "Type:         {}\nData:", clean(text(item, "/type")))?;
            for (key, value) in item.get("data").and_then(Value::as_object).into_iter().flatten() {
                // The characters of base64 without its end, three bytes for four of them.
                let bytes = value.as_str().unwrap_or_default().trim_end_matches('=').len() * 3 / 4;
                writeln!(out, "  {}  {bytes} bytes", clean(key))?;
            }
        }
        _ => {
            for key in item.as_object().into_iter().flat_map(|fields| fields.keys()) {
                if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    let heading: String =
                        key.get(..1).map(str::to_uppercase).into_iter().chain(key.get(1..).map(str::to_owned)).collect();
                    part(&heading, item.get(key), out)?;
                }
            }
        }
    }
    kubernetes_events(server, kind, &name, out).await?;
    if matches!(kind.kind, "Hardware" | "MachineState") {
        // How its boot goes. Not everyone may read the events of all namespaces.
        let lines = events::recent(server, kind, &name, LATEST).await.unwrap_or_default();
        if !lines.is_empty() {
            writeln!(out, "\nLast steps:")?;
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    Ok(())
}

fn head(kind: &Kind, item: &Value, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let created = text(item, "/metadata/creationTimestamp").parse::<Timestamp>().ok();
    let created = created.map_or_else(|| "-".to_owned(), |time| format!("{} ({} ago)", local(time), age(Some(time), now)));
    let facts = [
        ("Name", text(item, "/metadata/name").to_owned()),
        ("Namespace", text(item, "/metadata/namespace").to_owned()),
        ("Kind", format!("{} ({})", kind.kind, kind.api_version)),
        ("Labels", labels(item)),
        ("Created", created),
    ];
    for (label, fact) in facts.iter().filter(|(_, fact)| !fact.is_empty()) {
        writeln!(out, "{:<13} {}", format!("{label}:"), clean(fact))?;
    }
    let annotations = item.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    for (number, (key, value)) in annotations.enumerate() {
        let value = value.as_str().unwrap_or_default();
        let short: String = value.chars().take(ANNOTATION).collect();
        let more = if short.len() < value.len() { "..." } else { "" };
        writeln!(out, "{:<13} {}", if number == 0 { "Annotations:" } else { "" }, clean(&format!("{key}={short}{more}")))?;
    }
    for owner in item.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "{:<13} {}", "Owner:", clean(&format!("{}/{}", text(owner, "/kind"), text(owner, "/name"))))?;
    }
    if !text(item, "/metadata/deletionTimestamp").is_empty() {
        writeln!(out, "{:<13} its finalizers keep it", "Deleted:")?;
    }
    Ok(())
}

fn indented(block: &str) -> String {
    clean_lines(block.trim_end()).lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn part(heading: &str, value: Option<&Value>, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(()) };
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            writeln!(out, "{:<13} {}", format!("{heading}:"), clean(value.as_str().unwrap_or(&value.to_string())))?;
        }
        _ => writeln!(out, "{heading}:\n{}", indented(&yaml(value)?))?,
    }
    Ok(())
}

async fn of_a_workflow(server: &Connection, item: &Value, name: &ObjectName, out: &mut dyn Write) -> anyhow::Result<()> {
    let parsed: Workflow =
        serde_json::from_value(item.clone()).context("cannot read the workflow in the answer of the server")?;
    let waiting: Option<Waiting> = server.get(&of_workflow(name, "waiting")).await?;
    part("Spec", item.get("spec"), out)?;
    writeln!(out)?;
    show::print_workflow(&parsed, waiting.as_ref(), Timestamp::now(), out)?;
    let entries = workflow::entries(server, name).await?;
    if !entries.is_empty() {
        writeln!(out, "\nLog:")?;
        let latest = entries.get(entries.len().saturating_sub(LATEST)..).unwrap_or_default();
        workflow::print_entries(latest, &TimeZone::system(), out)?;
    }
    Ok(())
}

/// What the server says of the machine, and its workflows.
async fn of_machine(server: &Connection, name: &ObjectName, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out)?;
    print_machine(server.get(&machine(&name.to_string())).await?, out)?;
    let Some(kind) = Kind::named("workflows") else { return Ok(()) };
    let mut items = kube::list(server, kind, Some(&name.namespace), &Scope::default()).await?.items;
    items.retain(|item| text(item, "/spec/hardwareRef") == name.name);
    if !items.is_empty() {
        columns::sort(kind, &mut items, Some("age")).map_err(super::Usage)?;
        writeln!(out, "\nWorkflows:")?;
        table(kind, &items, out)?;
    }
    writeln!(out)?;
    Ok(())
}

fn table(kind: &Kind, items: &[Value], out: &mut dyn Write) -> io::Result<()> {
    let now = Timestamp::now();
    let columns: Vec<_> = columns::of(kind).iter().filter(|column| !column.is_wide).collect();
    let headings = columns.iter().map(|column| column.heading.to_owned()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|column| column.cell(item, now)).collect());
    let all: Vec<Vec<String>> = std::iter::once(headings).chain(rows).collect();
    Grid::new(Paint::of_this_process()).print(out, &all)
}

/// Those that controllers have written about the object.
async fn kubernetes_events(server: &Connection, kind: &Kind, name: &ObjectName, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(events) = Kind::named("events") else { return Ok(()) };
    let fields = format!("involvedObject.kind={},involvedObject.name={}", kind.kind, name.name);
    let scope = Scope { field_selector: Some(fields), ..Scope::default() };
    let namespace = if kind.namespaced { name.namespace.as_str() } else { "default" };
    // A role may see the object and not its events.
    let mut items = kube::list(server, events, Some(namespace), &scope).await.unwrap_or_default().items;
    if items.is_empty() {
        return Ok(());
    }
    columns::sort(events, &mut items, Some(".lastTimestamp")).map_err(super::Usage)?;
    writeln!(out, "\nEvents:")?;
    Ok(table(events, &items, out)?)
}
