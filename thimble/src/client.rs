//! What an operator asks of a running server: apply, get, delete, cancel, workflow show, machine, events.

mod connection;
mod events;
mod machine;
mod objects;
mod show;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use model::{FilesError, Kind, Mistake, Object, ObjectName};

use connection::Connection;

#[derive(Subcommand, Debug)]
pub enum ClientCommand {
    /// Store Hardware, Templates and Workflows from YAML files: all of them, or none
    Apply {
        #[command(flatten)]
        files: Files,
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
    /// Remove an object
    Delete {
        kind: KindWord,
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End a workflow before its end; the machine stops the action that runs
    Cancel {
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        /// One line that the workflow's message will show
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Do not wait for the machine's agent: for machines that no longer exist
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Look at one workflow
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Look at one machine: what it shall boot, when its agent called, how its boot went, what it lacks
    Machine {
        /// MAC or IP address of one of its interfaces
        address: String,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Follow what happens
    Events {
        /// Begin after this revision; without it with what happens from now on
        #[arg(long, value_name = "REVISION")]
        since: Option<u64>,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Subcommand, Debug)]
pub enum WorkflowCommand {
    /// Every action with state, attempts and duration
    Show {
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        /// Follow it to its end; the exit code is 0 if it succeeded
        #[arg(short, long)]
        watch: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Args, Debug)]
pub struct ServerArgs {
    /// Where the server answers
    #[arg(long = "server", env = "THIMBLE_SERVER", value_name = "URL", default_value_t = format!("http://127.0.0.1:{}", ::machine::ports::HTTP))]
    url: String,
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
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Hardware => Self::Hardware,
            KindWord::Templates => Self::Template,
            KindWord::Workflows => Self::Workflow,
        }
    }
}

/// Runs a command. The exit code shows scripts whether all was well; errors are for `main` to print.
///
/// # Errors
/// When the command could not do its work.
pub fn run(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the executor")?;
    match executor.block_on(execute(command, &mut io::stdout().lock())) {
        Err(error) if pipe_closed(&error) => Ok(ExitCode::SUCCESS), // as in `thimble events | head`
        done => done,
    }
}

fn pipe_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn execute(command: ClientCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        ClientCommand::Apply { files, server } => objects::apply(&Connection::to(&server.url)?, &files.files, out).await,
        ClientCommand::Get { kind, name, output, server } => {
            objects::get(&Connection::to(&server.url)?, kind.into(), name, output, out).await
        }
        ClientCommand::Delete { kind, name, server } => {
            objects::delete(&Connection::to(&server.url)?, kind.into(), &name, out).await
        }
        ClientCommand::Cancel { name, reason, now, server } => {
            objects::cancel(&Connection::to(&server.url)?, &name, reason.as_deref(), now, out).await
        }
        ClientCommand::Workflow(WorkflowCommand::Show { name, watch, server }) => {
            show::run(&Connection::to(&server.url)?, &name, watch, out).await
        }
        ClientCommand::Machine { address, output, server } => {
            machine::run(&Connection::to(&server.url)?, &address, output, out).await
        }
        ClientCommand::Events { since, output, server } => {
            events::follow(&Connection::to(&server.url)?, since, output, out).await
        }
    }
}

/// All objects of all files, or all their mistakes.
pub fn read(files: &[PathBuf]) -> anyhow::Result<Result<Vec<Object>, Vec<Mistake>>> {
    match model::read_files(files) {
        Ok(objects) if objects.is_empty() => {
            bail!(
                "there are no objects in {}",
                files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            )
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
