//! Template: the text with `{{ }}` as stored, and the document that comes out of rendering it.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::shapes::DOCUMENT;
use crate::yaml::{self, Node, check};
use crate::{Mistake, Resource};

pub type Template = Resource<TemplateSpec, TemplateStatus>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateSpec {
    pub data: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A rendered template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub name: String,
    /// Seconds; 0 means no limit.
    #[serde(default)]
    pub global_timeout: i64,
    pub tasks: Vec<Task>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    pub worker: String,
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub name: String,
    pub image: String,
    /// Seconds; 0 means no limit.
    #[serde(default)]
    pub timeout: i64,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Values are the scalars as written: a mode `0644` stays `0644`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub pid: Option<String>,
    #[serde(default)]
    pub namespaces: Option<Namespaces>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
}

impl Document {
    /// Reads a rendered template. `file` names it in mistakes.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<Mistake>> {
        let (documents, mut mistakes) = yaml::documents(text, file);
        let start = yaml::Place { line: 1, column: 1 };
        let node = match documents.as_slice() {
            [node] => node,
            [] if !mistakes.is_empty() => return Err(mistakes),
            [] => return Err(vec![start.mistake(file, "", "the template is empty")]),
            [_, second, ..] => {
                return Err(vec![second.place.mistake(file, "", "a template is one document, here begins a second one")]);
            }
        };
        let value = check(node, &DOCUMENT, "", file, &mut mistakes);
        names_are_unique(node, file, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        serde_json::from_value(value.unwrap_or_default()).map_err(|error| vec![node.place.mistake(file, "", error.to_string())])
    }
}

fn names_are_unique(document: &Node, file: &str, mistakes: &mut Vec<Mistake>) {
    let tasks = items(document, "tasks");
    if tasks.is_empty() {
        mistakes.push(document.place.mistake(file, "tasks", "at least one task is needed"));
    }
    unique(tasks, "tasks", file, mistakes);
    for (index, task) in tasks.iter().enumerate() {
        if task.get("actions").is_some_and(|list| matches!(&list.content, yaml::Content::List(items) if items.is_empty())) {
            mistakes.push(task.place.mistake(file, &format!("tasks[{index}].actions"), "at least one action is needed"));
        }
        unique(items(task, "actions"), &format!("tasks[{index}].actions"), file, mistakes);
    }
}

fn items<'n>(node: &'n Node, key: &str) -> &'n [Rc<Node>] {
    match node.get(key).map(|list| &list.content) {
        Some(yaml::Content::List(items)) => items,
        _ => &[],
    }
}

fn unique(items: &[Rc<Node>], path: &str, file: &str, mistakes: &mut Vec<Mistake>) {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}].name");
        let Some(name) = item.get("name").and_then(|name| name.text()) else { continue };
        if !(1..200).contains(&name.chars().count()) {
            mistakes.push(item.place.mistake(file, &path, "a name has 1 to 199 characters"));
        }
        if !seen.insert(name) {
            mistakes.push(item.place.mistake(file, &path, format!("the name {name:?} is used twice")));
        }
    }
}
