//! The server's test of SIGKILL at random moments, long, on this host.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::cargo;
use crate::setup::workspace;

const TEST: [&str; 5] = ["test", "--package", "server", "--test", "killed"];
/// Ten times what a kill takes, with the work before it.
const EACH: Duration = Duration::from_secs(4);
const AROUND: Duration = Duration::from_secs(5 * 60);

pub fn run(kills: u32, seed: Option<u64>) -> Result<ExitCode> {
    let root = workspace()?;
    println!("== building the server and its test");
    cargo::run(&root, &[&TEST[..], &["--no-run"]].concat(), &[])?;
    println!("== {kills} kills");
    let (limit, kills, seed) = (AROUND + EACH * kills, kills.to_string(), seed.map(|seed| seed.to_string()));
    let mut environment = vec![("THIMBLE_KILLS", kills.as_str())];
    environment.extend(seed.as_deref().map(|seed| ("THIMBLE_SEED", seed)));
    cargo::run_within(limit, &root, &[&TEST[..], &["--", "--nocapture"]].concat(), &environment)?;
    Ok(ExitCode::SUCCESS)
}
