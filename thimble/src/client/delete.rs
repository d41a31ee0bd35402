//! The command delete: by name, by selector, all of a kind, or what files name.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use model::{Mistake, ObjectName, parse_mixed, read_texts};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::connection::{Answer, Connection};
use super::escape::clean;
use super::output::{Done, Output, Results};
use super::resources::{Kind, name_of, text};
use super::scope::{Scope, Usage, Which};
use super::{ServerArgs, kube, print_mistakes};

#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// KIND NAME... or KIND/NAME...; KIND alone wants a selector or --all. A NAME can be NAMESPACE/NAME
    #[arg(required_unless_present = "files", value_name = "KIND")]
    words: Vec<String>,
    /// A file, a folder of *.yaml files, or - for standard input
    #[arg(short, long = "file", value_name = "FILE", num_args = 1.., conflicts_with = "words")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    scope: Scope,
    /// All objects of the kind, in the namespace
    #[arg(long)]
    all: bool,
    /// Also delete Hardware and Templates that unfinished workflows use
    #[arg(long)]
    force: bool,
    /// What does not exist is not an error
    #[arg(long)]
    ignore_not_found: bool,
    /// Only show what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

type Named = Vec<(&'static Kind, ObjectName)>;

pub(super) async fn run(args: DeleteArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let mut named = if args.files.is_empty() {
        selected(&server, &args).await?
    } else {
        match in_files(&args.files, args.scope.home(server.namespace()))? {
            Ok(named) => named,
            Err(mistakes) => return print_mistakes(out, &mistakes),
        }
    };
    // Workflows first, because the objects they use can be deleted after them. Namespaces last.
    named.sort_by_key(|(kind, _)| (!kind.namespaced, kind.kind != "Workflow"));
    let is_one = named.len() == 1;
    let mut results = Results::new(args.output, out);
    for (kind, name) in &named {
        let (shown, full) = (kind.shown(), kind.full_name(name));
        let answer = server.call(Method::DELETE, &path(kind, name, &args), String::new()).await?;
        if answer.code.is_success() {
            let done = Done {
                reference: kind.reference(&name.name),
                kind: shown.clone(),
                name: full.clone(),
                change: "deleted".to_owned(),
                message: if args.dry_run { "dry run" } else { "" }.to_owned(),
            };
            results.done(done, &format!("{shown} {full} {}", if args.dry_run { "would be deleted" } else { "deleted" }))?;
        } else if answer.code == StatusCode::NOT_FOUND && args.ignore_not_found {
            continue;
        } else if is_one {
            return Err(refusal(kind, name, &answer));
        } else {
            results.refused(&shown, &full, &refusal(kind, name, &answer))?;
        }
    }
    results.end()
}

fn path(kind: &Kind, name: &ObjectName, args: &DeleteArgs) -> String {
    let force = args.force.then_some("gracePeriodSeconds=0");
    let dry_run = args.dry_run.then_some("dryRun=All");
    let query: Vec<&str> = force.into_iter().chain(dry_run).collect();
    format!("{}{}{}", kind.object_path(name), if query.is_empty() { "" } else { "?" }, query.join("&"))
}

/// In the words of commands.
fn refusal(kind: &Kind, name: &ObjectName, answer: &Answer) -> anyhow::Error {
    if answer.code == StatusCode::NOT_FOUND {
        return anyhow::anyhow!("{} {} does not exist", kind.shown(), kind.full_name(name));
    }
    let said = answer.refusal().to_string();
    let said = said.split_once("set gracePeriodSeconds to 0").map_or(said.clone(), |(before, _)| format!("{before}use --force"));
    // Its words for a conflict name the object once more.
    let said = said
        .split_once("Operation cannot be fulfilled on")
        .and_then(|(_, rest)| rest.split_once("\": "))
        .map_or(said.as_str(), |(_, why)| why);
    anyhow::anyhow!("{} {} is not deleted: {said}", kind.shown(), kind.full_name(name))
}

async fn selected(server: &Connection, args: &DeleteArgs) -> anyhow::Result<Named> {
    let scope = &args.scope;
    let targets = scope.targets(&args.words, server.namespace())?;
    let mut named = Vec::new();
    for target in targets {
        match &target.which {
            Which::Named(_) if args.all => return Err(Usage("names and --all exclude each other".to_owned()).into()),
            Which::Named(name) => named.push((target.kind, name.clone())),
            Which::Listed(_) if !args.all && !scope.is_selective() => {
                let kind = target.kind.plural;
                return Err(Usage(format!("name the {kind} to delete, select them with -l, or give --all")).into());
            }
            Which::Listed(_) => {
                let items = kube::all_of(server, &target, scope).await?;
                named.extend(items.iter().map(|item| (target.kind, name_of(item))));
            }
        }
    }
    if named.is_empty() {
        writeln!(io::stderr(), "no objects found")?;
    }
    Ok(named)
}

/// What the files name, kinds of Kubernetes among them. What this server does not keep has a line.
fn in_files(files: &[PathBuf], namespace: &str) -> anyhow::Result<Result<Named, Vec<Mistake>>> {
    let (mut named, mut mistakes) = (Vec::new(), Vec::new());
    for (file, content) in read_texts(files)? {
        match parse_mixed(&content, &file) {
            Ok((objects, others)) => {
                let of = |object: &model::Object| Some((Kind::checked(object.kind())?, object.name()));
                named.extend(objects.iter().filter_map(of));
                for other in &others {
                    named.extend(foreign(&file, other, namespace)?);
                }
            }
            Err(more) => mistakes.extend(more),
        }
    }
    Ok(if mistakes.is_empty() { Ok(named) } else { Err(mistakes) })
}

fn foreign(file: &str, object: &Value, namespace: &str) -> io::Result<Option<(&'static Kind, ObjectName)>> {
    let mut name = name_of(object);
    if name.namespace.is_empty() {
        namespace.clone_into(&mut name.namespace);
    }
    let kind = Kind::of(object);
    if kind.is_none() {
        let line = format!("{file}: {} {} is skipped: this server keeps no such objects", text(object, "/kind"), name.name);
        writeln!(io::stderr(), "{}", clean(&line))?;
    }
    Ok(kind.map(|kind| (kind, name)))
}
