//! Programs that are not ours: mdadm, lvm, cryptsetup. They come with the action's image, which `thimble image action` makes from
//! packages, or with the host on which an action runs as a plain command.

use crate::say;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const OUTPUT_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error(
        "this image has no {0}: use the image of this action that has the tools (docs/actions.md), or run the action on a host that has \
         it. Nothing was changed"
    )]
    Absent(String),
    #[error("cannot run {program}")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended with {status}; its last lines are above")]
    Failed { program: String, status: ExitStatus },
}

/// What is given on standard input, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub program: &'static str,
    pub arguments: Vec<String>,
    pub input: Option<Secret>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.arguments.join(" "))
    }
}

impl Call {
    pub fn new(program: &'static str, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { program, arguments: arguments.into_iter().map(Into::into).collect(), input: None }
    }

    pub fn given(self, secret: &[u8]) -> Self {
        Self { input: Some(Secret(secret.to_vec())), ..self }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        // Neither udev nor lvmetad is there, so the tools make their device files themselves.
        command.args(&self.arguments).env("PATH", PATH).env("LC_ALL", "C");
        command.env("DM_DISABLE_UDEV", "1").env("MDADM_NO_UDEV", "1").env("LVM_SUPPRESS_FD_WARNINGS", "1");
        command
    }

    /// Runs it with its output on the action's own.
    fn run(&self) -> Result<(), ToolError> {
        say(&format!("running {self}"));
        let program = self.program.to_owned();
        let failed = |source| ToolError::Run { program: program.clone(), source };
        let input = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = self.command().stdin(input).spawn().map_err(failed)?;
        if let (Some(Secret(bytes)), Some(mut stdin)) = (&self.input, child.stdin.take()) {
            // A program that ends early reports why by its status.
            let _ = stdin.write_all(bytes);
        }
        let status = child.wait().map_err(failed)?;
        if status.success() { Ok(()) } else { Err(ToolError::Failed { program, status }) }
    }
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(PATH).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Before anything is erased.
pub fn need(calls: &[Call]) -> Result<(), ToolError> {
    match calls.iter().find(|call| find(call.program).is_none()) {
        Some(call) => Err(ToolError::Absent(call.program.to_owned())),
        None => Ok(()),
    }
}

/// What a program prints, at most 1 MiB of it. Its errors go to the action's own.
pub fn output(call: &Call) -> Result<String, ToolError> {
    let program = call.program.to_owned();
    let failed = |source| ToolError::Run { program: program.clone(), source };
    let mut child = call.command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut bytes = Vec::new();
    // Closed afterwards, so that a program that prints more does not wait.
    let read = child.stdout.take().map_or(Ok(0), |stdout| stdout.take(OUTPUT_MAX).read_to_end(&mut bytes));
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    if status.success() { Ok(String::from_utf8_lossy(&bytes).into_owned()) } else { Err(ToolError::Failed { program, status }) }
}

pub fn run(calls: &[Call]) -> Result<(), ToolError> {
    calls.iter().try_for_each(Call::run)
}

/// What a dry run prints.
pub fn show(calls: &[Call]) {
    for call in calls {
        say(&format!("would run {call}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named_before_anything_runs() {
        let calls = [Call::new("true", ["x"]), Call::new("no-such-tool", ["y"])];
        let error = need(&calls).unwrap_err().to_string();
        assert!(error.starts_with("this image has no no-such-tool"), "{error}");
        assert!(need(&calls[..1]).is_ok());
    }

    #[test]
    fn what_a_program_prints_is_read_and_its_failure_is_reported() {
        assert_eq!(output(&Call::new("echo", ["a", "b"])).unwrap(), "a b\n");
        assert!(output(&Call::new("false", ["x"])).unwrap_err().to_string().starts_with("false ended with exit status: 1"));
    }

    #[test]
    fn a_secret_goes_to_standard_input_and_is_not_shown() {
        let call = Call::new("grep", ["-q", "t0p"]).given(b"t0p");
        assert!(!format!("{call} {call:?}").contains("[116") && call.to_string() == "grep -q t0p");
        call.run().unwrap();
        let error = Call::new("grep", ["-q", "x"]).given(b"t0p").run().unwrap_err();
        assert_eq!(error.to_string(), "grep ended with exit status: 1; its last lines are above");
    }
}
