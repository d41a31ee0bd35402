//! The commands, one after the other, in PID 1 of their own namespace.

use super::sys::{CHILD, ENDING, next_signal, signal_all, without_held_signals};
use super::{CexecError, Lines};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where distributions have programs. The last one is NixOS'.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/nix/var/nix/profiles/system/sw/bin";
const SHELLS: [&str; 7] =
    ["/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash", "/bin/busybox", "/usr/bin/busybox", "/bin/toybox"];
/// How long processes that are asked to end may take.
const GRACE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
const NAMED_MAX: usize = 20;

/// An interpreter gets the whole line. Without one, `;` and spaces split it, and quotes mean nothing.
pub fn commands(line: &str, interpreter: Option<&str>) -> Vec<Vec<String>> {
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

/// # Errors
/// The first command that fails ends the list.
pub fn run_all(commands: &[Vec<String>], lines: Lines) -> Result<(), CexecError> {
    for command in commands {
        let Some((program, arguments)) = command.split_first() else { continue };
        lines.say(&format!("running {}", command.join(" ")));
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", path(std::env::var("PATH").ok().as_deref()));
        let child = without_held_signals(&mut command).spawn().map_err(|source| CexecError::Start {
            program: program.clone(),
            hint: hint(program, &source, |path| path.exists()),
            source,
        })?;
        let status = wait_for(Pid::from_child(&child), program)?;
        if status.exit_status() != Some(0) {
            return Err(CexecError::Failed { program: program.clone(), ending: ending(status) });
        }
    }
    Ok(())
}

/// The given folders come first, then those where the target's programs are.
fn path(given: Option<&str>) -> String {
    let given: Vec<&str> = given.unwrap_or_default().split(':').filter(|folder| !folder.is_empty()).collect();
    let usual = PATH.split(':').filter(|folder| !given.contains(folder));
    given.iter().copied().chain(usual).collect::<Vec<_>>().join(":")
}

/// Waits for one child, and reaps all that end before.
fn wait_for(child: Pid, program: &str) -> Result<WaitStatus, CexecError> {
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == child => return Ok(status),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(errno) => {
                    return Err(CexecError::Start { program: program.to_owned(), hint: String::new(), source: errno.into() });
                }
            }
        }
        if next_signal(Duration::from_secs(60)).is_some_and(|signal| ENDING.contains(&signal)) {
            return Err(CexecError::Ended);
        }
    }
}

fn ending(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown state".into(),
    }
}

/// Why the kernel does not start a program, for a target that `exists` looks into.
fn hint(program: &str, error: &io::Error, exists: impl Fn(&Path) -> bool) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) if program.starts_with('/') && exists(Path::new(program)) => {
            " (it exists, so its interpreter or its loader is missing)".to_owned()
        }
        Some(libc::ENOENT) => {
            let shells: Vec<&str> = SHELLS.into_iter().filter(|shell| exists(Path::new(shell))).collect();
            let shells = if shells.is_empty() { "no shell".to_owned() } else { shells.join(", ") };
            format!(" (it does not exist; of shells there is {shells}; is it the right partition?)")
        }
        Some(libc::ENOEXEC) => " (it is for another processor, or a script without #!)".to_owned(),
        _ => String::new(),
    }
}

/// Ends what the commands have left, such as daemons. The caller is PID 1 of the namespace.
pub fn end_the_rest(lines: Lines, expected: bool) {
    let left = processes();
    if left.is_empty() {
        return;
    }
    if expected {
        lines.say(&format!("warning: the command left processes, which are ended: {}", left.join(", ")));
    }
    signal_all(libc::SIGTERM);
    let start = Instant::now();
    while !processes().is_empty() && start.elapsed() < GRACE {
        let _ = next_signal(POLL).filter(|signal| *signal == CHILD);
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }
    signal_all(libc::SIGKILL);
    while matches!(wait(WaitOptions::empty()), Ok(Some(_))) {}
}

/// All of the namespace but this one, with their names. Those that have ended and wait to be reaped do not count.
fn processes() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let others = numbers.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own);
    others
        .filter_map(|number| {
            let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            let (name, state) = name_and_state(&stat)?;
            (!matches!(state, 'Z' | 'X')).then(|| format!("{name} ({number})"))
        })
        .take(NAMED_MAX)
        .collect()
}

/// `7 (a b) S 1 ...`: the name may have parentheses and spaces.
fn name_and_state(stat: &str) -> Option<(&str, char)> {
    let (before, after) = stat.rsplit_once(") ")?;
    Some((before.split_once('(')?.1, after.chars().next()?))
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
    fn a_given_path_is_kept_and_completed() {
        assert_eq!(path(None), PATH);
        assert!(path(Some("/opt/bin:/usr/bin")).starts_with("/opt/bin:/usr/bin:/usr/local/sbin"));
        assert_eq!(path(Some("/opt/bin:/usr/bin")).matches("/usr/bin").count(), 1);
    }

    #[test]
    fn a_program_that_does_not_start_has_its_reason() {
        let error = |number| io::Error::from_raw_os_error(number);
        for (program, number, present, expected) in [
            ("/usr/bin/tool", libc::ENOENT, "/usr/bin/tool", "its loader is missing"),
            ("/bin/sh", libc::ENOENT, "/bin/busybox", "of shells there is /bin/busybox;"),
            ("tool", libc::ENOENT, "", "no shell"),
            ("/bin/x", libc::ENOEXEC, "", "another processor"),
        ] {
            let text = hint(program, &error(number), |path| path == Path::new(present));
            assert!(text.contains(expected), "{program}: {text}");
        }
        assert_eq!(hint("/x", &error(libc::EACCES), |_| true), "");
    }

    #[test]
    fn names_of_processes_may_have_parentheses() {
        assert_eq!(name_and_state("7 (a) b) S 1 7"), Some(("a) b", 'S')));
        assert_eq!(name_and_state("7"), None);
    }
}
