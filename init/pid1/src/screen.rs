//! Shows the status: as a panel above the log on the VGA console, as an occasional line on the others, and as a file.
//!
//! Serial consoles get plain lines only, through the kernel log. Escape sequences would spoil an operator's record of a
//! serial-over-LAN session. The agent logs each change, so a line is due only while nothing changes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use machine::{Status, files};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;

use crate::kmsg::{Next, Reader};
use crate::panel::{self, Size};
use crate::ready::Ready;
use crate::service::Facts;
use crate::status::{Failure, is_running, line, merge};
use crate::{PathError, StepError};

const TERMINAL: &str = "/dev/tty1";
/// Changes in quick succession are shown together.
const PACE: Duration = Duration::from_millis(250);
/// How often a long action shows its progress.
const STILL: Duration = Duration::from_secs(60);

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let mut log = Reader::open().map_err(PathError::new("cannot read", "/dev/kmsg"))?;
    let parts = watch(Path::new(files::STATUS_PARTS)).map_err(PathError::new("cannot watch", files::STATUS_PARTS))?;
    let mut screen = Screen::new();
    loop {
        screen.read_failures(&mut log)?;
        forget_events(&parts);
        screen.show();
        wait(&log, &parts, screen.patience())?;
        std::thread::sleep(PACE); // several changes may follow each other
    }
}

/// Each part is written beside its place and moved there.
fn watch(folder: &Path) -> Result<OwnedFd, Errno> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&events, folder, WatchFlags::MOVED_TO)?;
    Ok(events)
}

/// The content of the events does not matter, because both parts are read again.
fn forget_events(events: &OwnedFd) {
    let mut buffer = [0; 1024];
    while rustix::io::read(events, &mut buffer).is_ok_and(|count| count > 0) {}
}

fn wait(log: &Reader, parts: &OwnedFd, limit: Duration) -> Result<(), StepError> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(log.as_fd(), PollFlags::POLLIN), PollFd::new(parts.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(PathError::new("cannot wait for", "changes of the status")(error).into()),
    }
}

struct Screen {
    failure: Option<Failure>,
    shown: Option<Status>,
    terminal: Option<Terminal>,
    /// When the log last showed what the action is doing.
    said: Instant,
}

impl Screen {
    fn new() -> Self {
        Self { failure: None, shown: None, terminal: Terminal::open(), said: Instant::now() }
    }

    fn read_failures(&mut self, log: &mut Reader) -> Result<(), StepError> {
        loop {
            match log.read().map_err(PathError::new("cannot read", "/dev/kmsg"))? {
                Next::Record(record) => self.failure = Failure::in_record(&record).or(self.failure.take()),
                Next::Overrun | Next::Strange => {}
                Next::Nothing => return Ok(()),
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.shown.as_ref().is_some_and(is_running) { STILL.saturating_sub(self.said.elapsed()) } else { STILL }
    }

    fn show(&mut self) {
        let [network, agent] = [files::NETWORK_STATUS, files::AGENT_STATUS].map(|part| Status::read(Path::new(part)));
        let status = merge(network, agent, self.failure.as_ref());
        let shown = self.shown.as_ref();
        let doing = |status: &Status| (status.workflow.clone(), status.action.clone(), status.state.clone());
        if shown.map(doing) != Some(doing(&status)) {
            self.said = Instant::now(); // the agent logs the change, too
        } else if is_running(&status) && self.said.elapsed() >= STILL {
            self.said = Instant::now();
            log::info!("{}", line(&status));
        }
        if shown == Some(&status) {
            return;
        }
        let _ = status.write(Path::new(files::STATUS)); // `/run` may be full
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(&status);
        }
        self.shown = Some(status);
    }
}

/// A virtual terminal in whose lower part the log scrolls.
struct Terminal {
    file: File,
    size: Size,
    divided: bool,
}

impl Terminal {
    /// It is not a controlling terminal, and never blocks.
    fn open() -> Option<Self> {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(TERMINAL).ok()?;
        let size = tcgetwinsize(&file)
            .map_or(Size { columns: 80, rows: 25 }, |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() });
        size.has_room().then_some(Self { file, size, divided: false })
    }

    /// Draws in one write, which the kernel does not mix with its messages. The rest is drawn next time.
    fn draw(&mut self, status: &Status) {
        if self.resized() || !self.divided {
            let _ = self.file.write(panel::divide(self.size).as_bytes());
            self.divided = true;
        }
        let _ = self.file.write(panel::draw(status, self.size).as_bytes());
    }

    /// A graphics driver that loads late changes the resolution.
    fn resized(&mut self) -> bool {
        let Ok(now) = tcgetwinsize(&self.file) else { return false };
        let now = Size { columns: now.ws_col.into(), rows: now.ws_row.into() };
        let changed = now != self.size && now.has_room();
        if changed {
            self.size = now;
        }
        changed
    }
}
