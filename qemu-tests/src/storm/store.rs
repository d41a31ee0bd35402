//! Whether the store has what the server acknowledged.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use api::paths;
use model::{Kind, Workflow, WorkflowAction};
use serde::Deserialize;
use storm::ledger::Acknowledged;

use crate::http;

#[derive(Deserialize)]
struct List {
    items: Vec<Workflow>,
}

/// The acknowledged reports that the store does not have.
pub fn lost(socket: &Path, acknowledged: &[Acknowledged]) -> Result<Option<String>> {
    let path = paths::objects(Kind::Workflow);
    let answer = http::get(socket, &path)?;
    ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.text());
    let list: List = serde_json::from_slice(&answer.body).context("cannot read the Workflows")?;
    let lost = missing(&list.items, acknowledged);
    let shown: Vec<&str> = lost.iter().take(5).map(String::as_str).collect();
    Ok((!lost.is_empty()).then(|| format!("{} acknowledged reports are not in the store: {}", lost.len(), shown.join("; "))))
}

fn missing(workflows: &[Workflow], acknowledged: &[Acknowledged]) -> Vec<String> {
    let actions = |workflow: &Workflow| -> HashMap<String, String> {
        let all = workflow.status.tasks.iter().flat_map(|task| &task.actions);
        all.map(|action: &WorkflowAction| (action.id.clone(), action.state.as_str().to_owned())).collect()
    };
    let stored: HashMap<String, HashMap<String, String>> =
        workflows.iter().map(|one| (one.name().to_string(), actions(one))).collect();
    let is_stored = |one: &&Acknowledged| {
        let state = stored.get(&one.workflow).and_then(|actions| actions.get(&one.action)).map(String::as_str);
        match one.success {
            true => state == Some("SUCCESS"),
            false => matches!(state, Some("RUNNING" | "SUCCESS")),
        }
    };
    let text = |one: &Acknowledged| {
        let state = stored.get(&one.workflow).and_then(|actions| actions.get(&one.action)).map_or("nothing", String::as_str);
        let wanted = if one.success { "SUCCESS" } else { "RUNNING" };
        format!("action {} of {} is {state} instead of {wanted}", one.action, one.workflow)
    };
    acknowledged.iter().filter(|one| !is_stored(one)).map(text).collect()
}
