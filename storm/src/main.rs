//! The driver: thousands of simulated machines in one process, each with its own address, from one network namespace.
//! `cargo lab storm` starts it.

mod agent;
mod driver;
mod http;
mod life;
mod rogue;
mod tally;
mod tftp_socket;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use storm::faults::Faults;
use storm::simulated::Habits;

/// More than all machines of a site need, and less than what the kernel allows (`fs.nr_open`).
const FILES: u64 = 1 << 19;

#[derive(Parser)]
#[command(name = "storm", about = "Simulated machines that speak real packets; `cargo lab storm` starts them")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Switches on the machines and waits for their end
    Machines(Machines),
    /// A second DHCP server, which knows no machine and no boot file
    Rogue {
        #[arg(long)]
        interface: String,
        /// The share of the DISCOVERs that it answers
        #[arg(long)]
        share: f64,
    },
}

#[derive(Args)]
struct Machines {
    #[arg(long)]
    count: u32,
    #[arg(long)]
    interface: String,
    /// The faults as YAML
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Seconds within which the machines are switched on
    #[arg(long)]
    within: f64,
    /// Seconds after which a machine that has not ended is stuck
    #[arg(long)]
    limit: f64,
    /// Seconds from the start of a machine's kernel to its first packet
    #[arg(long)]
    kernel: f64,
    /// Seconds of an action
    #[arg(long)]
    work: f64,
    /// Lines that an action writes
    #[arg(long)]
    lines: u32,
    #[arg(long)]
    seed: u64,
    /// Where the result goes, as JSON
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A machine has several sockets. Not every root may go beyond the limit that it has been given.
fn allow_many_files() -> std::io::Result<()> {
    let given = getrlimit(Resource::Nofile).maximum;
    let many = Some(FILES.max(given.unwrap_or(FILES)));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: many, maximum: many });
    Ok(raised.or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: given, maximum: given }))?)
}

fn run(command: Command) -> anyhow::Result<()> {
    // One thread, because the server needs the other core.
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the executor")?;
    match command {
        Command::Rogue { interface, share } => executor.block_on(rogue::serve(&interface, share)),
        Command::Machines(arguments) => {
            allow_many_files().context("cannot raise the limit of open files")?;
            let faults = match &arguments.faults {
                Some(path) => {
                    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                    Faults::parse(&text).with_context(|| format!("{}", path.display()))?
                }
                None => Faults::default(),
            };
            let seconds = Duration::from_secs_f64;
            let plan = driver::Plan {
                count: arguments.count,
                interface: arguments.interface,
                faults,
                within: seconds(arguments.within),
                limit: seconds(arguments.limit),
                habits: Habits { kernel: seconds(arguments.kernel), work: seconds(arguments.work), lines: arguments.lines },
                seed: arguments.seed,
            };
            let outcome = executor.block_on(driver::run(plan))?;
            let text = serde_json::to_vec(&outcome).context("cannot write the result as JSON")?;
            fs::write(&arguments.out, text).with_context(|| format!("cannot write {}", arguments.out.display()))
        }
    }
}
