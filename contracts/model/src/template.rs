//! Template: the text with `{{ }}` as stored, and the document that comes out of rendering it.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

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
            let certain = ["unknown key", "write the number without quotes", "is not the name of an image"];
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
    for (index, task) in tasks.iter().enumerate() {
        if task.get("actions").is_some_and(|list| matches!(&list.content, yaml::Content::List(items) if items.is_empty())) {
            mistakes.push(task.place.mistake(file, &format!("tasks[{index}].actions"), "at least one action is needed"));
        }
        unique(items(task, "actions"), &format!("tasks[{index}].actions"), file, mistakes);
        for (at, action) in items(task, "actions").iter().enumerate() {
            let Some(image) = action.get("image") else { continue };
            if let Some(name) = image.text().filter(|name| !name.is_empty() && !is_image(name)) {
                let path = format!("tasks[{index}].actions[{at}].image");
                let mut mistake = image.place.mistake(file, &path, format!("{name:?} is not the name of an image"));
                mistake.hint = Some("write registry/path:tag, the path in small letters".to_owned());
                mistakes.push(mistake);
            }
        }
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

/// Whether the text is a reference as Docker normalises it: `[domain/]path[:tag][@digest]`.
fn is_image(name: &str) -> bool {
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return false; // taken for the identifier of an image
    }
    let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest {
        let Some((algorithm, hash)) = digest.split_once(':') else { return false };
        let part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphabetic()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !algorithm.split(['-', '_', '+', '.']).all(part) || hash.len() < 32 || !hexadecimal(hash) {
            return false;
        }
    }
    let (domain, rest) = match name.split_once('/') {
        Some((domain, rest)) if domain.contains(['.', ':']) || domain == "localhost" || domain.to_lowercase() != domain => {
            (Some(domain), rest)
        }
        _ => (None, name),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if let Some(tag) = tag {
        let edge = tag.bytes().next().is_some_and(word);
        if !edge || tag.len() > 128 || !tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-')) {
            return false;
        }
    }
    name.len() <= 255 && domain.is_none_or(is_domain) && path.split('/').all(is_path_component)
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((address, port)) => {
            let digits =
                port.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
            return digits && address.parse::<std::net::Ipv6Addr>().is_ok();
        }
        None => domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port))),
    };
    let component = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(component) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Small letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_path_component(part: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let separators = part.split(plain).filter(|between| !between.is_empty());
    let good = |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    part.starts_with(plain) && part.ends_with(plain) && { separators }.all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_those_that_docker_takes() {
        for (name, good) in [
            ("img", true),
            ("quay.io/tinkerbell/actions/image2disk:v1.0.0", true),
            ("127.0.0.1:5000/a/b__c-d.e", true),
            ("localhost/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", true),
            ("[::1]:5000/x", true),
            ("Registry/x", true), // a host, because paths are in small letters
            ("Image", false),
            ("quay.io/Tinkerbell/x", false),
            ("a b", false),
            ("a:b:c", false),
            ("a:", false),
            ("a//b", false),
            ("-a", false),
            ("a_-b", false),
            ("http://quay.io/x", false),
            ("x@sha256:12", false),
            ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", false),
        ] {
            assert_eq!(is_image(name), good, "{name}");
        }
    }

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
