//! YAML text to objects: several documents, lists of objects, every mistake with its place.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::object::{default_namespace, is_name};
use crate::shapes::{HARDWARE, TEMPLATE, WORKFLOW, WORKFLOW_RULE_SET};
use crate::template::Written;
use crate::v1alpha2::{self, Places};
use crate::yaml::{self, Content, Node, Shape, Twice, check};
use crate::{Kind, Mistake, Object};

/// Reads Hardware, Template and Workflow objects. JSON is YAML and is read, too.
///
/// # Errors
/// Every mistake in the text, each with line and column.
pub fn parse_documents(text: &str, file_name: &str) -> Result<Vec<Object>, Vec<Mistake>> {
    parse_noting(text, file_name).map(|noted| noted.objects)
}

/// Objects, and what a person should know about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    pub objects: Vec<Object>,
    /// One line, if something was left out.
    pub note: Option<String>,
}

/// `parse_documents` with a note.
///
/// # Errors
/// As `parse_documents`.
pub fn parse_noting(text: &str, file_name: &str) -> Result<Noted, Vec<Mistake>> {
    let (documents, mut mistakes) = yaml::documents(text, file_name, Twice::Mistake);
    let nodes: Vec<Rc<Node>> = documents.iter().flat_map(flattened).collect();
    checked(&nodes, text, file_name, &mut mistakes).ok_or_else(|| sorted(mistakes))
}

/// The same for files that have other kinds, too. Objects of other groups are returned as they are.
///
/// # Errors
/// As `parse_documents`.
pub fn parse_mixed(text: &str, file_name: &str) -> Result<(Vec<Object>, Vec<Value>), Vec<Mistake>> {
    parse_mixed_noting(text, file_name).map(|(noted, foreign)| (noted.objects, foreign))
}

/// `parse_mixed` with a note.
///
/// # Errors
/// As `parse_documents`.
pub fn parse_mixed_noting(text: &str, file_name: &str) -> Result<(Noted, Vec<Value>), Vec<Mistake>> {
    let (documents, mut mistakes) = yaml::documents(text, file_name, Twice::Mistake);
    let nodes = documents.iter().flat_map(flattened);
    let (foreign, own): (Vec<_>, Vec<_>) = nodes.partition(|node| is_foreign(node));
    let noted = checked(&own, text, file_name, &mut mistakes).ok_or_else(|| sorted(mistakes))?;
    Ok((noted, foreign.iter().map(|node| yaml::plain_value(node)).collect()))
}

/// `None` if there are mistakes.
fn checked(nodes: &[Rc<Node>], text: &str, file: &str, mistakes: &mut Vec<Mistake>) -> Option<Noted> {
    let objects: Vec<Object> = nodes.iter().filter_map(|node| object(node, text, file, mistakes)).collect();
    twice(&objects, file, mistakes);
    if !mistakes.is_empty() {
        return None;
    }
    let dropped = nodes.iter().zip(&objects).filter(|(node, object)| drops_status(node, object.kind()));
    let dropped: Vec<String> = dropped.map(|(_, object)| format!("{} {}", object.kind(), object.name())).collect();
    Some(Noted { note: note(&dropped), objects })
}

fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes
}

/// Whether an object says how it is, and that is not kept.
fn drops_status(node: &Node, kind: Kind) -> bool {
    let said = node.get("status").map(|status| yaml::plain_value(status));
    let is_said = said.is_some_and(|said| !said.is_null() && said != json!({}));
    is_said && !(matches!(kind, Kind::Workflow | Kind::WorkflowV1alpha2) && final_status(node).is_some())
}

fn note(dropped: &[String]) -> Option<String> {
    const SHOWN: usize = 3;
    let more = dropped.len().saturating_sub(SHOWN);
    let names = dropped.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!dropped.is_empty()).then(|| format!("the status of {names}{more} is the server's to say and was dropped"))
}

fn is_foreign(node: &Node) -> bool {
    let text = |key: &str| node.get(key).and_then(|value| value.text());
    let group = text("apiVersion").map(|version| version.split_once('/').map_or("", |(group, _)| group));
    text("kind").is_some() && group.is_some_and(|group| group != "tinkerbell.org")
}

/// Any YAML as JSON, scalars resolved as Go does: for `fromYaml`.
///
/// # Errors
/// Every mistake in the text.
pub fn parse_values(text: &str, file_name: &str) -> Result<Vec<Value>, Vec<Mistake>> {
    let (documents, mistakes) = yaml::documents(text, file_name, Twice::Mistake);
    if mistakes.is_empty() { Ok(documents.iter().map(|node| yaml::plain_value(node)).collect()) } else { Err(mistakes) }
}

/// `kind: List` as kubectl writes it, and a plain list as inventory files have it, are the objects in them.
pub(crate) fn flattened(node: &Rc<Node>) -> Vec<Rc<Node>> {
    let list = match &node.content {
        Content::List(_) => Some(node),
        _ if node.get("kind").and_then(|kind| kind.text()) == Some("List") => node.get("items"),
        _ => None,
    };
    match list.map(|list| &list.content) {
        Some(Content::List(items)) => items.clone(),
        _ => vec![Rc::clone(node)],
    }
}

/// Which fields the objects of a kind have.
#[must_use]
pub fn shape(kind: Kind) -> &'static Shape {
    match kind {
        Kind::Hardware => &HARDWARE,
        Kind::Template => &TEMPLATE,
        Kind::Workflow => &WORKFLOW,
        Kind::WorkflowRuleSet => &WORKFLOW_RULE_SET,
        Kind::Task => &v1alpha2::TASK,
        Kind::WorkflowV1alpha2 => &v1alpha2::WORKFLOW,
        Kind::Policy => &v1alpha2::POLICY,
    }
}

fn object(node: &Node, text: &str, file: &str, mistakes: &mut Vec<Mistake>) -> Option<Object> {
    let before = mistakes.len();
    let kind = kind(node, file, mistakes)?;
    let mut value = check(node, shape(kind), "", file, mistakes)?;
    names(node, file, mistakes);
    match kind {
        Kind::Task => v1alpha2::task_rules(node, file, mistakes),
        Kind::WorkflowV1alpha2 => v1alpha2::workflow_rules(node, file, mistakes),
        Kind::Policy => v1alpha2::policy_rules(node, file, mistakes),
        _ => {}
    }
    if mistakes.len() > before {
        return None;
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.entry("namespace").or_insert_with(|| json!(default_namespace()));
    }
    if matches!(kind, Kind::Workflow | Kind::WorkflowV1alpha2)
        && let Some(status) = final_status(node)
        && let Some(object) = value.as_object_mut()
    {
        object.insert("status".to_owned(), status);
    }
    let mut object = typed(kind, value);
    match &mut object {
        Ok(Object::Template(template)) => {
            if let Some(data) = node.get("spec").and_then(|spec| spec.get("data")) {
                template.spec.written = Written::find(file, text, data.place, &template.spec.data);
            }
        }
        Ok(Object::Task(task)) => task.spec.places = Places::find(file, node),
        Ok(Object::WorkflowV1alpha2(workflow)) => workflow.spec.places = Places::find(file, node),
        _ => {}
    }
    object.map_err(|error| mistakes.push(node.place.mistake(file, "", error.to_string()))).ok()
}

/// A status is the server's word, not the file's, except that a finished workflow stays finished: an export that is applied
/// elsewhere must not run again. What else the status has is kept if it can be read.
fn final_status(node: &Node) -> Option<Value> {
    let mut status = yaml::plain_value(node.get("status")?);
    let state = final_state(status.get("state")?.as_str()?)?;
    *status.get_mut("state")? = json!(state);
    let readable = serde_json::from_value::<crate::WorkflowStatus>(status.clone()).is_ok();
    Some(if readable { status } else { json!({"state": state}) })
}

/// The state in which a Workflow with this `status.state` stays, wherever it comes from. `None` if it would go on.
#[must_use]
pub fn final_state(said: &str) -> Option<&'static str> {
    let said = said.trim().to_ascii_uppercase();
    match said.strip_prefix("STATE_").unwrap_or(&said) {
        // All actions of POST have succeeded, and Tinkerbell's work after them is not done. STATE_ was until its v0.17.
        "SUCCESS" | "POST" => Some("SUCCESS"),
        "FAILED" => Some("FAILED"),
        "TIMEOUT" => Some("TIMEOUT"),
        _ => None,
    }
}

fn typed(kind: Kind, value: Value) -> Result<Object, serde_json::Error> {
    Ok(match kind {
        Kind::Hardware => Object::Hardware(serde_json::from_value(value)?),
        Kind::Template => Object::Template(serde_json::from_value(value)?),
        Kind::Workflow => Object::Workflow(serde_json::from_value(value)?),
        Kind::WorkflowRuleSet => Object::WorkflowRuleSet(serde_json::from_value(value)?),
        Kind::Task => Object::Task(serde_json::from_value(value)?),
        Kind::WorkflowV1alpha2 => Object::WorkflowV1alpha2(serde_json::from_value(value)?),
        Kind::Policy => Object::Policy(serde_json::from_value(value)?),
    })
}

fn kind(node: &Node, file: &str, mistakes: &mut Vec<Mistake>) -> Option<Kind> {
    let refuse = |at: &Node, path: &str, message: String, hint: &str| {
        let mut mistake = at.place.mistake(file, path, message);
        mistake.hint = Some(hint.to_owned());
        Some(mistake)
    };
    let known = "Hardware, Template, Workflow and WorkflowRuleSet are kept here, and of v1alpha2 Task, Workflow and Policy";
    let wrong = match (&node.content, node.get("kind"), node.get("apiVersion")) {
        (Content::Map(_), Some(kind), version) => {
            let meant = |meant: &Kind| kind.text() == Some(meant.word());
            let said = version.and_then(|version| version.text());
            if let Some(kind) = Kind::ALL.into_iter().filter(meant).find(|kind| said == Some(kind.api_version())) {
                return Some(kind);
            }
            let versions = Kind::ALL.into_iter().filter(meant).map(Kind::api_version).collect::<Vec<_>>().join(" or ");
            let hint = format!("write apiVersion: {versions}");
            match version {
                _ if versions.is_empty() => {
                    refuse(kind, "kind", format!("{:?} is not known here", kind.text().unwrap_or_default()), known)
                }
                Some(version) => {
                    let of = format!("{:?} is not known here", version.text().unwrap_or_default());
                    refuse(version, "apiVersion", of, &hint)
                }
                None => refuse(node, "", "apiVersion is missing".to_owned(), &hint),
            }
        }
        (Content::Map(_), None, _) => refuse(node, "", "kind is missing".to_owned(), known),
        _ => refuse(node, "", format!("an object is a mapping, found {}", node.kind()), known),
    };
    mistakes.extend(wrong);
    None
}

fn names(node: &Node, file: &str, mistakes: &mut Vec<Mistake>) {
    for key in ["name", "namespace"] {
        let Some(name) = node.get("metadata").and_then(|metadata| metadata.get(key)) else { continue };
        if name.text().is_some_and(|text| !is_name(text)) {
            let path = format!("metadata.{key}");
            mistakes.push(name.place.mistake(
                file,
                &path,
                "a name has small letters, digits, '-' and '.', begins and ends with a letter or digit",
            ));
        }
    }
}

fn twice(objects: &[Object], file: &str, mistakes: &mut Vec<Mistake>) {
    let mut seen = std::collections::HashSet::new();
    for object in objects {
        if !seen.insert((object.kind(), object.name())) {
            let message = format!("{} {} is in this text twice", object.kind(), object.name());
            mistakes.push(Mistake { file: file.to_owned(), line: 0, column: 0, path: String::new(), message, hint: None });
        }
    }
}
