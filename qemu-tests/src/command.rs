//! Programs that the lab starts. Output goes to a log file, a failure shows its end, and no program outlives its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const POLL: Duration = Duration::from_millis(20);

/// Runs to the end, for at most `limit`. The output goes to `log`.
pub fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    let mut daemon = Daemon::start(command, log)?;
    match daemon.wait(limit)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{} failed ({status}); its last lines, from {}:\n{}", daemon.name, log.display(), tail(log, 20)),
        None => bail!("{} was still running after {} s and was ended; see {}", daemon.name, limit.as_secs(), log.display()),
    }
}

/// Runs a short command and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a short command whose output does not matter.
pub fn effect(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// The last `count` lines of a text file.
pub fn tail(path: &Path, count: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A child process that ends when its owner is dropped.
pub struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts the program with both outputs appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = name(command);
        let file =
            File::options().create(true).append(true).open(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().context("cannot share the log file")?;
        let child =
            command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, log: log.to_owned(), child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, or `None` while it runs.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for the state of {}", self.name))
    }

    /// Fails with its last lines if it no longer runs.
    pub fn check(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); from {}:\n{}", self.name, self.log.display(), tail(&self.log, 15)),
        }
    }

    /// Waits for its end. `None` if it was killed at the limit.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                self.kill();
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends SIGKILL and reaps the process, so it is gone when this returns.
    pub fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `state` returns a value. The error names what it waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut state: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = state()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let base = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    match command.get_args().next() {
        Some(first) if !first.to_string_lossy().starts_with(['-', '/']) => format!("{base} {}", first.to_string_lossy()),
        _ => base,
    }
}
