//! The commands below `workflow`: show, history, and the orders for workflows.

use std::io::Write;
use std::process::ExitCode;

use api::paths::of_workflow;
use api::{Cancelled, HistoryEntry, WorkflowChange, WorkflowOrder, WorkflowOrdered};
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use model::ObjectName;
use reqwest::Method;

use super::connection::Connection;
use super::output::{Done, Format, Output, Results};
use super::resources::{Kind, name_of};
use super::scope::{Scope, Target, Usage, Which};
use super::table::{clean, print};
use super::{ServerArgs, escape, kube, show};

#[derive(Subcommand, Debug)]
pub enum WorkflowCommand {
    /// Show every action with state, attempts and duration
    Show(show::ShowArgs),
    /// Print its event log, with times
    History {
        /// NAME or NAMESPACE/NAME
        name: String,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
        #[command(flatten)]
        scope: Namespace,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Hand out no further action; the running action continues to its end
    Pause(OrderArgs),
    /// Continue after a pause
    Resume(OrderArgs),
    /// Continue after a failure, a timeout or a cancellation; its machines boot the ramdisk again
    Retry {
        /// Continue from this action instead of the failed one: ACTION, or TASK/ACTION
        #[arg(long, value_name = "ACTION")]
        from: Option<String>,
        #[command(flatten)]
        args: OrderArgs,
    },
    /// Run a workflow that has ended once more, as a new Workflow
    Rerun(OrderArgs),
    /// Cancel it; the machine stops the running action
    Cancel(CancelArgs),
}

/// The namespace of one name.
#[derive(Args, Debug, Clone, Default)]
pub struct Namespace {
    /// Namespace of a name that has none
    #[arg(short, long)]
    pub namespace: Option<String>,
}

impl Namespace {
    pub fn name(&self, word: &str, server: &Connection) -> Result<ObjectName, Usage> {
        Scope { namespace: self.namespace.clone(), ..Scope::default() }.name(word, server.namespace())
    }
}

#[derive(Args, Debug)]
pub struct OrderArgs {
    /// NAME or NAMESPACE/NAME; without names those of a selector, or --all
    names: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// All workflows of the namespace
    #[arg(long)]
    all: bool,
    /// One line that the workflow's log will show
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub struct CancelArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Do not wait for the machine's agent; for machines that no longer exist
    #[arg(long)]
    now: bool,
}

pub(super) async fn run(command: WorkflowCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (change, args) = match command {
        WorkflowCommand::Show(args) => return show::run(args, out).await,
        WorkflowCommand::History { name, output, scope, server } => {
            let server = Connection::to(&server)?;
            return history(&server, &scope.name(&name, &server)?, output, out).await;
        }
        WorkflowCommand::Cancel(args) => return cancel(args, out).await,
        WorkflowCommand::Pause(args) => (WorkflowChange::Pause, args),
        WorkflowCommand::Resume(args) => (WorkflowChange::Resume, args),
        WorkflowCommand::Retry { from, args } => (WorkflowChange::Retry { from }, args),
        WorkflowCommand::Rerun(args) => (WorkflowChange::Rerun, args),
    };
    let order = async |server: &Connection, name: &ObjectName| ordered(server, name, change.clone(), args.reason.clone()).await;
    each(&args, order, out).await
}

pub(super) async fn cancel(CancelArgs { order: args, now }: CancelArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let order = async |server: &Connection, name: &ObjectName| cancelled(server, name, args.reason.as_deref(), now).await;
    each(&args, order, out).await
}

/// The word of a change, and the line for people.
type Ordered = (ObjectName, &'static str, String);

/// Gives the order for each of the workflows that are meant.
async fn each(
    args: &OrderArgs,
    order: impl AsyncFn(&Connection, &ObjectName) -> anyhow::Result<Ordered>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let names = meant(&server, &args.names, &args.scope, args.all).await?;
    if names.is_empty() {
        writeln!(std::io::stderr(), "no Workflow is selected")?;
    }
    let mut results = Results::new(args.output, out);
    for name in &names {
        match order(&server, name).await {
            Ok((name, change, message)) => {
                let reference = Kind::named("workflow").map(|kind| kind.reference(&name.name)).unwrap_or_default();
                let (kind, change) = ("Workflow".to_owned(), change.to_owned());
                results.done(Done { reference, kind, name: name.to_string(), change, message: message.clone() }, &message)?;
            }
            Err(error) if names.len() == 1 => return Err(error),
            Err(error) => results.refused("Workflow", &name.to_string(), &error)?,
        }
    }
    results.end()
}

/// The workflows of names or of a selector, in both versions.
async fn meant(server: &Connection, names: &[String], scope: &Scope, all: bool) -> anyhow::Result<Vec<ObjectName>> {
    if !names.is_empty() {
        if all || scope.is_selective() || scope.all_namespaces {
            return Err(Usage("names exclude a selector, --all and -A".to_owned()).into());
        }
        return Ok(names.iter().map(|word| scope.name(word, server.namespace())).collect::<Result<_, _>>()?);
    }
    if !all && !scope.is_selective() {
        return Err(Usage("name the workflows, select them with -l, or give --all".to_owned()).into());
    }
    let mut found = Vec::new();
    for kind in ["workflows", "workflows.v1alpha2"].into_iter().filter_map(Kind::named) {
        let target = Target { kind, which: Which::Listed(scope.listed(server.namespace())) };
        found.extend(kube::all_of(server, &target, scope).await?.iter().map(name_of));
    }
    Ok(found)
}

/// Gives an order for a workflow.
async fn ordered(
    server: &Connection,
    name: &ObjectName,
    change: WorkflowChange,
    reason: Option<String>,
) -> anyhow::Result<Ordered> {
    let word = match change {
        WorkflowChange::Pause => "paused",
        WorkflowChange::Resume => "resumed",
        WorkflowChange::Retry { .. } => "retried",
        WorkflowChange::Rerun => "rerun",
    };
    let by = std::env::var("USER").unwrap_or_default();
    let body = serde_json::to_string(&WorkflowOrder { change, by, reason: reason.unwrap_or_default() })?;
    let answer = server.call(Method::POST, &of_workflow(name, "change"), body).await?;
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    let WorkflowOrdered { workflow, message } = answer.read()?;
    let Ok(concerned) = workflow.parse();
    Ok((concerned, word, format!("Workflow {workflow}: {message}")))
}

/// A workflow without a running action ends at once. Otherwise it ends when its agent has stopped the action.
async fn cancelled(server: &Connection, name: &ObjectName, reason: Option<&str>, now: bool) -> anyhow::Result<Ordered> {
    let path = format!("{}?now={now}", of_workflow(name, "cancel"));
    let answer = server.call(Method::POST, &path, reason.unwrap_or_default().to_owned()).await?;
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    Ok(match answer.read::<Cancelled>()?.running {
        None => (name.clone(), "cancelled", format!("Workflow {name} cancelled")),
        Some(running) => {
            let (agent, action) = (running.agent, running.action);
            let line = format!("Workflow {name} ends when agent {agent} has stopped action {action}; --now does not wait for it");
            (name.clone(), "cancelling", line)
        }
    })
}

/// Prints the event log, oldest entry first.
async fn history(server: &Connection, name: &ObjectName, output: Format, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let entries = entries(server, name).await?;
    match output {
        Format::Json => writeln!(out, "{}", escape::json(&entries, false)?)?,
        Format::Yaml => write!(out, "{}", escape::yaml(&entries)?)?,
        Format::Text => print_entries(&entries, &TimeZone::system(), out)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn entries(server: &Connection, name: &ObjectName) -> anyhow::Result<Vec<HistoryEntry>> {
    server.get(&of_workflow(name, "history")).await
}

pub(super) fn print_entries(entries: &[HistoryEntry], zone: &TimeZone, out: &mut dyn Write) -> std::io::Result<()> {
    let row = |entry: &HistoryEntry| {
        let time = entry.time.to_zoned(zone.clone()).strftime("%F %T%.3f").to_string();
        [entry.number.to_string(), time, entry.event.clone(), entry.text.clone()]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    if let Some(lost) = entries.first().map(|first| first.number - 1).filter(|lost| *lost > 0) {
        writeln!(out, "{}", clean(&format!("{lost} older entries are not shown")))?;
    }
    print(out, ["NO", "TIME", "EVENT", "WHAT HAPPENED"], &rows)
}
