//! The commands workflow pause, resume, retry, rerun and history.

use std::io::Write;
use std::process::ExitCode;

use api::paths::of_workflow;
use api::{HistoryEntry, WorkflowChange, WorkflowOrder, WorkflowOrdered};
use jiff::tz::TimeZone;
use model::ObjectName;
use reqwest::Method;

use super::connection::Connection;
use super::table::{clean, print};

/// Gives an order for a workflow, and prints its result.
pub(super) async fn change(
    server: &Connection,
    name: &ObjectName,
    change: WorkflowChange,
    reason: Option<String>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let by = std::env::var("USER").unwrap_or_default();
    let body = serde_json::to_string(&WorkflowOrder { change, by, reason: reason.unwrap_or_default() })?;
    let answer = server.call(Method::POST, &of_workflow(name, "change"), body).await?;
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    let WorkflowOrdered { workflow, message } = answer.read()?;
    writeln!(out, "{}", clean(&format!("Workflow {workflow}: {message}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the event log, oldest entry first.
pub(super) async fn history(server: &Connection, name: &ObjectName, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let entries: Vec<HistoryEntry> = server.get(&of_workflow(name, "history")).await?;
    let row = |entry: &HistoryEntry| {
        let time = entry.time.to_zoned(TimeZone::system()).strftime("%F %T%.3f").to_string();
        [entry.number.to_string(), time, entry.event.clone(), entry.text.clone()]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    if let Some(lost) = entries.first().map(|first| first.number - 1).filter(|lost| *lost > 0) {
        writeln!(out, "{lost} older entries are no longer kept")?;
    }
    print(out, ["NO", "TIME", "EVENT", "WHAT HAPPENED"], &rows)?;
    Ok(ExitCode::SUCCESS)
}
