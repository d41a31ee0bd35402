//! Task: actions that Workflows run on their machines.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Places, is_template};
use crate::image_name::is_image;
use crate::template::{NOT_A_CONDITION, condition};
use crate::yaml::{Content, Node};
use crate::{Mistake, Namespaces, Reference, Resource};

pub type Task = Resource<TaskSpec, ()>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSpec {
    pub actions: Vec<Action>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, Reference>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip)]
    pub places: Places,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Action {
    pub name: String,
    /// Rendered: true, false, or nothing for true.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    pub image: String,
    /// A path that replaces the entrypoint of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// For all attempts together; 0 means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What the shape does not say. A value that is a template is judged when it is rendered.
pub(crate) fn rules(object: &Node, file: &str, mistakes: &mut Vec<Mistake>) {
    let Some(list) = object.get("spec").and_then(|spec| spec.get("actions")) else { return };
    let Content::List(actions) = &list.content else { return };
    if actions.is_empty() {
        mistakes.push(list.place.mistake(file, "spec.actions", "at least one action is needed"));
    }
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        let mut note = |key: &str, message: String, hint: &str| {
            let at = action.get(key).map_or(action.place, |node| node.place);
            let mut mistake = at.mistake(file, &format!("spec.actions[{index}].{key}"), message);
            mistake.hint = (!hint.is_empty()).then(|| hint.to_owned());
            mistakes.push(mistake);
        };
        let text = |key: &str| action.get(key).and_then(|node| node.text()).filter(|text| !is_template(text));
        if let Some(name) = text("name") {
            if !(1..200).contains(&name.chars().count()) {
                note("name", "a name has 1 to 199 characters".to_owned(), "");
            }
            if !seen.insert(name) {
                note("name", format!("the name {name:?} is used twice"), "");
            }
        }
        if let Some(image) = text("image").filter(|image| !image.is_empty() && !is_image(image)) {
            let hint = "write registry/path:tag, the path in small letters";
            note("image", format!("{image:?} is not the name of an image"), hint);
        }
        if let Some(said) = text("if").filter(|said| condition(said).is_none()) {
            note("if", format!("{said:?} {NOT_A_CONDITION}"), "");
        }
        if let Some(command) = text("command").filter(|command| !is_command(command)) {
            let hint = "it is one path, as /bin/sh, and replaces the image's entrypoint; its words belong into args";
            note("command", format!("{command:?} is not the path of a program"), hint);
        }
    }
}

/// `^(/[^/ ]*)+$`, as the CRD has it. An empty text is none.
#[must_use]
pub fn is_command(text: &str) -> bool {
    text.is_empty() || (text.starts_with('/') && !text.contains(' '))
}
