//! The operator's commands to a running server: apply, get, delete, cancel, workflow, machine, rollout, events, logs.

mod backup;
mod connection;
mod events;
mod export;
mod import;
mod login;
mod logs;
mod machine;
mod objects;
mod rollout;
mod show;
mod sources;
mod table;
mod transfer;
mod workflow;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::WorkflowChange;
use clap::{Args, Subcommand, ValueEnum};
use model::{FilesError, Kind, Mistake, Object, ObjectName};

use connection::Connection;

#[derive(Subcommand, Debug)]
pub enum ClientCommand {
    /// Store Hardware, Templates, Workflows and objects of v1alpha2 from YAML files: all of them, or none
    Apply {
        #[command(flatten)]
        files: Files,
        /// Do not ask before several machines are installed
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List objects, or print one
    Get {
        kind: KindWord,
        /// NAME or NAMESPACE/NAME
        name: Option<ObjectName>,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete objects: by name, or those of YAML files, Workflows first
    Delete {
        #[arg(required_unless_present = "files")]
        kind: Option<KindWord>,
        /// NAME or NAMESPACE/NAME
        #[arg(required_unless_present = "files")]
        names: Vec<ObjectName>,
        /// A file, a folder of *.yaml files, or - for standard input
        #[arg(short, long = "file", value_name = "FILE", num_args = 1.., conflicts_with_all = ["kind", "names"])]
        files: Vec<PathBuf>,
        /// Also delete Hardware and Templates that unfinished workflows use
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Cancel a workflow; the machine stops the running action
    Cancel(CancelArgs),
    /// Show one workflow, or give an order for it
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Show one machine: what it should boot, when its agent called, how its boot went, what it lacks. Or order what it
    /// should boot
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Machine {
        #[command(subcommand)]
        order: Option<MachineOrder>,
        /// MAC or IP address of one of its interfaces, or the name of its Hardware
        #[arg(required = true)]
        address: Option<String>,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// One order for many machines, in waves
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Print what the actions of a workflow said, or what a machine said outside of workflows
    Logs {
        /// NAME or NAMESPACE/NAME of a Workflow; with --machine of a Hardware
        name: ObjectName,
        /// Only the lines of this action
        #[arg(conflicts_with = "machine")]
        action: Option<String>,
        /// NAME is that of a Hardware
        #[arg(long)]
        machine: bool,
        /// Continue with new lines until the workflow is over
        #[arg(short, long)]
        follow: bool,
        /// Only lines since a time span ago (90s, 10m, 2h, 3d), or since a time (2026-11-29T11:00:00Z)
        #[arg(long, value_name = "TIME")]
        since: Option<logs::Since>,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Write the whole store of the running server to a file, from which `thimble restore` makes it again
    Backup {
        /// It is readable by its owner only: the secrets of the server are in it
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print objects as YAML that `thimble import` and `kubectl apply` take, without what belongs to this server
    Export {
        /// hardware, templates, workflows, secrets, machinestates, ...; without one all kinds
        kinds: Vec<String>,
        /// Only of this namespace
        #[arg(short, long)]
        namespace: Option<String>,
        /// Only objects with these labels, as in `rack=7,disk!=old`
        #[arg(short = 'l', long)]
        selector: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Store objects of another server, of `kubectl get -o yaml` too; finished Workflows stay finished, and nothing is ordered
    Import {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Follow the events
    Events {
        /// Start after this event's number; without it, print only new events
        #[arg(long, value_name = "REVISION")]
        since: Option<u64>,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Subcommand, Debug)]
pub enum MachineOrder {
    /// List machines that wait for approval: discovered or held ones
    List {
        /// List all machines that have an intent
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Boot the ramdisk with rescue, without work; an unfinished workflow waits for reinstall
    Rescue(OrderArgs),
    /// Boot nothing, until approve or another order
    Hold(OrderArgs),
    /// Boot its disk
    Local(OrderArgs),
    /// Continue its unfinished workflow, or run the newest one once more as a new Workflow
    Reinstall(OrderArgs),
    /// End a hold, or approve a discovered machine; its orders then continue
    Approve(OrderArgs),
}

#[derive(Args, Debug)]
pub struct OrderArgs {
    /// MAC or IP address of one of its interfaces, or the name of its Hardware
    machine: String,
    /// One line that the machine's console and `thimble machine` will show
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl MachineOrder {
    async fn run(self, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
        let (order, args) = match self {
            Self::List { all, server } => return machine::list(&Connection::to(&server)?, all, out).await,
            Self::Rescue(args) => (api::OrderKind::Rescue, args),
            Self::Hold(args) => (api::OrderKind::Hold, args),
            Self::Local(args) => (api::OrderKind::Local, args),
            Self::Reinstall(args) => (api::OrderKind::Reinstall, args),
            Self::Approve(args) => (api::OrderKind::Approve, args),
        };
        machine::order(&Connection::to(&args.server)?, &args.machine, order, args.reason, out).await
    }
}

#[derive(Args, Debug)]
pub struct CancelArgs {
    /// NAME or NAMESPACE/NAME
    name: ObjectName,
    /// One line that the workflow's message will show
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not wait for the machine's agent; for machines that no longer exist
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub struct WorkflowArgs {
    /// NAME or NAMESPACE/NAME
    name: ObjectName,
    /// One line that the workflow's log will show
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Subcommand, Debug)]
pub enum WorkflowCommand {
    /// Show every action with state, attempts and duration
    Show {
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        /// Follow it to its end; the exit code is 0 if it succeeded
        #[arg(short, long)]
        watch: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print its event log, with times
    History {
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Hand out no further action; the running action continues to its end
    Pause(WorkflowArgs),
    /// Continue after a pause
    Resume(WorkflowArgs),
    /// Continue after a failure, a timeout or a cancellation; its machines boot the ramdisk again
    Retry {
        /// Continue from this action instead of the failed one: ACTION, or TASK/ACTION
        #[arg(long, value_name = "ACTION")]
        from: Option<String>,
        #[command(flatten)]
        args: WorkflowArgs,
    },
    /// Run a workflow that has ended once more, as a new Workflow
    Rerun(WorkflowArgs),
    /// Cancel it; the machine stops the running action
    Cancel(CancelArgs),
}

#[derive(Args, Debug)]
pub struct ServerArgs {
    /// URL of the server: https://HOST:6443, which needs the variable THIMBLE_TOKEN, or unix:PATH. The default is the socket
    /// of this host's server, /run/thimble/api.sock, which is for root
    #[arg(long = "server", env = "THIMBLE_SERVER", value_name = "URL")]
    url: Option<String>,
    /// Certificate authority of an https:// server
    #[arg(long, env = "THIMBLE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A kubeconfig, as `thimble kubeconfig` writes it, in place of URL, token and authority
    #[arg(long, env = "THIMBLE_KUBECONFIG", value_name = "FILE", conflicts_with_all = ["url", "ca_file"])]
    kubeconfig: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Files {
    /// A file, a folder of *.yaml files, or - for standard input
    #[arg(short, long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Table,
    Json,
    Yaml,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindWord {
    #[value(alias = "hw")]
    Hardware,
    #[value(alias = "template", alias = "tpl")]
    Templates,
    #[value(alias = "workflow", alias = "wf")]
    Workflows,
    #[value(name = "workflowrulesets", alias = "workflowruleset", alias = "wrs")]
    RuleSets,
    #[value(alias = "task")]
    Tasks,
    /// Workflows of v1alpha2
    #[value(name = "workflows.v1alpha2", alias = "workflow.v1alpha2")]
    WorkflowsV1alpha2,
    #[value(alias = "policy", alias = "pol")]
    Policies,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Hardware => Self::Hardware,
            KindWord::Templates => Self::Template,
            KindWord::Workflows => Self::Workflow,
            KindWord::RuleSets => Self::WorkflowRuleSet,
            KindWord::Tasks => Self::Task,
            KindWord::WorkflowsV1alpha2 => Self::WorkflowV1alpha2,
            KindWord::Policies => Self::Policy,
        }
    }
}

/// Runs a command. The exit code shows scripts whether everything was right. Errors are for `main` to print.
///
/// # Errors
/// When the command failed.
pub fn run(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the executor")?;
    match executor.block_on(execute(command, &mut io::stdout().lock())) {
        Err(error) if pipe_closed(&error) => Ok(ExitCode::SUCCESS), // the reader has ended, as in `thimble events | head`
        done => done,
    }
}

fn pipe_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn execute(command: ClientCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        ClientCommand::Apply { files, yes, server } => objects::apply(&Connection::to(&server)?, &files.files, yes, out).await,
        ClientCommand::Get { kind, name, output, server } => {
            objects::get(&Connection::to(&server)?, kind.into(), name, output, out).await
        }
        ClientCommand::Delete { kind, names, files, force, server } => {
            let named = kind.into_iter().flat_map(|kind| names.iter().map(move |name| (kind.into(), name.clone())));
            objects::delete(&Connection::to(&server)?, named.collect(), &files, force, out).await
        }
        ClientCommand::Cancel(args) => cancel(args, out).await,
        ClientCommand::Workflow(command) => of_workflow(command, out).await,
        ClientCommand::Machine { order: Some(order), .. } => order.run(out).await,
        ClientCommand::Machine { address, output, server, .. } => {
            machine::run(&Connection::to(&server)?, &address.unwrap_or_default(), output, out).await
        }
        ClientCommand::Backup { file, force, server } => backup::run(&Connection::to(&server)?, &file, force, out).await,
        ClientCommand::Export { kinds, namespace, selector, server } => {
            export::run(&Connection::to(&server)?, &export::Selection { kinds, namespace, selector }, out).await
        }
        ClientCommand::Import { files, server } => import::run(&Connection::to(&server)?, &files.files, out).await,
        ClientCommand::Rollout(command) => rollout::run(command, out).await,
        ClientCommand::Logs { name, action, machine, follow, since, output, server } => {
            let asked = logs::Asked { name, machine, action, follow, since, output };
            logs::run(&Connection::to(&server)?, &asked, out).await
        }
        ClientCommand::Events { since, output, server } => events::follow(&Connection::to(&server)?, since, output, out).await,
    }
}

async fn cancel(CancelArgs { name, reason, now, server }: CancelArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    objects::cancel(&Connection::to(&server)?, &name, reason.as_deref(), now, out).await
}

async fn of_workflow(command: WorkflowCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (change, WorkflowArgs { name, reason, server }) = match command {
        WorkflowCommand::Show { name, watch, server } => {
            return show::run(&Connection::to(&server)?, &name, watch, out).await;
        }
        WorkflowCommand::History { name, server } => return workflow::history(&Connection::to(&server)?, &name, out).await,
        WorkflowCommand::Cancel(args) => return cancel(args, out).await,
        WorkflowCommand::Pause(args) => (WorkflowChange::Pause, args),
        WorkflowCommand::Resume(args) => (WorkflowChange::Resume, args),
        WorkflowCommand::Retry { from, args } => (WorkflowChange::Retry { from }, args),
        WorkflowCommand::Rerun(args) => (WorkflowChange::Rerun, args),
    };
    workflow::change(&Connection::to(&server)?, &name, change, reason, out).await
}

/// All objects of all files, or else all their mistakes.
pub fn read(files: &[PathBuf]) -> anyhow::Result<Result<Vec<Object>, Vec<Mistake>>> {
    match model::read_files(files) {
        Ok(objects) if objects.is_empty() => {
            bail!("no objects in {}", files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))
        }
        Ok(objects) => Ok(Ok(objects)),
        Err(FilesError::Mistakes(mistakes)) => Ok(Err(mistakes.0)),
        Err(error @ FilesError::Unreadable { .. }) => Err(error.into()),
    }
}

pub fn print_mistakes(out: &mut dyn Write, mistakes: &[Mistake]) -> anyhow::Result<ExitCode> {
    for mistake in mistakes {
        writeln!(out, "{mistake}")?;
    }
    let count = mistakes.len();
    writeln!(out, "{count} {}", if count == 1 { "mistake" } else { "mistakes" })?;
    Ok(ExitCode::FAILURE)
}
