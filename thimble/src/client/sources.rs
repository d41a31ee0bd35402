//! The files of an apply as one text for the server, and the server's mistakes back in their files.

use std::path::PathBuf;

use anyhow::bail;
use model::{Mistake, Object};

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
    pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Result<Self, Vec<Mistake>>> {
        let texts = model::read_texts(files)?;
        let objects = match model::parse_texts(texts.iter().map(|(name, text)| (name, text))) {
            Ok(objects) if objects.is_empty() => {
                let names = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
                bail!("no objects in {}", names.join(", "));
            }
            Ok(objects) => objects,
            Err(mistakes) => return Ok(Err(mistakes.0)),
        };
        Ok(Ok(Self::of(texts, &objects)?))
    }

    fn of(texts: Vec<(String, String)>, objects: &[Object]) -> serde_json::Result<Self> {
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
}
