//! The lab: `cargo lab demo` shows a machine being installed, `cargo lab test` runs every test, `cargo lab bench` measures.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod artifacts;
mod command;
mod disk_image;
mod http;
mod machine;
mod oci;
mod prepare;
mod proxy;
mod registry;
mod segment;
mod serial;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo lab", about = "Thimble's lab: real firmware, kernel, registry and disks in virtual machines")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that the lab needs
    Prepare,
    /// Make the kernel package and the Debian disk image
    Artifacts,
    /// Run the lab again in a network segment of its own
    #[command(hide = true)]
    Segment { args: Vec<String> },
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
        Command::Prepare => prepare::run().map(|()| ExitCode::SUCCESS),
        Command::Artifacts => {
            let made = artifacts::build(std::path::Path::new("target/lab"), &|text| println!("{text}"))?;
            println!("{made:#?}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Segment { args } => segment::enter(&args).map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1))),
    }
}
