//! The lab: `cargo lab demo` shows a machine being installed, `cargo lab test` runs every test, `cargo lab bench` measures.

mod artifacts;
mod bench;
mod board;
mod busybox;
mod cargo;
mod checks;
mod clean_host;
mod cloud_init;
mod command;
mod connect_proxy;
mod crowd;
mod demo;
mod dhcp;
mod disk_image;
mod equipment;
mod feed;
mod fuzz;
mod http;
mod install;
mod installations;
mod kit;
mod ladder;
mod machine;
mod many;
mod matrix;
mod namespace;
mod objects;
mod oci;
mod package;
mod peers;
mod prepare;
mod provisioner;
mod proxy;
mod registry;
mod scenarios;
mod scene;
mod screen;
mod segment;
mod serial;
mod servers;
mod setup;
mod shell;
mod soak;
mod storm;
mod suite;
mod timeline;
mod tpm;
mod verify;
mod view;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use prepare::Purpose;

#[derive(Parser)]
#[command(name = "cargo lab", about = "Thimble's lab: real firmware, kernel, registry and disks in virtual machines")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A blank machine network-boots, installs Debian through a workflow, and boots it
    Demo,
    /// Every test: format, lints, units, fuzz targets and scenarios in virtual machines
    Test {
        /// Only tests with these words in their names
        filter: Option<String>,
        /// Show the names and run nothing
        #[arg(long)]
        list: bool,
        /// Use the programs and images of the last run unchanged
        #[arg(long)]
        reuse: bool,
        /// The scenarios whose feature is not finished, instead of the others
        #[arg(long)]
        awaited: bool,
    },
    /// Machines of many parts, firmware, network cards and disks in every pair; then whole installations of every kind
    Matrix(many::Arguments),
    /// boots with firmware, DHCP clients and relays of the field, in every mode, alone and beside dnsmasq and Kea
    Peers(peers::Arguments),
    /// Machines that get their network from each common DHCP server, and from a faulty one
    Dhcp(many::Arguments),
    /// Machines that lose power at random moments: no work may be lost or done twice
    Soak(soak::Arguments),
    /// Thousands of simulated machines that are switched on at once, with faults
    Storm(storm::Arguments),
    /// The same work in less and less memory
    Ladder(ladder::Arguments),
    /// Boot time and memory, as a table and as JSON
    Bench(bench::Arguments),
    /// Each fuzz target for a number of inputs, with a table of executions, rate and crashes
    Fuzz(fuzz::Arguments),
    /// A machine that waits for work, and a shell on its segment
    Shell,
    /// Install the Debian packages that the lab needs, for demo, tests and benchmarks
    Prepare,
    /// Build everything that a run needs, and no more
    Build,
    /// Build the Debian package of Thimble
    Package(package::Arguments),
    /// Run the lab again in a separate network segment
    #[command(hide = true)]
    Segment { args: Vec<String> },
    #[command(hide = true)]
    DemoInside,
    #[command(hide = true)]
    ShellInside,
    #[command(hide = true)]
    Scenario { name: String },
    #[command(hide = true)]
    DhcpServer { network: String, mac: String, fault: String },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nlab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo => demo::outside(),
        Command::Test { list: true, .. } => {
            suite::list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Test { filter, reuse, awaited, .. } => suite::run(filter.as_deref(), reuse, awaited),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Dhcp(arguments) => servers::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Storm(arguments) => storm::run(&arguments),
        Command::Ladder(arguments) => ladder::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Shell => shell::outside(),
        Command::Prepare => prepare::alone(&[Purpose::Demo, Purpose::Test, Purpose::Bench]).map(|()| ExitCode::SUCCESS),
        Command::Build => setup::Setup::build(Purpose::Test, &board::Board::new("== ")).map(|_| ExitCode::SUCCESS),
        Command::Package(arguments) => package::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Segment { args } => segment::enter(&args).map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Command::DemoInside => demo::inside(),
        Command::ShellInside => shell::inside(),
        Command::Scenario { name } => suite::inside(&name),
        Command::DhcpServer { network, mac, fault } => servers::serve(&network, &mac, &fault).map(|()| ExitCode::SUCCESS),
    }
}
