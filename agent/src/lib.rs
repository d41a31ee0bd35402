//! Runs workflow actions as OCI containers, one at a time: ask, report RUNNING, execute, report until accepted.
//!
//! The same program plays two roles. `run` is the agent itself. `container` is hidden: a single-threaded child
//! that owns one container, because libcontainer clones, and cloning out of a threaded process is not safe.

mod action;
mod backoff;
pub mod exit;
mod image;
mod outcome;
mod report;
mod role;
pub mod settings;
mod sink;
mod tls;

use std::ffi::OsString;
use std::process::ExitCode;

use role::Role;

/// The agent's `main`; `args` come without the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match role::choose(&args) {
        Ok(Role::Run(flags)) => run(&flags),
        Ok(Role::Container { .. }) => ExitCode::from(exit::USAGE),
        Ok(Role::Version) => {
            println!("thimble agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Err(unknown) => {
            eprintln!("agent: {unknown}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn run(flags: &[OsString]) -> ExitCode {
    let settings = match settings::Settings::read(flags, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("agent: {mistakes}");
            return ExitCode::from(exit::USAGE);
        }
    };
    sink::install(&settings);
    ExitCode::from(exit::STOP)
}
