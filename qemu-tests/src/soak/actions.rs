//! The agent's endurance test, long and optimised, on this host in a separate mount namespace.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::cargo;
use crate::prepare::{self, Purpose};
use crate::setup::workspace;

const TEST: [&str; 6] = ["test", "--release", "--package", "agent", "--test", "endurance"];
/// Ten times what an action takes.
const EACH: Duration = Duration::from_millis(250);
const AROUND: Duration = Duration::from_secs(5 * 60);

pub fn run(count: u32) -> Result<ExitCode> {
    prepare::alone(&[Purpose::Test])?;
    let root = workspace()?;
    println!("== building the agent and its test");
    cargo::run(&root, &[&TEST[..], &["--no-run"]].concat(), &[])?;
    println!("== {count} actions");
    let limit = AROUND + EACH * count;
    let count = count.to_string();
    cargo::run_within(limit, &root, &[&TEST[..], &["--", "--nocapture"]].concat(), &[("AGENT_ACTIONS", &count)])?;
    Ok(ExitCode::SUCCESS)
}
