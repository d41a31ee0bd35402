//! The command diff: what apply would change, as the server says.

use std::io::{self, Write};
use std::process::ExitCode;

use api::{Change, Changed};
use clap::Args;
use model::{Object, ObjectName};
use reqwest::Method;
use serde_json::{Value, json};

use super::apply::post;
use super::connection::Connection;
use super::escape::{clean, yaml};
use super::resources::Kind;
use super::sources::{Sources, texts_and_objects};
use super::table::{GREEN, Paint, RED};
use super::{Files, ServerArgs, compare, kube, print_mistakes};

#[derive(Args, Debug)]
pub struct DiffArgs {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    server: ServerArgs,
}

/// Something is wrong, as of diff(1): 1 means that there are differences.
pub(super) const TROUBLE: u8 = 2;

pub(super) async fn run(args: DiffArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let (texts, objects) = match texts_and_objects(&args.files)? {
        Ok(found) => found,
        Err(mistakes) => return print_mistakes(out, &mistakes).map(|_| ExitCode::from(TROUBLE)),
    };
    let sources = Sources::of(texts, &objects)?;
    let planned = post(&server, &Sources::path(true), sources.text()).await?;
    if !planned.mistakes.is_empty() {
        return print_mistakes(out, &sources.placed(planned.mistakes)).map(|_| ExitCode::from(TROUBLE));
    }
    let (paint, mut differs) = (Paint::of_this_process(), false);
    for object in &objects {
        let name = object.name();
        let of = |change: &&Changed| change.kind == object.kind() && change.name == name.to_string();
        let change = planned.changes.iter().find(of).map(|changed| changed.change);
        if change != Some(Change::Unchanged) {
            differs |= one(&server, object, &name, paint, out).await?;
        }
    }
    if !planned.installs.is_empty() {
        let line = format!("apply would order these machines to be installed: {}", planned.installs.join(", "));
        writeln!(io::stderr(), "{}", clean(&line))?;
    }
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether it differs.
async fn one(server: &Connection, object: &Object, name: &ObjectName, paint: Paint, out: &mut dyn Write) -> anyhow::Result<bool> {
    let Some(kind) = Kind::checked(object.kind()) else { return Ok(false) };
    let mut new = serde_json::to_value(object)?;
    let live = kube::find(server, kind, name).await?;
    if let Some(live) = &live {
        new = merged(live.clone(), &new);
        let answer = server.json(Method::PUT, &format!("{}?dryRun=All", kind.object_path(name)), &new).await?;
        if !answer.code.is_success() {
            return Err(answer.refusal());
        }
        new = answer.read()?;
    }
    let old = live.map(shown).transpose()?.unwrap_or_default();
    let new = shown(new)?;
    let title = clean(&format!("{} {name}", kind.shown()));
    let lines = compare::unified(&old, &new);
    if lines.is_empty() {
        return Ok(false);
    }
    let from = if old.is_empty() { "/dev/null".to_owned() } else { format!("{title} (stored)") };
    writeln!(out, "--- {from}\n+++ {title} (applied)")?;
    for line in lines {
        let line = match line.get(..1) {
            Some("+") => paint.line(&line, GREEN),
            Some("-") => paint.line(&line, RED),
            _ => line,
        };
        writeln!(out, "{line}")?;
    }
    Ok(true)
}

/// The stored object with what a file has of it, as apply does it.
fn merged(mut live: Value, file: &Value) -> Value {
    if let (Some(fields), Some(spec)) = (live.as_object_mut(), file.get("spec")) {
        fields.insert("spec".to_owned(), spec.clone());
    }
    if let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["labels", "annotations"] {
            match file.pointer(&format!("/metadata/{key}")) {
                Some(value) => metadata.insert(key.to_owned(), value.clone()),
                None => metadata.remove(key),
            };
        }
    }
    live
}

/// What people compare: without status, and without what the server counts.
fn shown(mut object: Value) -> anyhow::Result<String> {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, value| {
            matches!(key.as_str(), "name" | "namespace" | "labels" | "annotations") && !value.is_null() && *value != json!({})
        });
    }
    yaml(&pruned(object))
}

/// An empty text, list or map is the same as an absent one.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(key, value)| (key, pruned(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(pruned).collect()),
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
