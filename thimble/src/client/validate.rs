//! Files to objects, and every mistake in them, without a server.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use model::{Mistake, Object, parse_documents};
use server::plan::plan;
use server::view::View;

/// All objects of all files, or all their mistakes.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Result<Vec<Object>, Vec<Mistake>>> {
    let (mut objects, mut mistakes) = (Vec::new(), Vec::new());
    for path in files {
        for (name, text) in texts(path)? {
            match parse_documents(&text, &name) {
                Ok(found) => objects.extend(found),
                Err(found) => mistakes.extend(found),
            }
        }
    }
    if mistakes.is_empty() && objects.is_empty() {
        bail!("there are no objects in {}", files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "));
    }
    Ok(if mistakes.is_empty() { Ok(objects) } else { Err(mistakes) })
}

/// Names and contents of a file, of a folder's YAML files, or of standard input.
fn texts(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(vec![(path.display().to_string(), text)]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.is_file() && path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    paths.sort();
    let texts = paths.iter().map(|path| texts(path)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(texts.into_iter().flatten().collect())
}

pub(super) fn print_mistakes(out: &mut dyn Write, mistakes: &[Mistake]) -> anyhow::Result<ExitCode> {
    for mistake in mistakes {
        writeln!(out, "{mistake}")?;
    }
    let count = mistakes.len();
    writeln!(out, "{count} {}", if count == 1 { "mistake" } else { "mistakes" })?;
    Ok(ExitCode::FAILURE)
}

/// Checks as the server would, which renders every workflow whose template and hardware are in the files, too.
pub fn run(files: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let objects = match read(files)? {
        Ok(objects) => objects,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    let mut number = 0_u32;
    let mut new_id = || {
        number += 1;
        number.to_string()
    };
    let plan = match plan(&View::default(), objects, Timestamp::now(), &mut new_id) {
        Ok(plan) if plan.failed.is_empty() => plan,
        Ok(plan) => return print_mistakes(out, &plan.failed),
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    for changed in &plan.changed {
        let note =
            changed.problem.as_ref().map_or_else(|| "ok".to_owned(), |problem| format!("ok, but {problem} in these files"));
        writeln!(out, "{} {} {}", changed.kind, changed.name, note.replace(", which does not exist in", ", which is not in"))?;
    }
    Ok(ExitCode::SUCCESS)
}
