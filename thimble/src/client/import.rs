//! `thimble import`: objects of another server. An import orders nothing: machines boot what they booted there.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use api::{Applied, Changed, Import, ImportedMachine};
use model::{Mistake, Object, parse_mixed, read_texts};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::connection::Connection;
use super::print_mistakes;
use super::transfer::{Kind, Way, portable, text};

/// What the files have, by how it is imported.
#[derive(Default)]
struct Found {
    objects: Vec<Object>,
    machines: Vec<ImportedMachine>,
    plain: Vec<(&'static Kind, Value)>,
    /// Not imported, and why.
    left_out: Vec<String>,
}

pub(super) async fn run(server: &Connection, files: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let found = match read(files)? {
        Ok(found) => found,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    for line in &found.left_out {
        writeln!(io::stderr(), "{line}")?;
    }
    for (kind, object) in namespaces_first(&found) {
        plain(server, kind, &object, out).await?;
    }
    if found.objects.is_empty() && found.machines.is_empty() {
        return Ok(ExitCode::SUCCESS);
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
    for Changed { kind, name, change, problem } in &applied.changes {
        let problem = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        writeln!(out, "{kind} {name} {change}{problem}")?;
    }
    if !applied.mistakes.is_empty() {
        return print_mistakes(out, &applied.mistakes);
    }
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    let installs = applied.installs.len();
    if installs > 0 {
        writeln!(io::stderr(), "machines being installed there, which are installed here when they boot: {installs}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(files: &[PathBuf]) -> anyhow::Result<Result<Found, Vec<Mistake>>> {
    let (mut found, mut mistakes) = (Found::default(), Vec::new());
    for (file, text) in read_texts(files)? {
        match parse_mixed(&text, &file) {
            Ok((objects, others)) => {
                found.objects.extend(objects);
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

async fn plain(server: &Connection, kind: &Kind, object: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let (name, namespace) = (text(object, "/metadata/name"), text(object, "/metadata/namespace"));
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let path = kind.path(Some(namespace));
    let mut answer = server.json(Method::POST, &path, object).await?;
    let mut done = "created";
    // An operator of one Namespace may read it, and not make it.
    let may_exist = !kind.namespaced && matches!(answer.code, StatusCode::CONFLICT | StatusCode::FORBIDDEN);
    if may_exist && server.call(Method::GET, &format!("{path}/{name}"), String::new()).await?.code.is_success() {
        return Ok(()); // it has nothing in it that matters
    }
    if answer.code == StatusCode::CONFLICT {
        answer = server.json(Method::PUT, &format!("{path}/{name}"), object).await?;
        done = "updated";
    }
    let shown = if kind.namespaced { format!("{} {namespace}/{name}", kind.kind) } else { format!("{} {name}", kind.kind) };
    if !answer.code.is_success() {
        let status: Value = answer.read().unwrap_or_default();
        return Err(anyhow!("{shown} cannot be imported: {} {}", answer.code, text(&status, "/message")));
    }
    writeln!(out, "{shown} {done}")?;
    Ok(())
}

#[cfg(test)]
mod tests;
