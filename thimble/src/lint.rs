//! `thimble lint --upstream`: reports what Tinkerbell would refuse in files, and what it would silently ignore.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use model::{Mistake, Object};

use crate::client::Files;

#[derive(Args)]
pub struct Arguments {
    /// Check for Tinkerbell; without this flag the files are checked for this server only
    #[arg(long)]
    upstream: bool,
    /// Skip kinds that are not Tinkerbell's, with a line each; otherwise they are mistakes
    #[arg(long, conflicts_with = "upstream")]
    skip_foreign: bool,
    /// Files, folders of *.yaml files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if !arguments.upstream {
        let files = Files { files: arguments.files.clone(), skip_foreign: arguments.skip_foreign };
        return crate::validate::run(&files, out);
    }
    let (mut refused, mut ignored) = (Vec::new(), Vec::new());
    for (name, text) in model::read_texts(&arguments.files)? {
        ignored.extend(model::ignored_objects(&text, &name));
        match model::parse_documents(&text, &name) {
            Err(mistakes) => refused.extend(mistakes),
            Ok(objects) => objects.iter().for_each(|object| of_object(object, &mut refused, &mut ignored)),
        }
    }
    for (word, found) in [("refused", &refused), ("ignored", &ignored)] {
        for mistake in found {
            writeln!(out, "{word}: {mistake}")?;
        }
    }
    writeln!(out, "Tinkerbell would refuse {} and ignore {}", refused.len(), ignored.len())?;
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_object(object: &Object, refused: &mut Vec<Mistake>, ignored: &mut Vec<Mistake>) {
    let Object::Template(template) = object else { return };
    ignored.extend(server::template::ignored(template));
    let mistakes = server::template::check(template).err().unwrap_or_default();
    // What this server refuses for its keys, Tinkerbell ignores: that is listed already.
    let own = |mistake: &Mistake| ["unknown key", "is not true, false"].iter().any(|words| mistake.message.contains(words));
    refused.extend(mistakes.into_iter().filter(|mistake| !own(mistake)));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn linted(text: &str) -> (ExitCode, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let code = run(&Arguments { upstream: true, skip_foreign: false, files: vec![file] }, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        (code, out.replace(&format!("{}/", folder.path().display()), ""))
    }

    fn template(action: &str) -> String {
        format!(
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: t}}\nspec:\n  data: |\n    name: t\n    global_timeout: 9\n    tasks:\n    \
             - name: t\n      worker: '{{{{ .device_1 }}}}'\n      actions:\n      - {{name: a, image: i, timeout: 5, {action}}}\n"
        )
    }

    #[test]
    fn what_tinkerbell_refuses_is_separate_from_what_it_ignores() {
        for (case, text, code, expected) in [
            ("nothing", template("pid: host"), ExitCode::SUCCESS, "Tinkerbell would refuse 0 and ignore 0\n"),
            (
                "a lost key",
                template("args: [x]"),
                ExitCode::SUCCESS,
                "ignored: t.yaml:12:5: spec.data: tasks[0].actions[0]: Tinkerbell ignores the key \"args\"\nTinkerbell would refuse 0 and ignore 1\n",
            ),
            (
                "retries",
                template("retries: 2"),
                ExitCode::SUCCESS,
                "ignored: t.yaml:12:5: spec.data: tasks[0].actions[0].retries: Tinkerbell ignores retries: the action runs once\nTinkerbell would refuse 0 and ignore 1\n",
            ),
            (
                "a function that was removed",
                template("pid: '{{ now }}'"),
                ExitCode::FAILURE,
                "refused: t.yaml:12:5: spec.data: function \"now\" not defined (Tinkerbell has removed it: its result changes from one rendering to the next)\nTinkerbell would refuse 1 and ignore 0\n",
            ),
            (
                "an unknown key of an object",
                template("pid: host").replace("spec:\n", "spec:\n  note: x\n"),
                ExitCode::FAILURE,
                "refused: t.yaml:5:3: spec: unknown key \"note\" (known here: data)\nTinkerbell would refuse 1 and ignore 0\n",
            ),
        ] {
            let (found, out) = linted(&text);
            assert_eq!((format!("{found:?}"), out.as_str()), (format!("{code:?}"), expected), "{case}");
        }
    }
}
