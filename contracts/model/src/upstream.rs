//! What Tinkerbell would not do with files that are right here: keys that it drops, objects that nothing of it reads.

use std::rc::Rc;

use crate::document::flattened;
use crate::yaml::{self, Content, Node, Twice};
use crate::{Mistake, v1alpha2};

/// Something that Tinkerbell ignores, or does otherwise. What it refuses is a mistake here as well.
pub type Ignored = Mistake;

/// In the objects of a text.
#[must_use]
pub fn ignored_objects(text: &str, file: &str) -> Vec<Ignored> {
    let (documents, _) = yaml::documents(text, file, Twice::Mistake);
    let mut found = Vec::new();
    for object in documents.iter().flat_map(flattened) {
        let kind = object.get("kind").and_then(|kind| kind.text()).unwrap_or_default();
        if let Some(version) = object.get("apiVersion").filter(|version| version.text() == Some(v1alpha2::API_VERSION)) {
            let message = format!("no part of Tinkerbell reads a {kind} of v1alpha2 yet");
            found.push(version.place.mistake(file, "apiVersion", message));
        }
    }
    found
}

/// In the outline of a Template's text, see `Document::outline`. Lines are those of the outline.
#[must_use]
pub fn ignored_keys(outline: &str) -> Vec<Ignored> {
    let (documents, _) = yaml::documents(outline, "", Twice::Mistake);
    let mut found = Vec::new();
    let [document] = documents.as_slice() else { return found };
    others(document, &["version", "name", "id", "global_timeout", "tasks"], "", &mut found);
    if is_zero(document.get("global_timeout")) {
        let message = "without global_timeout Tinkerbell may end the Workflow at once; Thimble sets no limit";
        found.push(document.place.mistake("", "global_timeout", message));
    }
    for (index, task) in items(document.get("tasks")).enumerate() {
        let path = format!("tasks[{index}]");
        others(task, &["name", "worker", "volumes", "environment", "actions"], &path, &mut found);
        for (index, action) in items(task.get("actions")).enumerate() {
            of_action(action, &format!("{path}.actions[{index}]"), &mut found);
        }
    }
    found
}

const ACTION: [&str; 14] = [
    "name",
    "image",
    "timeout",
    "command",
    "on-timeout",
    "on-failure",
    "volumes",
    "environment",
    "pid",
    "namespaces",
    "if",
    "retries",
    "on_failure",
    "background",
];

fn of_action(action: &Node, path: &str, found: &mut Vec<Ignored>) {
    others(action, &ACTION, path, found);
    for (key, effect) in [
        ("if", "the action always runs"),
        ("retries", "the action runs once"),
        ("on_failure", "its failure ends the Workflow"),
        ("background", "the next action waits for it"),
        ("on-failure", "the command does not run"),
        ("on-timeout", "the command does not run"),
    ] {
        let Some(value) = action.get(key).filter(|value| !value.is_null() && !is_empty(value)) else { continue };
        found.push(value.place.mistake("", &format!("{path}.{key}"), format!("Tinkerbell ignores {key}: {effect}")));
    }
    if matches!(action.content, Content::Map(_)) && is_zero(action.get("timeout")) {
        let message = "Tinkerbell ends an action without a timeout at once; Thimble sets no limit";
        found.push(action.place.mistake("", &format!("{path}.timeout"), message));
    }
}

fn is_empty(value: &Node) -> bool {
    matches!(&value.content, Content::List(items) if items.is_empty())
}

fn is_zero(value: Option<&Rc<Node>>) -> bool {
    value.is_none_or(|value| value.is_null() || value.text() == Some("0"))
}

fn others(node: &Node, known: &[&str], path: &str, found: &mut Vec<Ignored>) {
    let Content::Map(entries) = &node.content else { return };
    for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str()) && !key.text.starts_with("x-")) {
        found.push(key.place.mistake("", path, format!("Tinkerbell ignores the key {:?}", key.text)));
    }
}

fn items(list: Option<&Rc<Node>>) -> impl Iterator<Item = &Rc<Node>> {
    let items = match list.map(|list| &list.content) {
        Some(Content::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tinkerbell_drops_is_named_with_its_effect() {
        let action = |keys: &str| {
            let text = format!(
                "x-a: 1\nname: n\nglobal_timeout: 9\ntasks:\n- name: t\n  worker: w\n  actions:\n  - name: a\n    image: i\n    timeout: 5\n    {keys}\n"
            );
            let found = ignored_keys(&text);
            found.iter().map(|one| format!("{}: {}: {}", one.line, one.path, one.message)).collect::<Vec<_>>()
        };
        for (keys, expected) in [
            ("pid: host", None),
            ("on-failure: []", None),
            ("args: [x]", Some("11: tasks[0].actions[0]: Tinkerbell ignores the key \"args\"")),
            ("if: true", Some("11: tasks[0].actions[0].if: Tinkerbell ignores if: the action always runs")),
            ("retries: 2", Some("11: tasks[0].actions[0].retries: Tinkerbell ignores retries: the action runs once")),
            (
                "on-failure: [sh]",
                Some("11: tasks[0].actions[0].on-failure: Tinkerbell ignores on-failure: the command does not run"),
            ),
            (
                "on-timeout: [sh]",
                Some("11: tasks[0].actions[0].on-timeout: Tinkerbell ignores on-timeout: the command does not run"),
            ),
            (
                "on_failure: continue",
                Some("11: tasks[0].actions[0].on_failure: Tinkerbell ignores on_failure: its failure ends the Workflow"),
            ),
        ] {
            assert_eq!(action(keys).first().map(String::as_str), expected, "{keys}");
        }
        let found =
            ignored_keys("name: n\nnote: x\ntasks:\n- {name: t, worker: w, actions: [{name: a, image: i, timeout: 0}]}\n");
        let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "Tinkerbell ignores the key \"note\"",
                "without global_timeout Tinkerbell may end the Workflow at once; Thimble sets no limit",
                "Tinkerbell ends an action without a timeout at once; Thimble sets no limit",
            ]
        );
    }

    #[test]
    fn objects_of_v1alpha2_do_nothing_in_tinkerbell() {
        let found = ignored_objects(
            "apiVersion: tinkerbell.org/v1alpha2\nkind: Task\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\n",
            "f",
        );
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["f:1:13: apiVersion: no part of Tinkerbell reads a Task of v1alpha2 yet"]
        );
    }
}
