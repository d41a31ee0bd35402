//! Template: the text with `{{ }}` as stored, and the document that comes out of rendering it.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::image_name::is_image;
use crate::shapes::DOCUMENT;
use crate::yaml::{self, Node, Twice, check};
use crate::{Mistake, Resource};

pub type Template = Resource<TemplateSpec, TemplateStatus>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateSpec {
    pub data: String,
    /// Not part of the object: mistakes in `data` are shown where it was written.
    #[serde(skip)]
    pub written: Written,
}

/// Where `spec.data` stands in the file that it was read from. Equal to every other one, so that objects compare by content.
#[derive(Debug, Clone, Default)]
pub struct Written(Option<Lines>);

#[derive(Debug, Clone)]
struct Lines {
    file: String,
    /// Of the first line of the text; of its key where the lines in the file are not those of the text.
    line: usize,
    /// Characters before the text in each line; none where the lines differ.
    indent: Option<usize>,
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl Written {
    /// Finds the lines of `data`, whose node begins at `place`, in the text of the file.
    pub(crate) fn find(file: &str, text: &str, place: yaml::Place, data: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let same = |first: usize| {
            let indent = data.lines().zip(lines.get(first..)?).find(|(line, _)| !line.is_empty());
            let indent = indent.map_or(0, |(line, whole)| whole.chars().count().saturating_sub(line.chars().count()));
            let matches = data.lines().enumerate().all(|(at, line)| {
                let Some(whole) = lines.get(first + at) else { return false };
                line.trim().is_empty() && whole.trim().is_empty() || whole.get(indent..) == Some(line)
            });
            matches.then_some((first, indent))
        };
        // A block scalar stands below its key, and its place is that of its first line with text.
        let start = place.line.saturating_sub(1);
        let found = (start.saturating_sub(8)..start + 8).find_map(same).filter(|_| data.contains('\n'));
        let (line, indent) = found.map_or((place.line, None), |(first, indent)| (first + 1, Some(indent)));
        Self(Some(Lines { file: file.to_owned(), line, indent }))
    }

    /// File, line and column of a place in the text.
    #[must_use]
    pub fn place(&self, line: usize, column: usize) -> Option<(&str, usize, usize)> {
        let lines = self.0.as_ref()?;
        match lines.indent {
            Some(indent) if line > 0 => Some((&lines.file, lines.line + line - 1, indent + column)),
            _ => Some((&lines.file, lines.line, 1)),
        }
    }
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

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    pub worker: String,
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Seconds for the whole task, as v1alpha2 has it; 0 means no limit.
    #[serde(skip)]
    pub timeout: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Whether it runs: true, false, or nothing for true.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// How often it runs again after it has failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Run in the action's image after it has failed.
    #[serde(default, rename = "on-failure", skip_serializing_if = "Vec::is_empty")]
    pub failure_command: Vec<String>,
    /// Run in the action's image after its timeout.
    #[serde(default, rename = "on-timeout", skip_serializing_if = "Vec::is_empty")]
    pub timeout_command: Vec<String>,
    /// Refused when true: an agent runs one action at a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// Replaces the entrypoint of the image, as v1alpha2 has it.
    #[serde(skip)]
    pub entrypoint: Option<String>,
    /// The timeout is for all attempts together, as v1alpha2 has it.
    #[serde(skip)]
    pub timeout_of_all: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What follows the failure of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OnFailure {
    Word(FailureWord),
    /// A command in the image of the action, then the end of the workflow.
    Command(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureWord {
    /// The workflow ends.
    Fail,
    /// The workflow goes on with the next action.
    Continue,
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
        let (documents, mut mistakes) = yaml::documents(text, file, Twice::Mistake);
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
        rules(node, file, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        serde_json::from_value(value.unwrap_or_default()).map_err(|error| vec![node.place.mistake(file, "", error.to_string())])
    }
}

impl Document {
    /// What is wrong in a template whose values are not known yet: `unknown` stands for each of them. Only what no value can
    /// mend is a mistake, such as a key that no action has.
    #[must_use]
    pub fn outline(text: &str, unknown: char, file: &str) -> Vec<Mistake> {
        let (documents, mistakes) = yaml::documents(text, file, Twice::Mistake);
        let ([node], true) = (documents.as_slice(), mistakes.is_empty()) else { return Vec::new() };
        let mut mistakes = Vec::new();
        check(node, &DOCUMENT, "", file, &mut mistakes);
        rules(node, file, &mut mistakes);
        // Whether something is missing, twice, or of another kind, values and branches decide.
        let settled = |mistake: &Mistake| {
            let certain = [
                "unknown key",
                "write the number without quotes",
                "is not the name of an image",
                NOT_A_CONDITION,
                "is not known here",
            ];
            certain.iter().any(|words| mistake.message.contains(words)) && !mistake.message.contains(unknown)
        };
        mistakes.retain(settled);
        mistakes
    }
}

fn rules(document: &Node, file: &str, mistakes: &mut Vec<Mistake>) {
    let tasks = items(document, "tasks");
    if tasks.is_empty() {
        mistakes.push(document.place.mistake(file, "tasks", "at least one task is needed"));
    }
    unique(tasks, "tasks", file, mistakes);
    let mut skips = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        if task.get("actions").is_some_and(|list| matches!(&list.content, yaml::Content::List(items) if items.is_empty())) {
            mistakes.push(task.place.mistake(file, &format!("tasks[{index}].actions"), "at least one action is needed"));
        }
        unique(items(task, "actions"), &format!("tasks[{index}].actions"), file, mistakes);
        let mut conditions = Vec::new();
        for (at, action) in items(task, "actions").iter().enumerate() {
            let path = format!("tasks[{index}].actions[{at}]");
            action_rules(action, &path, file, mistakes);
            conditions.push(action.get("if").and_then(|condition| condition.text()).and_then(condition));
        }
        skips.extend(conditions.iter().map(|condition| *condition == Some(false)));
    }
    if !skips.is_empty() && skips.iter().all(|skip| *skip) {
        mistakes.push(document.place.mistake(file, "tasks", NOTHING_LEFT));
    }
}

pub(crate) const NOTHING_LEFT: &str = "no action would run, because the `if` of each one is false";
pub(crate) const NOT_A_CONDITION: &str = "is not true, false or empty";

/// Whether an action runs; `None` for a text that does not say.
#[must_use]
pub fn condition(text: &str) -> Option<bool> {
    match text.trim() {
        "" => Some(true),
        word if word.eq_ignore_ascii_case("true") => Some(true),
        word if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn action_rules(action: &Node, path: &str, file: &str, mistakes: &mut Vec<Mistake>) {
    let mut note = |at: &Node, key: &str, message: String, hint: &str| {
        let mut mistake = at.place.mistake(file, &format!("{path}.{key}"), message);
        mistake.hint = (!hint.is_empty()).then(|| hint.to_owned());
        mistakes.push(mistake);
    };
    if let Some(image) = action.get("image")
        && let Some(name) = image.text().filter(|name| !name.is_empty() && !is_image(name))
    {
        let hint = "write registry/path:tag, the path in small letters";
        note(image, "image", format!("{name:?} is not the name of an image"), hint);
    }
    if let Some(node) = action.get("if")
        && let Some(text) = node.text().filter(|text| condition(text).is_none())
    {
        note(node, "if", format!("{text:?} {NOT_A_CONDITION}"), "");
    }
    let lists = |key: &str| action.get(key).filter(|node| matches!(node.content, yaml::Content::List(_)));
    if let (Some(node), Some(_)) = (lists("on_failure"), lists("on-failure").or_else(|| lists("on-timeout"))) {
        note(node, "on_failure", "the command is given twice".to_owned(), "on_failure, or on-failure and on-timeout");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_for_anchors_pass_and_bad_images_do_not() {
        let text = "x-base: &b\n  image: img\n  timeout: 5\nname: n\ntasks:\n- name: t\n  worker: w\n  actions:\n  - <<: *b\n    name: a\n";
        let document = Document::parse(text, "f").unwrap();
        assert_eq!((document.tasks[0].actions[0].image.as_str(), document.tasks[0].actions[0].timeout), ("img", 5));
        let bad = text.replace("image: img", "image: Img");
        let mistakes = Document::parse(&bad, "f").unwrap_err();
        assert!(
            mistakes[0].to_string().starts_with("f:2:10: tasks[0].actions[0].image: \"Img\" is not the name of an image"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn an_outline_shows_what_no_value_can_mend() {
        let text = "name: ?\ntasks:\n- name: t\n  worker: ?\n  ?\n".replace('?', "⁇");
        assert_eq!(Document::outline(&text, '⁇', "f"), []);
        let text = "name: n\ntasks:\n- name: t\n  worker: w\n  volumes: ?\n  actions:\n  - {name: b, image: i}\n  - {name: b, image: i}\n".replace('?', "⁇");
        assert_eq!(Document::outline(&text, '⁇', "f"), [], "a list may come from a value, and two actions from two branches");
        let text = "name: n\ntasks:\n- name: t\n  worker: ?\n  actions:\n  - name: a\n    image: quay.io/?:v1\n    timeout: ?\n    args: [x]\n";
        let mistakes = Document::outline(&text.replace('?', "⁇"), '⁇', "f");
        assert_eq!(
            mistakes.iter().map(|mistake| (mistake.line, mistake.message.as_str())).collect::<Vec<_>>(),
            [(9, "unknown key \"args\"")]
        );
    }

    fn with(keys: &str) -> Result<Action, Vec<String>> {
        let text = format!(
            "name: n\ntasks:\n- name: t\n  worker: w\n  actions:\n  - name: a\n    image: i\n{keys}  - {{name: b, image: i}}\n"
        );
        let document = Document::parse(&text, "f");
        document
            .map(|mut document| document.tasks.remove(0).actions.remove(0))
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_follows_a_failure_is_read_in_both_spellings() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let action =
            with("    retries: 3\n    on-failure: [sh, -c, x]\n    on-timeout: [sh, -c, y]\n    background: false\n").unwrap();
        assert_eq!((action.retries, action.failure_command, action.timeout_command), (3, words("sh -c x"), words("sh -c y")));
        for (keys, read) in [
            ("    on_failure: continue\n", OnFailure::Word(FailureWord::Continue)),
            ("    on_failure: fail\n", OnFailure::Word(FailureWord::Fail)),
            ("    on_failure: [sh, x]\n", OnFailure::Command(words("sh x"))),
        ] {
            assert_eq!(with(keys).unwrap().on_failure, Some(read), "{keys}");
        }
        for (keys, refused) in [
            ("    on_failure: go\n", "f:8:17: tasks[0].actions[0].on_failure: \"go\" is not known here (one of continue, fail)"),
            (
                "    on_failure: {a: b}\n",
                "f:8:17: tasks[0].actions[0].on_failure: a single value is expected here, found a mapping",
            ),
            (
                "    on_failure: [a]\n    on-failure: [b]\n",
                "f:8:17: tasks[0].actions[0].on_failure: the command is given twice (on_failure, or on-failure and on-timeout)",
            ),
            ("    retries: 101\n", "f:8:14: tasks[0].actions[0].retries: 101 is not between 0 and 100"),
            ("    retries: -1\n", "f:8:14: tasks[0].actions[0].retries: -1 is not between 0 and 100"),
        ] {
            assert_eq!(with(keys).unwrap_err().first().map(String::as_str), Some(refused), "{keys}");
        }
        assert!(with("    background: true\n").unwrap().background);
    }

    #[test]
    fn an_if_says_true_false_or_nothing() {
        for (text, runs) in [
            ("true", Some(true)),
            ("True", Some(true)),
            (" FALSE ", Some(false)),
            ("", Some(true)),
            ("yes", None),
            ("1", None),
            ("<no value>", None),
        ] {
            assert_eq!(condition(text), runs, "{text}");
        }
        assert_eq!(with("    if: false\n").unwrap().condition.as_deref(), Some("false"));
        assert_eq!(
            with("    if: perhaps\n").unwrap_err(),
            ["f:8:9: tasks[0].actions[0].if: \"perhaps\" is not true, false or empty"]
        );
        let none = "name: n\ntasks:\n- name: t\n  worker: w\n  actions:\n  - {name: a, image: i, if: false}\n";
        let refused = Document::parse(none, "f").unwrap_err()[0].to_string();
        assert_eq!(refused, "f:1:1: tasks: no action would run, because the `if` of each one is false");
        let outline = none.replace("if: false", "if: ⁇, background: true");
        assert_eq!(Document::outline(&outline, '⁇', "f"), []);
    }

    #[test]
    fn the_lines_of_a_template_are_found_in_its_file() {
        let block = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec:\n  data: |\n\n    name: n\n    tasks: {{ .x }}\n";
        let quoted =
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec:\n  data: \"a\\nb\\n{{ .x }}\"\n";
        for (text, place, found) in [(block, (3, 11), ("f.yaml", 8, 15)), (quoted, (3, 4), ("f.yaml", 5, 1))] {
            let objects = crate::parse_documents(text, "f.yaml").unwrap();
            let crate::Object::Template(template) = &objects[0] else { panic!("{objects:?}") };
            assert_eq!(template.spec.written.place(place.0, place.1), Some(found), "{text}");
        }
    }
}
