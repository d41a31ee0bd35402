//! `cexec`: runs a command with a file system of the disk mounted, or inside of it by chroot.

use crate::device::{self, DeviceError};
use crate::mount::{MountError, Mounted};
use crate::say;
use crate::variables::{VariableError, Variables};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount};
use std::fs::File;
use std::io;
use std::os::unix::fs::chroot;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Folders of the action that a command in the chroot expects.
const BOUND: &[&str] = &["dev", "proc", "sys"];

#[derive(Debug, thiserror::Error)]
pub enum CexecError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("BLOCK_DEVICE")]
    Device(#[from] DeviceError),
    #[error("BLOCK_DEVICE")]
    Mount(#[from] MountError),
    #[error("cannot {what}")]
    Enter {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("CMD_LINE: cannot start {program}")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("CMD_LINE: {program} ended with {}", ending(.status))]
    Failed { program: String, status: ExitStatus },
}

fn ending(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown state".into(),
    }
}

impl CexecError {
    /// Tinkerbell's cexec uses 10 for settings and mounts, 20 for chroot, and 30 for the command.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Variable(_) => 1,
            Self::Device(_) | Self::Mount(_) => 10,
            Self::Enter { .. } => 20,
            Self::Start { .. } | Self::Failed { .. } => 30,
        }
    }
}

struct Settings {
    device: PathBuf,
    fs: String,
    commands: Vec<Vec<String>>,
    chroot: bool,
    resolv_conf: bool,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let line = variables.text("CMD_LINE")?;
        let interpreter = match variables.optional("DEFAULT_INTERPRETER") {
            Some(_) => Some(variables.text("DEFAULT_INTERPRETER")?),
            None => None,
        };
        Ok(Self {
            device: variables.absolute_path("BLOCK_DEVICE")?,
            fs: variables.text("FS_TYPE")?,
            commands: commands(&line, interpreter.as_deref()),
            chroot: variables.optional("CHROOT").is_some(),
            resolv_conf: variables.flag("UPDATE_RESOLV_CONF")?.unwrap_or(false),
        })
    }
}

/// An interpreter gets the whole line. Without one, `;` and spaces split it, and quotes mean nothing.
fn commands(line: &str, interpreter: Option<&str>) -> Vec<Vec<String>> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match interpreter {
        Some(interpreter) => {
            let mut command = words(interpreter);
            command.push(line.to_owned());
            vec![command]
        }
        None => line.split(';').map(words).filter(|command| !command.is_empty()).collect(),
    }
}

pub fn run(variables: &Variables) -> Result<(), CexecError> {
    let settings = Settings::read(variables)?;
    device::wait_for(&settings.device, device::APPEARS_WITHIN)?;
    let mounted = Mounted::new(&settings.device, &settings.fs)?;
    let result = if settings.chroot { run_inside(&settings, mounted.path()) } else { run_all(&settings.commands) };
    // The command's failure is the one to report. What it wrote is kept in any case.
    let closed = mounted.close();
    result?;
    Ok(closed?)
}

fn run_inside(settings: &Settings, root: &Path) -> Result<(), CexecError> {
    let mut bound = Vec::new();
    let result = bind(root, &mut bound).and_then(|()| {
        if settings.resolv_conf {
            let copied = std::fs::read("/etc/resolv.conf").and_then(|text| std::fs::write(root.join("etc/resolv.conf"), text));
            copied.map_err(|source| CexecError::Enter { what: "copy resolv.conf".into(), source })?;
        }
        let back = enter(root).map_err(|source| CexecError::Enter { what: format!("chroot to {}", root.display()), source })?;
        let result = run_all(&settings.commands);
        let left = leave(&back).map_err(|source| CexecError::Enter { what: "leave the chroot".into(), source });
        result.and(left)
    });
    for place in bound.iter().rev() {
        let _ = unmount(place, UnmountFlags::DETACH); // if it stays busy, unmounting the file system fails and says so
    }
    result
}

fn bind(root: &Path, bound: &mut Vec<PathBuf>) -> Result<(), CexecError> {
    for name in BOUND {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        let done = std::fs::create_dir_all(&to).and_then(|()| {
            mount_bind_recursive(&from, &to)?;
            bound.push(to.clone());
            // Unmounting it later must not unmount the original.
            Ok(mount_change(&to, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
        });
        done.map_err(|source| CexecError::Enter { what: format!("bind {} into the target", from.display()), source })?;
    }
    Ok(())
}

/// Returns an open folder outside, which is the way back.
fn enter(root: &Path) -> io::Result<File> {
    let outside = File::open("/")?;
    chroot(root)?;
    std::env::set_current_dir("/")?;
    Ok(outside)
}

fn leave(outside: &File) -> io::Result<()> {
    rustix::process::fchdir(outside)?;
    chroot(".")
}

fn run_all(commands: &[Vec<String>]) -> Result<(), CexecError> {
    for command in commands {
        let Some((program, arguments)) = command.split_first() else { continue };
        say(&format!("running {}", command.join(" ")));
        let status = Command::new(program)
            .args(arguments)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .status()
            .map_err(|source| CexecError::Start { program: program.clone(), source })?;
        if !status.success() {
            return Err(CexecError::Failed { program: program.clone(), status });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_only_without_an_interpreter() {
        for (line, interpreter, expected) in [
            ("a 1;  b 'x y' ;", None, vec![vec!["a", "1"], vec!["b", "'x", "y'"]]),
            ("a; b", Some("/bin/sh -c"), vec![vec!["/bin/sh", "-c", "a; b"]]),
        ] {
            assert_eq!(commands(line, interpreter), expected, "{line}");
        }
    }

    #[test]
    fn the_first_failing_command_ends_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let touched = folder.path().join("touched");
        let line = format!("true; false; touch {}", touched.display());
        let error = run_all(&commands(&line, None)).unwrap_err();
        assert_eq!(error.to_string(), "CMD_LINE: false ended with exit code 1");
        assert_eq!(error.exit_code(), 30);
        assert!(!touched.exists());
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = run_all(&commands("/no/such/program", None)).unwrap_err();
        assert_eq!(error.to_string(), "CMD_LINE: cannot start /no/such/program");
    }
}
