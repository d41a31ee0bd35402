//! `thimble import`: objects of another server. An import orders nothing: machines boot what they booted there.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use api::{Applied, Import, ImportedMachine};
use model::{Mistake, Object, parse_mixed_noting, read_texts};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::apply::changed;
use super::connection::Connection;
use super::escape::clean;
use super::output::{Done, Output, Results};
use super::print_mistakes;
use super::resources::{Kind, Way, text};
use super::transfer::portable;

/// What the files have, by how it is imported.
#[derive(Default)]
struct Found {
    objects: Vec<Object>,
    machines: Vec<ImportedMachine>,
    plain: Vec<(&'static Kind, Value)>,
    /// Not imported, and why.
    left_out: Vec<String>,
}

pub(super) async fn run(server: &Connection, files: &[PathBuf], output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let found = match read(files)? {
        Ok(found) => found,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    for line in &found.left_out {
        writeln!(io::stderr(), "{}", clean(line))?;
    }
    let mut done = Vec::new();
    for (kind, object) in namespaces_first(&found) {
        done.extend(plain(server, kind, &object).await?);
    }
    if found.objects.is_empty() && found.machines.is_empty() {
        return print_done(done, output, out);
    }
    let texts = found.objects.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let body = serde_json::to_string(&Import { objects: texts.join("\n---\n"), machines: found.machines })?;
    let answer = server.call(Method::POST, api::paths::IMPORT, body).await?;
    let applied: Applied = match answer.read() {
        Ok(applied) => applied,
        Err(error) if answer.code.is_success() => return Err(error),
        Err(_) if answer.code == StatusCode::NOT_FOUND => {
            bail!("the server takes an import by its socket (as root on its host) and by https:// only")
        }
        Err(_) => return Err(answer.refusal()),
    };
    if !applied.mistakes.is_empty() || !answer.code.is_success() {
        print_done(done, output, out)?; // what is stored already
        return if applied.mistakes.is_empty() { Err(answer.refusal()) } else { print_mistakes(out, &applied.mistakes) };
    }
    done.extend(applied.changes.iter().map(changed));
    print_done(done, output, out)?;
    let installs = applied.installs.len();
    if installs > 0 {
        writeln!(io::stderr(), "machines being installed there, which are installed here when they boot: {installs}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(files: &[PathBuf]) -> anyhow::Result<Result<Found, Vec<Mistake>>> {
    let (mut found, mut mistakes) = (Found::default(), Vec::new());
    for (file, text) in read_texts(files)? {
        match parse_mixed_noting(&text, &file) {
            Ok((noted, others)) => {
                found.objects.extend(noted.objects);
                found.left_out.extend(noted.note.map(|note| format!("Warning: {file}: {note}")));
                for other in others {
                    found.sort(&file, other)?;
                }
            }
            Err(more) => mistakes.extend(more),
        }
    }
    if mistakes.is_empty() { Ok(Ok(found)) } else { Ok(Err(mistakes)) }
}

impl Found {
    fn sort(&mut self, file: &str, object: Value) -> anyhow::Result<()> {
        let (kind, name) = (text(&object, "/kind").to_owned(), text(&object, "/metadata/name").to_owned());
        match Kind::of(&object) {
            Some(of) if of.way == Way::Plain => self.plain.push((of, portable(object))),
            Some(of) if of.way == Way::Machine => {
                let object = portable(object);
                let mut machine = object.get("spec").cloned().unwrap_or_default();
                if let Some(fields) = machine.as_object_mut() {
                    fields.insert("name".to_owned(), json!(name));
                    fields.insert("namespace".to_owned(), json!(text(&object, "/metadata/namespace")));
                }
                let machine = serde_json::from_value(machine);
                self.machines.push(machine.with_context(|| format!("{file}: MachineState {name} cannot be read"))?);
            }
            _ => self.left_out.push(format!("{file}: {kind} {name} is left out: this server keeps no such objects")),
        }
        Ok(())
    }
}

/// The plain objects, each in a Namespace that exists.
fn namespaces_first(found: &Found) -> Vec<(&'static Kind, Value)> {
    let namespace = |object: &Value| match text(object, "/metadata/namespace") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    let used: BTreeSet<String> =
        found.plain.iter().filter(|(kind, _)| kind.namespaced).map(|(_, object)| namespace(object)).collect();
    let written: BTreeSet<&str> =
        found.plain.iter().filter(|(kind, _)| !kind.namespaced).map(|(_, object)| text(object, "/metadata/name")).collect();
    let missing = used.iter().filter(|name| *name != "default" && !written.contains(name.as_str()));
    let mut sorted: Vec<(&'static Kind, Value)> = missing
        .filter_map(|name| {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            Some((Kind::of(&object)?, object))
        })
        .collect();
    sorted.extend(found.plain.iter().filter(|(kind, _)| !kind.namespaced).cloned());
    sorted.extend(found.plain.iter().filter(|(kind, _)| kind.namespaced).cloned());
    sorted
}

fn print_done(done: Vec<(Done, String)>, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut results = Results::new(output, out);
    for (done, line) in done {
        results.done(done, &line)?;
    }
    results.end()
}

/// Stores an object as it is. `None` if it was there, and nothing in it matters.
async fn plain(server: &Connection, kind: &Kind, object: &Value) -> anyhow::Result<Option<(Done, String)>> {
    let (name, namespace) = (text(object, "/metadata/name"), text(object, "/metadata/namespace"));
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let path = kind.path(Some(namespace));
    let mut answer = server.json(Method::POST, &path, object).await?;
    let mut done = "created";
    // An operator of one Namespace may read it, and not make it.
    let may_exist = !kind.namespaced && matches!(answer.code, StatusCode::CONFLICT | StatusCode::FORBIDDEN);
    if may_exist && server.call(Method::GET, &format!("{path}/{name}"), String::new()).await?.code.is_success() {
        return Ok(None);
    }
    if answer.code == StatusCode::CONFLICT {
        answer = server.json(Method::PUT, &format!("{path}/{name}"), object).await?;
        done = "updated";
    }
    let full = if kind.namespaced { format!("{namespace}/{name}") } else { name.to_owned() };
    let shown = format!("{} {full}", kind.kind);
    if !answer.code.is_success() {
        let status: Value = answer.read().unwrap_or_default();
        return Err(anyhow!("{shown} cannot be imported: {} {}", answer.code, text(&status, "/message")));
    }
    let line = format!("{shown} {done}");
    let (reference, change) = (kind.reference(name), done.to_owned());
    Ok(Some((Done { reference, kind: kind.kind.to_owned(), name: full, change, message: String::new() }, line)))
}

#[cfg(test)]
mod tests;
