//! The operator's commands to a running server. Each is a module with its arguments.

mod about_machine;
mod apply;
mod backup;
mod columns;
mod compare;
mod connection;
mod delete;
mod describe;
mod diff;
mod escape;
mod events;
mod explain;
mod export;
mod get;
mod import;
mod kube;
mod login;
mod logs;
mod machine;
mod moment;
mod output;
pub mod render;
mod resources;
mod rollout;
mod scope;
mod show;
mod sources;
mod table;
mod transfer;
mod workflow;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use model::{Mistake, Object};

pub use connection::Connection;
pub use escape::clean_lines;
pub use explain::{ExplainArgs, explain, show_boots};
pub use get::all_hardware;
pub use output::{Format, Output, print_value};
pub use scope::Usage;
pub use table::{local, print as print_table};
pub use workflow::Namespace;

#[derive(Subcommand, Debug)]
pub enum ClientCommand {
    /// Store Hardware, Templates, Workflows and objects of v1alpha2 from YAML files: all of them, or none
    Apply(apply::ApplyArgs),
    /// Show what apply would change; exits with 1 if something would
    Diff(diff::DiffArgs),
    /// List objects, or print some
    Get(get::GetArgs),
    /// Show objects with their machine, actions, log and events
    Describe(describe::DescribeArgs),
    /// Delete objects: by name, by selector, or those of YAML files, Workflows first
    Delete(delete::DeleteArgs),
    /// Cancel workflows; the machine stops the running action
    Cancel(workflow::CancelArgs),
    /// Show workflows, or give an order for them
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// Show machines, or order what they should boot
    Machine(machine::MachineArgs),
    /// One order for many machines, in waves
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Print what the actions of a workflow said, or what a machine said outside of workflows
    Logs(logs::LogsArgs),
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
        #[arg(short, long, value_enum, default_value_t = export::Form::Yaml)]
        output: export::Form,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Store objects of another server, of `kubectl get -o yaml` too; finished Workflows stay finished, and nothing is ordered
    Import {
        /// A file, a folder of *.yaml files, or - for standard input
        #[arg(short, long = "file", value_name = "FILE", required = true, num_args = 1..)]
        files: Vec<PathBuf>,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print what has happened, and follow what happens
    Events(events::EventsArgs),
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
    /// Skip kinds that are not Tinkerbell's, with a line each; otherwise they are mistakes
    #[arg(long)]
    pub skip_foreign: bool,
}

/// Runs a command. The exit code shows scripts whether everything was right. Errors are for `main` to print.
///
/// # Errors
/// When the command failed.
pub fn run(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let is_diff = matches!(command, ClientCommand::Diff(_));
    match block_on(execute(command, &mut io::stdout().lock())) {
        // Its code 1 says that there are differences.
        Err(error) if is_diff && !is_closed_pipe(&error) => {
            eprintln!("thimble: {}", clean_lines(&machine_words(&error)));
            Ok(ExitCode::from(diff::TROUBLE))
        }
        done => done,
    }
}

/// Runs calls to a server.
///
/// # Errors
/// Theirs.
pub fn block_on<T>(calls: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the executor")?.block_on(calls)
}

fn machine_words(error: &anyhow::Error) -> String {
    ::machine::Chain(error.as_ref()).to_string()
}

/// Whether the reader of the output has ended, as in `thimble events | head`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn execute(command: ClientCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        ClientCommand::Apply(args) => apply::run(args, out).await,
        ClientCommand::Diff(args) => diff::run(args, out).await,
        ClientCommand::Get(args) => get::run(args, out).await,
        ClientCommand::Describe(args) => describe::run(args, out).await,
        ClientCommand::Delete(args) => delete::run(args, out).await,
        ClientCommand::Cancel(args) => workflow::cancel(args, out).await,
        ClientCommand::Workflow(command) => workflow::run(command, out).await,
        ClientCommand::Machine(args) => machine::run(args, out).await,
        ClientCommand::Backup { file, force, server } => backup::run(&Connection::to(&server)?, &file, force, out).await,
        ClientCommand::Export { kinds, namespace, selector, output, server } => {
            export::run(&Connection::to(&server)?, &export::Selection { kinds, namespace, selector }, output, out).await
        }
        ClientCommand::Import { files, output, server } => import::run(&Connection::to(&server)?, &files, output, out).await,
        ClientCommand::Rollout(command) => rollout::run(command, out).await,
        ClientCommand::Logs(args) => logs::run(args, out).await,
        ClientCommand::Events(args) => events::run(args, out).await,
    }
}

/// All objects of all files, or else all their mistakes.
pub fn read(files: &Files) -> anyhow::Result<Result<Vec<Object>, Vec<Mistake>>> {
    Ok(sources::texts_and_objects(files)?.map(|(_, objects)| objects))
}

/// One line a mistake.
pub fn print_mistakes(out: &mut dyn Write, mistakes: &[Mistake]) -> anyhow::Result<ExitCode> {
    for mistake in mistakes {
        writeln!(out, "{}", escape::clean(&mistake.to_string()))?;
    }
    let count = mistakes.len();
    writeln!(out, "{count} {}", if count == 1 { "mistake" } else { "mistakes" })?;
    Ok(ExitCode::FAILURE)
}
