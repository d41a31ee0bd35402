//! What an installed machine may ask about itself, by HTTP: a tree of paths, made from its Hardware. Pure.
//!
//! `2009-04-04` and `/metadata` answer as Tinkerbell's tootles does, `latest` as EC2 does, and `meta-data` with the files
//! beside it as cloud-init's `NoCloud` wants them.

#![forbid(unsafe_code)]

mod ec2;
mod network;
mod nocloud;
mod rootio;
mod secret;
mod yaml;

use model::Hardware;
use serde_json::Value;

pub use secret::{Key, LONGEST_TOKEN};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
const YAML: &str = "text/yaml; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub content_type: &'static str,
    pub body: String,
}

impl Answer {
    fn text(body: impl Into<String>) -> Self {
        Self { content_type: TEXT, body: body.into() }
    }
}

/// What a path says of a machine. `None` for a path that does not exist. A path may end in a slash.
#[must_use]
pub fn answer(hardware: &Hardware, path: &str) -> Option<Answer> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    match path.split_once('/').unwrap_or((path, "")) {
        (version @ ("2009-04-04" | "latest"), below) => ec2::answer(hardware, version == "latest", below).map(Answer::text),
        (file, "") => match file {
            "metadata" => Some(Answer { content_type: JSON, body: rootio::render(hardware) }),
            "meta-data" => Some(Answer { content_type: YAML, body: nocloud::meta_data(hardware) }),
            "user-data" => Some(Answer::text(hardware.spec.user_data.as_deref().unwrap_or_default())),
            "vendor-data" => Some(Answer::text(hardware.spec.vendor_data.as_deref().unwrap_or_default())),
            "network-config" => network::render(&hardware.spec).map(|body| Answer { content_type: YAML, body }),
            _ => None,
        },
        _ => None,
    }
}

/// A part of the Hardware's metadata.
fn part<'a>(hardware: &'a Hardware, pointer: &str) -> Option<&'a Value> {
    hardware.spec.metadata.as_ref()?.pointer(pointer)
}

fn text<'a>(hardware: &'a Hardware, pointer: &str) -> &'a str {
    part(hardware, pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(hardware: &'a Hardware, pointer: &str) -> impl Iterator<Item = &'a Value> {
    part(hardware, pointer).and_then(Value::as_array).into_iter().flatten()
}

/// One key a line, whatever the Hardware has in one text.
fn ssh_keys(hardware: &Hardware) -> Vec<&str> {
    let texts = list(hardware, "/instance/ssh_keys").filter_map(Value::as_str);
    texts.flat_map(str::lines).map(str::trim).filter(|key| !key.is_empty()).collect()
}
