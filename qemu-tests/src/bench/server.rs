//! `cargo lab bench server`: runs the server's benchmark on this host.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use crate::setup::workspace;

pub fn run() -> Result<ExitCode> {
    let root = workspace()?;
    println!("== the server with 10000 Hardware and 10000 Workflows, compared with etcd if that is in the PATH");
    cargo::run(&root, &["bench", "--package", "server", "--bench", "server"], &[])?;
    Ok(ExitCode::SUCCESS)
}
