//! Shows the status: a panel above the log on the VGA console, a line now and then on the others, and a file.
//!
//! Serial consoles get plain lines only, through the kernel log: escape sequences would spoil what an operator records
//! of a serial-over-LAN session. The log's milestones are there anyway, so that a line is due only while nothing happens.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use machine::files;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::OFlags;
use rustix::termios::tcgetwinsize;

use crate::kmsg::{Next, Reader};
use crate::panel::{self, Size};
use crate::ready::Ready;
use crate::service::Facts;
use crate::status::Status;
use crate::{PathError, StepError};

const TERMINAL: &str = "/dev/tty1";
/// Changes in quick succession are shown together.
const PACE: Duration = Duration::from_millis(250);
/// A long action says how far it is.
const STILL: Duration = Duration::from_secs(60);

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let mut log = Reader::open().map_err(PathError::new("cannot read", "/dev/kmsg"))?;
    let mut screen = Screen { status: Status::default(), terminal: Terminal::open(), dirty: true, told: Instant::now() };
    loop {
        screen.read(&mut log)?;
        screen.show();
        wait(&log, screen.patience())?;
        std::thread::sleep(PACE); // the kernel log has no other way to hand over several lines at once
    }
}

fn wait(log: &Reader, limit: Duration) -> Result<(), StepError> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(log.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(PathError::new("cannot wait for", "the kernel log")(error).into()),
    }
}

struct Screen {
    status: Status,
    terminal: Option<Terminal>,
    dirty: bool,
    /// When the state of the action was last in the log.
    told: Instant,
}

impl Screen {
    fn read(&mut self, log: &mut Reader) -> Result<(), StepError> {
        loop {
            match log.read().map_err(PathError::new("cannot read", "/dev/kmsg"))? {
                Next::Record(record) => {
                    let Some(line) = record.ours() else { continue };
                    self.dirty |= self.status.take(record.severity, line);
                    if line.starts_with("workflow ") || line.starts_with("status:") {
                        self.told = Instant::now();
                    }
                }
                Next::Overrun | Next::Strange => {}
                Next::Nothing => return Ok(()),
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.status.is_running() { STILL.saturating_sub(self.told.elapsed()) } else { STILL }
    }

    fn show(&mut self) {
        if self.status.is_running() && self.told.elapsed() >= STILL {
            self.told = Instant::now();
            log::info!("{}", self.status.line());
        }
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        if let (None, Some(interface)) = (&self.status.mac, &self.status.interface) {
            let mac = fs::read_to_string(format!("/sys/class/net/{interface}/address"));
            self.status.mac = mac.ok().map(|mac| mac.trim().to_owned());
        }
        // Somebody may be reading: the new content takes the old one's place in one go. `/run` may be full.
        let fresh = format!("{}.new", files::STATUS);
        let _ = fs::write(&fresh, self.status.file()).and_then(|()| fs::rename(&fresh, files::STATUS));
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(&self.status);
        }
    }
}

/// A virtual terminal whose lower part the log scrolls in.
struct Terminal {
    file: File,
    size: Size,
    divided: bool,
}

impl Terminal {
    /// Not a controlling terminal, and never one that could make us wait.
    fn open() -> Option<Self> {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(TERMINAL).ok()?;
        let size = tcgetwinsize(&file)
            .map_or(Size { columns: 80, rows: 25 }, |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() });
        size.has_room().then_some(Self { file, size, divided: false })
    }

    /// In one write, which the kernel does not mix with its messages. What does not fit is drawn next time.
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
