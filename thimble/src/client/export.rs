//! `thimble export`: objects as files that another server, or Kubernetes, takes in.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use reqwest::Method;
use serde_json::{Value, json as value};

use super::connection::Connection;
use super::escape::{json, yaml};
use super::resources::{KINDS, Kind, Way, encoded, text};
use super::transfer::portable;

/// What to export; without kinds all of them.
pub(super) struct Selection {
    pub kinds: Vec<String>,
    pub namespace: Option<String>,
    pub selector: Option<String>,
}

/// How the objects are written: as documents, or as one list.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Yaml,
    Json,
}

pub(super) async fn run(server: &Connection, selection: &Selection, form: Form, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let objects = objects(server, selection).await?;
    match form {
        Form::Json => writeln!(out, "{}", json(&value!({"apiVersion": "v1", "kind": "List", "items": objects}), false)?)?,
        Form::Yaml => {
            for object in &objects {
                write!(out, "---\n{}", yaml(object)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn objects(server: &Connection, selection: &Selection) -> anyhow::Result<Vec<Value>> {
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for word in &selection.kinds {
        let found = Kind::named(word).filter(|kind| kind.way != Way::Stays);
        kinds.push(found.with_context(|| {
            let known: Vec<&str> = KINDS.iter().filter(|kind| kind.way != Way::Stays).map(|kind| kind.plural).collect();
            format!("there are no objects of kind {word:?} to export; there are {}", known.join(", "))
        })?);
    }
    let all = kinds.is_empty();
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.way != Way::Stays && (all || kinds.contains(kind))) {
        found.extend(listed(server, kind, selection).await?.into_iter().map(portable));
    }
    if found.iter().any(is_masked) {
        bail!("this role sees no secrets, so the export could not be imported; the roles admin and operator see them");
    }
    Ok(found)
}

async fn listed(server: &Connection, kind: &Kind, selection: &Selection) -> anyhow::Result<Vec<Value>> {
    let mut path = kind.path(selection.namespace.as_deref());
    if let Some(selector) = &selection.selector {
        path = format!("{path}?labelSelector={}", encoded(selector));
    }
    let answer = server.call(Method::GET, &path, String::new()).await?;
    if !answer.code.is_success() {
        let status: Value = answer.read().unwrap_or_default();
        let what = match text(&status, "/message") {
            "" => "objects are exported by its socket (as root on its host) and by https:// only".to_owned(),
            message => message.to_owned(),
        };
        return Err(anyhow!("the server answered {} to the question for {}: {what}", answer.code, kind.plural));
    }
    let list: Value = answer.read()?;
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let named = |item: &Value| {
        kind.namespaced || selection.namespace.as_deref().is_none_or(|namespace| text(item, "/metadata/name") == namespace)
    };
    let whole = |mut item: Value| {
        if let Some(fields) = item.as_object_mut() {
            fields.insert("apiVersion".to_owned(), kind.api_version.into());
            fields.insert("kind".to_owned(), kind.kind.into());
        }
        item
    };
    Ok(items.into_iter().filter(named).map(whole).collect())
}

/// What a viewer gets in place of a secret.
fn is_masked(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "(masked)" || text == "KG1hc2tlZCk=",
        Value::Array(items) => items.iter().any(is_masked),
        Value::Object(fields) => fields.values().any(is_masked),
        _ => false,
    }
}
