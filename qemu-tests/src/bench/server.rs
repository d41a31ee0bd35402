//! `cargo lab bench server`: the server's own benchmark, on this host.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use crate::setup::workspace;

pub fn run() -> Result<ExitCode> {
    let root = workspace()?;
    println!("== the server beside 10000 Hardware and 10000 Workflows; with etcd in the PATH also beside that");
    cargo::run(&root, &["bench", "--package", "server", "--bench", "server"], &[])?;
    Ok(ExitCode::SUCCESS)
}
