//! The files of an apply as one text for the server, and the server's mistakes back in their files.

use std::io::{self, Write};

use anyhow::bail;
use model::{Mistake, Object, parse_mixed};
use serde_json::Value;

use super::Files;
use super::escape::clean;
use super::resources::text;

/// How the server calls the text in its mistakes.
const TEXT: &str = "these files";

/// Where a file begins in the text: its name, and how many lines are before it.
struct Part {
    file: String,
    before: usize,
}

pub(super) struct Sources {
    text: String,
    parts: Vec<Part>,
}

impl Sources {
    /// Reads and checks the files. All their mistakes are the inner error.
    pub(super) fn read(files: &Files) -> anyhow::Result<Result<Self, Vec<Mistake>>> {
        Ok(match texts_and_objects(files)? {
            Ok((texts, objects)) => Ok(Self::of(texts, &objects)?),
            Err(mistakes) => Err(mistakes),
        })
    }

    pub(super) fn of(texts: Vec<(String, String)>, objects: &[Object]) -> serde_json::Result<Self> {
        let joined = Self::joined(texts);
        // Some files mean something else behind another one, such as one that begins with a directive.
        if model::parse_documents(&joined.text, TEXT).is_ok_and(|found| found == objects) {
            return Ok(joined);
        }
        let texts = objects.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: texts.join("\n---\n"), parts: Vec::new() })
    }

    fn joined(texts: Vec<(String, String)>) -> Self {
        let (mut joined, mut parts) = (String::new(), Vec::new());
        for (file, text) in texts {
            if !joined.is_empty() {
                joined.push_str(if joined.ends_with('\n') { "---\n" } else { "\n---\n" });
            }
            parts.push(Part { file, before: joined.matches('\n').count() });
            joined.push_str(&text);
        }
        Self { text: joined, parts }
    }

    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    /// The path of the call, with the name that the server gives the text.
    pub(super) fn path(dry_run: bool) -> String {
        format!("{}?file={}{}", api::paths::APPLY, TEXT.replace(' ', "%20"), if dry_run { "&dryRun=All" } else { "" })
    }

    /// Names the file and its line where the server names a line of the text.
    pub(super) fn placed(&self, mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
        for mistake in mistakes.iter_mut().filter(|mistake| mistake.file == TEXT && mistake.line > 0) {
            if let Some(part) = self.parts.iter().rev().find(|part| part.before < mistake.line) {
                mistake.line -= part.before;
                mistake.file.clone_from(&part.file);
            }
        }
        mistakes
    }
}

type Found = (Vec<(String, String)>, Vec<Object>);

/// The texts of files, and the objects in them. Foreign kinds are mistakes, or skipped with a line each if that was asked.
pub(super) fn texts_and_objects(files: &Files) -> anyhow::Result<Result<Found, Vec<Mistake>>> {
    let mut texts = model::read_texts(&files.files)?;
    if files.skip_foreign {
        let mut mistakes = Vec::new();
        for (file, content) in &mut texts {
            match without_foreign(content, file) {
                Ok((kept, skipped)) => {
                    *content = kept;
                    for line in skipped {
                        writeln!(io::stderr(), "{}", clean(&line))?;
                    }
                }
                Err(found) => mistakes.extend(found),
            }
        }
        if !mistakes.is_empty() {
            return Ok(Err(mistakes));
        }
    }
    match model::parse_texts(texts.iter().map(|(name, text)| (name, text))) {
        Ok(objects) if objects.is_empty() => {
            let names = files.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            bail!("no objects in {}", names.join(", "));
        }
        Ok(objects) => Ok(Ok((texts, objects))),
        Err(mistakes) => Ok(Err(mistakes.0)),
    }
}

/// The text with empty lines in place of documents of other kinds, so that mistakes keep their lines; and a line for each of
/// these.
fn without_foreign(content: &str, file: &str) -> Result<(String, Vec<String>), Vec<Mistake>> {
    let (mut kept, mut skipped, mut mistakes) = (String::new(), Vec::new(), Vec::new());
    let mut before = 0;
    for document in documents(content) {
        let lines = document.matches('\n').count();
        // The empty lines keep the numbers.
        match parse_mixed(&format!("{}{document}", "\n".repeat(before)), file) {
            Ok((_, foreign)) if foreign.is_empty() => kept.push_str(document),
            Ok((objects, foreign)) => {
                let own: Vec<String> = objects.iter().filter_map(|object| serde_json::to_string(object).ok()).collect();
                let separator = if document.starts_with("---") { "---" } else { "" };
                // Without their lines, where one document has objects of both sorts.
                kept.push_str(&format!(
                    "{separator} {}",
                    if own.is_empty() { String::new() } else { format!("[{}]", own.join(",")) }
                ));
                kept.push_str(&"\n".repeat(lines));
                skipped.extend(foreign.iter().map(|object| {
                    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
                    format!("{file}: {kind} {} is skipped: {version} is not Tinkerbell's", name(object))
                }));
            }
            Err(found) => mistakes.extend(found),
        }
        before += lines;
    }
    if mistakes.is_empty() { Ok((kept, skipped)) } else { Err(mistakes) }
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The documents with their separators. Within a document no line begins like one, not even in a block of text.
fn documents(content: &str) -> Vec<&str> {
    let mut starts = vec![0];
    // Comments and directives belong to the document after them.
    let (mut at, mut has_begun) = (0, false);
    for line in content.split_inclusive('\n') {
        let separates = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if separates && has_begun {
            starts.push(at);
        }
        has_begun |= separates || !(line.trim().is_empty() || line.starts_with(['#', '%']));
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([content.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| content.get(*start..end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str) -> String {
        format!(
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: {name}}}\nspec:\n  data: |\n    name: {name}\n"
        )
    }

    fn sources(texts: &[(&str, String)]) -> Sources {
        let texts: Vec<(String, String)> = texts.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
        let objects = model::parse_texts(texts.clone()).unwrap();
        Sources::of(texts, &objects).unwrap()
    }

    #[test]
    fn a_line_of_the_text_is_a_line_of_its_file() {
        let comment = format!("# a comment\n\n{}", template("b"));
        let sources = sources(&[("a.yaml", template("a")), ("b.yaml", comment), ("c.yaml", template("c"))]);
        let at = |line: usize| Mistake {
            file: TEXT.to_owned(),
            line,
            column: 3,
            path: String::new(),
            message: "m".to_owned(),
            hint: None,
        };
        for (needle, file, line) in [("name: a\n", "a.yaml", 6), ("name: b\n", "b.yaml", 8), ("name: c\n", "c.yaml", 6)] {
            let found =
                1 + sources.text.lines().position(|text| text.trim_end() == format!("    {}", needle.trim_end())).unwrap();
            let placed = sources.placed(vec![at(found)]);
            assert_eq!((placed[0].file.as_str(), placed[0].line), (file, line), "{needle}");
        }
        assert_eq!(sources.placed(vec![at(0)])[0].file, TEXT, "no line, no file");
    }

    #[test]
    fn the_text_has_the_same_objects_however_the_files_begin_and_end() {
        for (case, first, second) in [
            ("plain", template("a"), template("b")),
            ("no line break at the end", template("a").trim_end().to_owned(), template("b")),
            ("an end of document", format!("{}...\n", template("a")), template("b")),
            ("a begin of document", format!("---\n{}", template("a")), format!("--- # x\n{}", template("b"))),
            ("a directive", template("a"), format!("%YAML 1.2\n---\n{}", template("b"))),
            ("a byte order mark", template("a"), format!("\u{feff}{}", template("b"))),
            ("comments only", "# nothing\n".to_owned(), template("b")),
            ("an empty file", String::new(), template("b")),
            ("a kept line break", format!("{}\n\n\n", template("a").replace("data: |", "data: |+")), template("b")),
            ("JSON", serde_json::to_string(&model::parse_documents(&template("a"), "").unwrap()[0]).unwrap(), template("b")),
        ] {
            let texts = [("a".to_owned(), first), ("b".to_owned(), second)];
            let objects = model::parse_texts(texts.clone()).unwrap();
            let sources = Sources::of(texts.to_vec(), &objects).unwrap();
            assert_eq!(model::parse_documents(&sources.text, "").unwrap(), objects, "{case}");
        }
    }

    #[test]
    fn foreign_kinds_are_left_out_and_mistakes_keep_their_lines() {
        let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n# ---\n";
        let text = format!("{}{secret}---\n{}", template("a"), template("b").replace("  data:", "  dato:"));
        let mistakes = without_foreign(&text, "f").unwrap_err();
        assert!(mistakes.iter().any(|one| one.line == 17 && one.message.contains("dato")), "{mistakes:?}");
        let text = format!("{}{secret}---\n{}", template("a"), template("b"));
        let (kept, skipped) = without_foreign(&text, "f").unwrap();
        assert_eq!(skipped, ["f: Secret s is skipped: v1 is not Tinkerbell's"]);
        assert_eq!(kept.lines().count(), text.lines().count());
        let names = |text: &str| model::parse_documents(text, "f").unwrap().iter().map(|one| one.name().name).collect::<Vec<_>>();
        assert_eq!(names(&kept), ["a", "b"], "{kept}");
        let list = "kind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\n- apiVersion: tinkerbell.org/v1alpha1\n  kind: \
                    Template\n  metadata: {name: t}\n  spec: {data: x}\n";
        let (kept, skipped) = without_foreign(list, "f").unwrap();
        assert_eq!((names(&kept), skipped.len()), (vec!["t".to_owned()], 1), "{kept}");
    }
}
