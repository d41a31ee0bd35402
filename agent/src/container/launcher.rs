//! A process with one thread, which forks the children that own containers.
//!
//! libcontainer clones without exec and runs Rust in the clone. In a process with threads, a thread that the clone lacks
//! may hold a lock of the allocator. Such clones did hang. Executing the agent's program for every action is safe, too, but
//! takes as long as making the container: relocation, page faults, and the C library's queries of the processor.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::child::{self, Streams};
use super::wire::{self, Datagram};
use crate::sys;

/// The agent's end of its launcher. The launcher starts with the first container, and again if it died.
pub struct Launcher {
    program: PathBuf,
    running: Mutex<Option<Running>>,
}

struct Running {
    socket: AsyncFd<OwnedFd>,
    _process: Child,
}

/// A child that owns a container. Dropping this kills the child.
pub struct Process(AsyncFd<OwnedFd>);

impl Launcher {
    /// `program` is `/proc/self/exe`, or the agent's binary in tests.
    pub fn new(program: PathBuf) -> Self {
        Self { program, running: Mutex::new(None) }
    }

    /// The first stream is for notes, and the others are the action's output.
    pub async fn start(&self, bundle: &Path, id: &str, streams: [BorrowedFd<'_>; 3]) -> io::Result<Process> {
        let mut running = self.running.lock().await;
        let request = [bundle.as_os_str().as_bytes(), b"\0", id.as_bytes()].concat();
        // It is taken out meanwhile. If the caller is dropped, no launcher stays whose answer is still due.
        if let Some(launcher) = running.take() {
            match launcher.ask(&request, streams).await {
                Err(error) if is_gone(&error) => {
                    log::warn!("the launcher of containers died ({error}), so another one is started")
                }
                other => {
                    *running = Some(launcher);
                    return other;
                }
            }
        }
        // The launcher is kept only if it answers, so that a broken one is not used twice.
        let launcher = Running::new(&self.program)?;
        let asked = launcher.ask(&request, streams).await;
        if !asked.as_ref().is_err_and(is_gone) {
            *running = Some(launcher);
        }
        asked
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
}

impl Running {
    fn new(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = wire::pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let mut launcher = Command::new(program);
        launcher.arg("launcher").stdin(Stdio::from(theirs)).stdout(Stdio::null()).kill_on_drop(true);
        Ok(Self { socket: sys::watched(ours, Interest::READABLE | Interest::WRITABLE)?, _process: launcher.spawn()? })
    }

    async fn ask(&self, request: &[u8], streams: [BorrowedFd<'_>; 3]) -> io::Result<Process> {
        self.socket.async_io(Interest::WRITABLE, |socket| wire::send(socket, request, &streams)).await?;
        let answer = self.socket.async_io(Interest::READABLE, |socket| wire::receive(socket)).await?;
        let Datagram { bytes, mut descriptors } = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        match descriptors.pop() {
            Some(process) => Process::of(process),
            None => Err(io::Error::other(String::from_utf8_lossy(&bytes).into_owned())),
        }
    }
}

impl Process {
    pub fn of(pidfd: OwnedFd) -> io::Result<Self> {
        sys::watched(pidfd, Interest::READABLE).map(Self)
    }

    pub async fn wait(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    pub fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, Signal::KILL)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(); // usually it is gone already
    }
}

/// The launcher's `main`. Its standard input is the agent's socket, and the launcher ends when that closes.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thimble: agent: the launcher of containers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let agent = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 10)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    know_the_processor();
    let mut workshop = Workshop::default();
    loop {
        let waiting: Vec<BorrowedFd<'_>> =
            std::iter::once(agent.as_fd()).chain(workshop.children.iter().map(|(_, process)| process.as_fd())).collect();
        let mut polled: Vec<PollFd<'_>> =
            waiting.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let one_ended = workshop.reap(ready.get(1..).unwrap_or_default());
        if ready.first() == Some(&true) {
            let Some(request) = wire::receive(&agent)? else { return Ok(()) };
            match workshop.hand_out(&request) {
                Ok(process) => wire::send(&agent, b"started", &[process.as_fd()])?,
                Err(error) => wire::send(&agent, error.to_string().as_bytes(), &[])?,
            }
            drop(request); // otherwise the pipes in it would not end
        }
        if one_ended {
            workshop.make_spare(); // not while a container starts, which would wait for this on a machine with one processor
        }
    }
}

/// The result is computed once and inherited. Otherwise each child would query the processor, which takes long in a virtual
/// machine.
fn know_the_processor() {
    #[cfg(target_arch = "x86_64")]
    let _known = std::is_x86_feature_detected!("avx2");
}

/// The children, and a spare one that is made in advance, because making it takes as long as much of its work. It is made
/// when another child ends.
#[derive(Default)]
struct Workshop {
    children: Vec<(Pid, OwnedFd)>,
    spare: Option<Spare>,
}

struct Spare {
    process: OwnedFd,
    socket: OwnedFd,
}

impl Workshop {
    /// Removes the children that have ended. Returns whether there were any.
    fn reap(&mut self, ended: &[bool]) -> bool {
        let before = self.children.len();
        let running = |(child, ended): ((Pid, OwnedFd), &bool)| {
            let gone = *ended && matches!(waitpid(Some(child.0), WaitOptions::NOHANG), Ok(Some(_)) | Err(_));
            (!gone).then_some(child)
        };
        self.children = std::mem::take(&mut self.children).into_iter().zip(ended).filter_map(running).collect();
        self.children.len() < before
    }

    /// Gives the order to a child.
    fn hand_out(&mut self, request: &Datagram) -> io::Result<OwnedFd> {
        let streams: Vec<BorrowedFd<'_>> = request.descriptors.iter().map(AsFd::as_fd).collect();
        let give = |spare: Spare| wire::send(&spare.socket, &request.bytes, &streams).map(|()| spare.process);
        if let Some(Ok(process)) = self.spare.take().map(give) {
            return Ok(process);
        }
        give(self.fork()?) // no spare child was left, or it was killed
    }

    /// If the spare cannot be made, the next order tries again and reports the reason.
    fn make_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = self.fork().ok();
        }
    }

    fn fork(&mut self) -> io::Result<Spare> {
        let launcher = rustix::process::getpid();
        let (ours, theirs) = wire::pair()?;
        let Some(child) = sys::fork()? else {
            drop(ours);
            work(&theirs, launcher);
            std::process::exit(0)
        };
        let opened = pidfd_open(child, PidfdFlags::NONBLOCK).map(|process| (process.try_clone(), process));
        match opened {
            Ok((Ok(copy), process)) => {
                self.children.push((child, copy));
                Ok(Spare { process, socket: ours })
            }
            Ok((Err(error), _)) => Err(error),
            Err(error) => Err(error.into()),
        }
    }
}

/// The life of a child: one order, or the end of the launcher.
fn work(socket: &OwnedFd, launcher: Pid) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid() != Some(launcher) {
        return; // the launcher died before the signal was set
    }
    let Ok(Some(request)) = wire::receive(socket) else { return };
    match order(request) {
        Ok(order) => child::main(&order.bundle, &order.id, order.streams),
        Err(error) => eprintln!("thimble: agent: a container's child: {error}"),
    }
}

struct Order {
    bundle: PathBuf,
    id: String,
    streams: Streams,
}

fn order(request: Datagram) -> io::Result<Order> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "the order is not understood");
    let cut = request.bytes.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
    let (bundle, id) = request.bytes.split_at_checked(cut).ok_or_else(wrong)?;
    let id = id.get(1..).and_then(|id| std::str::from_utf8(id).ok()).ok_or_else(wrong)?.to_owned();
    let [notes, stdout, stderr] = request.descriptors.try_into().map_err(|_| wrong())?;
    let bundle = PathBuf::from(OsString::from_vec(bundle.to_vec()));
    Ok(Order { bundle, id, streams: Streams { notes: notes.into(), stdout, stderr } })
}
