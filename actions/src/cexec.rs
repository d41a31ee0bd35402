//! `cexec`: runs a command with a file system of the disk mounted, or inside of it by chroot.
//!
//! A second process is PID 1 of a namespace of its own, and the mounts are its own, too ([`target`]). Whatever a command leaves
//! behind ends with it, also if the action is killed, and the disk is free again.

mod commands;
mod sys;
mod target;

use crate::device::{self, DeviceError, Named};
use crate::mount::MountError;
use crate::say;
use crate::variables::{VariableError, Variables};
use machine::Chain;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where upstream's action mounts the file system. Commands without CHROOT find it there.
const PLACE: &str = "/mountAction";
/// How long the disk may be busy after the last process has ended.
const RELEASE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
const REPORT_MAX: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum CexecError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("BLOCK_DEVICE")]
    Device(#[from] DeviceError),
    #[error("BLOCK_DEVICE")]
    Mount(#[from] MountError),
    #[error("the file system has several systems. Choose one of {}", .0.join(", "))]
    Subvolumes(Vec<String>),
    #[error("cannot {what}")]
    Enter {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("CMD_LINE: cannot start {program}{hint}")]
    Start {
        program: String,
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error("CMD_LINE: {program} ended with {ending}")]
    Failed { program: String, ending: String },
    #[error("the action was asked to end, and has ended the command")]
    Ended,
    #[error("the command asked for {0}, which does not reach the machine from here: use the action of that name")]
    Power(&'static str),
    #[error("the command's part of the action ended with {0}")]
    Lost(String),
    /// What the second process reports.
    #[error("{0}")]
    Inside(String),
}

impl CexecError {
    /// Upstream's: 20 for a variable that is missing, 10 for one that is wrong, and 30 for all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Variable(VariableError::Missing(_)) => 20,
            Self::Variable(_) => 10,
            _ => 30,
        }
    }
}

/// How the action's own lines look.
#[derive(Debug, Clone, Copy)]
struct Lines {
    json: bool,
}

impl Lines {
    fn say(self, text: &str) {
        if self.json { say(&format!("{{\"level\":\"INFO\",\"msg\":{}}}", crate::json::quoted(text))) } else { say(text) }
    }
}

struct Settings {
    device: Named,
    fs: String,
    options: String,
    commands: Vec<Vec<String>>,
    chroot: bool,
    resolv_conf: bool,
    lines: Lines,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let optional = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        // The second spelling is that of upstream's code.
        let json = variables.flag("JSON_OUTPUT")?.or(variables.flag("JSON_OUTOUT")?);
        let device = Named::read(variables, "BLOCK_DEVICE")?;
        let fs = variables.text("FS_TYPE")?;
        let line = variables.text("CMD_LINE")?;
        Ok(Self {
            device,
            fs,
            options: optional("MOUNT_OPTIONS")?.unwrap_or_default(),
            commands: commands::commands(&line, optional("DEFAULT_INTERPRETER")?.as_deref()),
            chroot: variables.optional("CHROOT").is_some(),
            resolv_conf: variables.flag("UPDATE_RESOLV_CONF")?.unwrap_or(false),
            lines: Lines { json: json.unwrap_or(false) },
        })
    }
}

pub fn run(variables: &Variables) -> Result<(), CexecError> {
    let settings = Settings::read(variables)?;
    let device = settings.device.appear(device::APPEARS_WITHIN)?;
    let was_free = is_free(&device);
    let place = Path::new(PLACE);
    let held = hold_place(place).map_err(|source| CexecError::Enter { what: format!("make the folder {PLACE}"), source })?;
    let result = run_apart(&settings, &device, place);
    // Without a place in its own namespace, another cexec would lose its mounts.
    if flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = std::fs::remove_dir(place); // not empty: it was there before
    }
    let start = Instant::now();
    while was_free && !is_free(&device) {
        if start.elapsed() >= RELEASE {
            settings.lines.say(&format!(
                "warning: {} is still in use, by swap, a loop device or a volume that the command has set up on it",
                device.display()
            ));
            break;
        }
        sleep(POLL);
    }
    result
}

/// Says what `run` would do. The file system is not mounted, because that may write to its journal.
pub fn dry_run(variables: &Variables) -> Result<(), CexecError> {
    let settings = Settings::read(variables)?;
    let device = settings.device.appear(device::APPEARS_WITHIN)?;
    let inside = if settings.chroot { "inside of it" } else { "beside it" };
    let names = if settings.chroot && settings.resolv_conf { ", with the action's resolv.conf" } else { "" };
    say(&format!("would mount {} as {} and run {inside}{names}:", device.display(), settings.fs));
    for command in &settings.commands {
        say(&format!("  {}", command.join(" ")));
    }
    say("nothing was run");
    Ok(())
}

/// The folder, which no other cexec removes while it is held.
fn hold_place(place: &Path) -> io::Result<OwnedFd> {
    for _ in 0..100 {
        std::fs::create_dir_all(place)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(held) = rustix::fs::open(place, flags, Mode::empty()) else { continue };
        flock(&held, FlockOperation::LockShared)?;
        let (open, named) = (rustix::fs::fstat(&held)?, rustix::fs::stat(place));
        if named.is_ok_and(|named| named.st_ino == open.st_ino) {
            return Ok(held);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Nothing mounts it or holds it.
fn is_free(device: &Path) -> bool {
    rustix::fs::open(device, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

/// Starts the second process, and waits for it. Whoever asks this one to end, asks that one.
fn run_apart(settings: &Settings, device: &Path, place: &Path) -> Result<(), CexecError> {
    let failed = |what: &str, source: io::Error| CexecError::Enter { what: what.to_owned(), source };
    let (mut reader, writer) = io::pipe().map_err(|source| failed("make a pipe", source))?;
    sys::hold_signals().map_err(|source| failed("hold signals", source))?;
    sys::new_pid_namespace().map_err(|source| failed("make a PID namespace; the action needs privileges", source))?;
    let child = match sys::fork().map_err(|source| failed("start a process for the command", source))? {
        sys::Side::Parent(child) => child,
        sys::Side::Child => {
            drop(reader);
            std::process::exit(inside(settings, device, place, writer))
        }
    };
    drop(writer);
    let status = loop {
        match waitpid(Some(child), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => break status,
            Ok(None) => {}
            Err(errno) => return Err(failed("wait for the command", errno.into())),
        }
        if sys::next_signal(Duration::from_secs(60)).is_some_and(|signal| sys::ENDING.contains(&signal)) {
            let _ = kill_process(child, Signal::TERM); // it may have ended
        }
    };
    let mut report = String::new();
    let _ = reader.by_ref().take(REPORT_MAX).read_to_string(&mut report); // without a report the status says enough
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => Ok(()),
        (Some(_), _) if !report.is_empty() => Err(CexecError::Inside(report)),
        // reboot(2) in a PID namespace ends its PID 1 with one of these (pid_namespaces(7)).
        (None, Some(libc::SIGHUP)) => Err(CexecError::Power("reboot")),
        (None, Some(libc::SIGINT)) => Err(CexecError::Power("poweroff")),
        (Some(code), _) => Err(CexecError::Lost(format!("exit code {code}"))),
        (None, signal) => Err(CexecError::Lost(format!("signal {}", signal.unwrap_or_default()))),
    }
}

/// The second process, which gives its exit code.
fn inside(settings: &Settings, device: &Path, place: &Path, mut report: io::PipeWriter) -> i32 {
    if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return 1;
    }
    // The parent may have ended before.
    let mut pipe = [PollFd::new(&report, PollFlags::empty())];
    let gone = poll(&mut pipe, Some(&rustix::event::Timespec::default()));
    if gone.is_ok() && pipe.iter().any(|pipe| pipe.revents().contains(PollFlags::ERR)) {
        return 1;
    }
    match run_mounted(settings, device, place) {
        Ok(()) => 0,
        Err(error) => {
            let _ = report.write_all(Chain(&error).to_string().as_bytes()); // the exit code is read in any case
            30
        }
    }
}

fn run_mounted(settings: &Settings, device: &Path, place: &Path) -> Result<(), CexecError> {
    let mut target = target::mount_device(settings, device, place)?;
    let mut outside = None;
    let result = (|| {
        if settings.chroot {
            target.furnish(settings.resolv_conf)?;
            outside = Some(target.enter()?);
        }
        commands::run_all(&settings.commands, settings.lines)
    })();
    commands::end_the_rest(settings.lines, !matches!(result, Err(CexecError::Ended)));
    // The command's failure is the one to report. What it wrote is kept in any case.
    let left = target.leave(outside, place);
    result.and(left)
}
