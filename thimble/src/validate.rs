//! `thimble validate`: runs the server's checks of objects without a server.

use std::io::Write;
use std::process::ExitCode;

use crate::client::{Files, print_mistakes, read};

/// Also renders every workflow whose template and hardware are in the files.
pub fn run(files: &Files, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let changes = match read(files)?.and_then(server::validate) {
        Ok(changes) => changes,
        Err(mistakes) => return print_mistakes(out, &mistakes),
    };
    for changed in changes {
        let note = changed.problem.map_or_else(|| "ok".to_owned(), |problem| format!("ok, but {problem} in these files"));
        writeln!(out, "{} {} {}", changed.kind, changed.name, note.replace(", which does not exist in", ", which is not in"))?;
    }
    Ok(ExitCode::SUCCESS)
}
