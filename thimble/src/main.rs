//! The one program a person installs: the daemons, the image builder and the client of the API.

mod agent;
mod boots_command;
mod client;
mod config;
mod data_folder;
mod doctor;
mod image;
mod kubeconfig;
mod lint;
mod log_format;
mod manual;
mod reload;
mod render;
mod restore;
mod sandbox;
mod starting_set;
mod sys;
mod token;
mod up;
mod validate;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use machine::Chain;
use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::Builder;

use config::{Config, Mistakes, Settings};
use log_format::LogFormat;
use reload::Sources;

#[derive(Parser)]
#[command(name = "thimble", version, about = "Installs operating systems on machines that have nothing yet")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented starting set: settings, Hardware, Template and Workflow
    Init(starting_set::InitArguments),
    /// Server and boots in one process: everything that a provisioning host needs
    Up(Daemon),
    /// Only the workflow service and the API
    Server(Daemon),
    /// Only DHCP, TFTP, HTTP files and syslog; or why a machine does not boot
    Boots(Box<boots_command::BootsArguments>),
    /// Run workflow actions on this host, for a server or from a file; `thimble agent --help` lists its flags
    #[command(disable_help_flag = true)]
    Agent {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Make ramdisks and action images
    #[command(subcommand)]
    Image(image::ImageCommand),
    #[command(flatten)]
    Client(client::ClientCommand),
    /// Make a backup the store of this host's server, which must be stopped
    Restore(restore::RestoreArguments),
    /// Make, list and delete the tokens with which other people and hosts call this server
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print a kubeconfig for this server, with a new token or certificate in it
    Kubeconfig(kubeconfig::Arguments),
    /// Report what Tinkerbell would refuse or silently ignore in YAML files; exits with 1 if it would refuse something
    Lint(lint::Arguments),
    /// Check YAML files without a server: keys, values, templates
    Validate {
        #[command(flatten)]
        files: client::Files,
    },
    /// Show the actions of workflows as they are rendered, from files or from the server
    Render(render::Arguments),
    /// Print the completion script of a shell
    Completion(manual::CompletionArguments),
    /// Write the man pages
    #[command(hide = true)]
    Man(manual::ManArguments),
}

#[derive(Args)]
struct Daemon {
    /// YAML file with the settings below, by their names
    #[arg(long, env = "THIMBLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Daemon {
    fn sources(self, check: fn(Settings) -> Result<Config, Mistakes>) -> Sources {
        Sources { given: self.settings, file: self.config, otherwise: Settings::default(), check }
    }
}

/// Of the nice value: a third of the processor time of the other threads.
const LOWER_BY: i32 = 5;

/// The exit code of a command line that means nothing, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // This fails only if a provider is installed already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // This comes before clap, because the agent has Go's flags, and the container's child must start fast.
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(words) = agent::words(&args) {
        return agent::main(words);
    }
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if client::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // The text may have words of a machine in it.
            eprintln!("thimble: {}", client::clean_lines(&Chain(error.as_ref()).to_string()));
            if error.is::<client::Usage>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(arguments) => starting_set::run(&arguments, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Up(daemon) => {
            let sources = daemon.sources(Settings::check);
            let config = sources.read()?;
            let confine = || sandbox::drop_rights(&config.folders());
            serve(config.log_format, confine, beside_firmware, up::up(config.clone(), sources))
        }
        Command::Server(daemon) => {
            let sources = daemon.sources(Settings::check_server);
            let config = sources.read()?;
            let confine = || sandbox::drop_rights(&config.folders());
            serve(config.log_format, confine, || Ok(Builder::new_multi_thread()), up::server(config.clone(), sources))
        }
        Command::Boots(arguments) => boots_command::run(*arguments),
        Command::Agent { flags } => Ok(agent::main(flags)),
        Command::Image(command) => image::run(command).map(|()| ExitCode::SUCCESS),
        Command::Client(command) => client::run(command),
        Command::Restore(arguments) => restore::run(&arguments, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Token(command) => token::run(command, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Kubeconfig(arguments) => kubeconfig::run(&arguments, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Command::Lint(arguments) => lint::run(&arguments, &mut std::io::stdout().lock()),
        Command::Validate { files } => validate::run(&files, &mut std::io::stdout().lock()),
        Command::Render(arguments) => render::run(&arguments, &mut std::io::stdout().lock()),
        Command::Completion(arguments) => {
            manual::completion(Cli::command(), &arguments, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS)
        }
        Command::Man(arguments) => manual::man(Cli::command(), &arguments).map(|()| ExitCode::SUCCESS),
    }
}

/// An executor that leaves a busy processor to the threads of boots first. What firmware waits for has limits of seconds, and a
/// ramdisk or a report comes a little later.
fn beside_firmware() -> anyhow::Result<Builder> {
    boots::keep_priority().context("cannot start a thread")?;
    let lower = getpriority_process(None).context("cannot read the priority of this process")? + LOWER_BY;
    let mut executor = Builder::new_multi_thread();
    executor.on_thread_start(move || {
        let _ = setpriority_process(None, lower); // of this thread; one that cannot have it is as before
    });
    Ok(executor)
}

/// The threads of the executor have what this thread keeps.
fn serve(
    format: LogFormat,
    confine: impl FnOnce() -> anyhow::Result<()>,
    executor: impl FnOnce() -> anyhow::Result<Builder>,
    daemon: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    sys::save_memory();
    log_format::start(format);
    server::allow_many_connections();
    confine()?;
    let executor = executor()?.enable_all().build().context("cannot start the executor")?;
    match executor.block_on(daemon) {
        Err(error) if format == LogFormat::Json => {
            log::error!("{}", Chain(error.as_ref()));
            Ok(ExitCode::FAILURE)
        }
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}
