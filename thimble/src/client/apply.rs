//! The command apply: objects of files, all of them or none.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::{Applied, Changed};
use clap::Args;
use model::ObjectName;
use reqwest::Method;

use super::connection::Connection;
use super::escape::clean;
use super::output::{Done, Output, Results, print_value};
use super::resources::Kind;
use super::sources::Sources;
use super::{Files, ServerArgs, print_mistakes};

#[derive(Args, Debug)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: Files,
    /// Do not ask before several machines are installed
    #[arg(short, long)]
    yes: bool,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ApplyArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let sources = match Sources::read(&args.files)? {
        Ok(sources) => sources,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    if !args.yes && !args.dry_run {
        let planned = post(&server, &Sources::path(true), sources.text()).await?;
        if planned.installs.len() > 1 && !confirmed(&planned.installs)? {
            bail!("nothing was changed; --yes installs without a question");
        }
    }
    let applied = post(&server, &Sources::path(args.dry_run), sources.text()).await?;
    if !applied.mistakes.is_empty() {
        return print_mistakes(out, &sources.placed(applied.mistakes));
    }
    for warning in &applied.warnings {
        writeln!(io::stderr(), "Warning: {}", clean(warning))?;
    }
    if matches!(args.output, Output::Json | Output::Yaml) {
        print_value(&serde_json::to_value(&applied)?, args.output == Output::Yaml, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_changes(&applied.changes, args.output, args.dry_run, out)?;
    say_installs(&applied.installs, args.dry_run)?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each object.
pub(super) fn print_changes(changes: &[Changed], output: Output, dry_run: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut results = Results::new(output, out);
    for (done, line) in changes.iter().map(changed) {
        results.done(done, &format!("{line}{}", if dry_run { " (dry run)" } else { "" }))?;
    }
    results.end().map(drop)
}

/// The change of one object, and its line for people.
pub(super) fn changed(Changed { kind, name, change, problem }: &Changed) -> (Done, String) {
    let Ok(object) = name.parse::<ObjectName>();
    let reference = Kind::checked(*kind).map(|kind| kind.reference(&object.name)).unwrap_or_default();
    let message = problem.clone().unwrap_or_default();
    let note = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    let done = Done { reference, kind: kind.to_string(), name: name.clone(), change: change.to_string(), message };
    (done, format!("{kind} {name} {change}{note}"))
}

/// This goes to standard error, so that a program still reads one object per line.
fn say_installs(installs: &[String], dry_run: bool) -> io::Result<()> {
    let Some(first) = installs.first() else { return Ok(()) };
    let others = if installs.len() > 1 { format!(" and {} others", installs.len() - 1) } else { String::new() };
    let machines = if installs.len() > 1 { "machines" } else { "machine" };
    let will = if dry_run { "would" } else { "will" };
    writeln!(io::stderr(), "{} {machines} {will} be installed: {first}{others}", installs.len())
}

/// Applies a text, or asks what applying it would do.
pub(super) async fn post(server: &Connection, path: &str, text: String) -> anyhow::Result<Applied> {
    let answer = server.call(Method::POST, path, text).await?;
    let applied: Applied = match answer.read() {
        Ok(applied) => applied,
        Err(error) if answer.code.is_success() => return Err(error),
        Err(_) => return Err(answer.refusal()),
    };
    if applied.mistakes.is_empty() && !answer.code.is_success() { Err(answer.refusal()) } else { Ok(applied) }
}

/// Asks the person at the terminal.
pub(super) fn confirmed(machines: &[String]) -> anyhow::Result<bool> {
    const SHOWN: usize = 10;
    let names = machines.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if machines.len() > SHOWN { ", ..." } else { "" };
    let what = format!("This orders {} machines to be installed: {names}{more}", machines.len());
    if !io::stdin().is_terminal() {
        bail!("{what}. Give --yes if that is right; nothing was changed");
    }
    write!(io::stderr(), "{what}\nInstall them? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
