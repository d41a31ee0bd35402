//! One container from start to end. Starts the child, turns its output into lines, enforces the timeout, and reports the
//! end.

pub mod cgroup;
mod child;
mod complaints;
pub mod launcher;
mod note;
mod output;
mod program;
pub mod seccomp;
mod wire;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Uid, fchown};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cancel::Stop;
use crate::memory;
use crate::outcome::{Phase, Reason};
use launcher::{Launcher, Process};
use note::Note;
use output::{DRAIN, Lines, Pass, Rate, Tail};

/// The time between the stop signal and the end of every process, as in Docker's stop.
pub const GRACE: Duration = Duration::from_secs(5);
/// Making a container takes a tenth of a second. A library that hangs must not block the agent.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How many lines of the library are kept to explain a container that could not start.
const COMPLAINTS: usize = 6;

/// A function that takes a line of output: the stream's name and the text.
pub type TakeLine = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// What to run. The bundle directory has config.json and the mounted root file system.
pub struct Order<'a> {
    pub bundle: &'a Path,
    pub id: &'a str,
    /// The request that ends the container early.
    pub stop: &'a Stop,
    /// The image's stop signal, which is sent then.
    pub signal: Signal,
    /// The user and the group of the program, which own the pipes of its output.
    pub owner: (u32, u32),
    /// Takes as many lines as a console can show.
    pub lines: TakeLine,
    /// Takes every line.
    pub every: TakeLine,
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Exited {
        code: i32,
        oom_kills: u64,
    },
    /// It was stopped at the limit or on request, for this reason.
    Stopped(Reason),
    CouldNotStart(String),
}

#[derive(Debug)]
pub struct Ended {
    pub end: End,
    pub tail: Vec<String>,
}

impl Ended {
    fn before(end: End) -> Self {
        Self { end, tail: Vec::new() }
    }
}

/// Runs the container. The action ends with its main process: other processes are killed, and their open pipes are not
/// waited for.
pub async fn run(launcher: &Launcher, order: &Order<'_>) -> io::Result<Ended> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ((stdout, for_stdout), (stderr, for_stderr)) = (io::pipe()?, io::pipe()?);
    give_to(order.owner, [for_stdout.as_fd(), for_stderr.as_fd()])?;
    let streams = [theirs.as_fd(), for_stdout.as_fd(), for_stderr.as_fd()];
    let start = timeout(START_LIMIT, launcher.start(order.bundle, order.id, streams));
    let child = match order.stop.unless(Phase::Starting, start).await {
        Ok(Ok(child)) => child?,
        Ok(Err(_)) => return Ok(Ended::before(End::CouldNotStart(NOT_READY.to_owned()))),
        Err(reason) => return Ok(Ended::before(End::Stopped(reason))),
    };
    drop((theirs, for_stdout, for_stderr)); // otherwise the pipes would never end
    let killed_before = memory::oom_kills();
    let (heard, notes) = watch::channel(Heard::default());
    let listener = tokio::spawn(listen(tokio::net::UnixStream::from_std(ours)?, heard));
    let output = shared_output(order);
    let readers = [
        tokio::spawn(read(STDOUT, Receiver::from_owned_fd(stdout.into())?, output.clone())),
        tokio::spawn(read(STDERR, Receiver::from_owned_fd(stderr.into())?, output.clone())),
    ];
    let stopped = supervise(&child, notes.clone(), order).await?;
    dissolve(cgroup::of(order.id)).await; // first, because a remaining process would keep the pipes open
    // Nothing follows the result, so the agent does not wait for the child's exit.
    let listener = if notes.borrow().has_exited() { None } else { Some(listener) };
    finish(listener.into_iter().chain(readers)).await;
    let tail = output.lock().map(|mut o| o.finish()).unwrap_or_default();
    let heard = notes.borrow().clone();
    // A normal end needs no explanation, and the kernel's counter is slow.
    let oom_kills = if heard.last.is_some() { 0 } else { memory::oom_kills().saturating_sub(killed_before) };
    Ok(Ended { end: verdict(&heard, stopped, oom_kills), tail })
}

/// A program of another user may open `/dev/stdout` again, which only the owner of the pipe can do.
fn give_to((user, group): (u32, u32), pipes: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    if (user, group) == (0, 0) {
        return Ok(());
    }
    pipes.iter().try_for_each(|pipe| Ok(fchown(pipe, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?))
}

/// What the child has reported so far.
#[derive(Debug, Default, Clone)]
struct Heard {
    started: Option<i32>,
    complaints: Vec<String>,
    last: Option<Note>,
    closed: bool,
}

/// Why the supervision of a child ended.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// The child ended by itself.
    Not,
    For(Reason),
    /// The child did not start within the limit.
    NotReady,
}

const NOT_READY: &str = "the container was not ready in time";

/// `oom_kills` counts on the whole machine, because the child itself may have been killed.
fn verdict(heard: &Heard, stopped: Stopped, oom_kills: u64) -> End {
    match (&heard.last, stopped) {
        (Some(Note::NotStarted(text)), _) => End::CouldNotStart(text.clone()),
        (Some(Note::Failed(text)), _) => End::CouldNotStart(explain(text, &heard.complaints)),
        (_, Stopped::For(reason)) => End::Stopped(reason),
        (Some(Note::Exited { code, oom_kills }), _) => End::Exited { code: *code, oom_kills: *oom_kills },
        _ if oom_kills > 0 => End::Exited { code: 128 + Signal::KILL.as_raw(), oom_kills },
        _ if heard.started.is_some() => End::CouldNotStart(explain("the container's child process died", &heard.complaints)),
        (_, Stopped::NotReady) => End::CouldNotStart(explain(NOT_READY, &heard.complaints)),
        _ => End::CouldNotStart(explain("the container's child process died before the action started", &heard.complaints)),
    }
}

/// The library complains once in each of its layers. The first complaint comes from the innermost layer and names the file
/// or the mount. The others repeat it.
fn explain(text: &str, complaints: &[String]) -> String {
    let Some(first) = complaints.first() else { return text.to_owned() };
    let what = text.split(": ").next().unwrap_or(text);
    let mut all = format!("{what}: {}", in_plain_words(first));
    let errno = complaints.iter().find_map(|complaint| between(complaint, "message: \"", "\""));
    if let Some(errno) = errno.filter(|errno| !all.contains(errno)) {
        all.push_str(": ");
        all.push_str(errno);
    }
    all
}

/// The library prints a mount in the syntax of its source code.
fn in_plain_words(complaint: &str) -> String {
    let mount = || {
        let rest = complaint.strip_prefix("failed to mount Mount {")?;
        let (target, source) = (between(rest, "destination: \"", "\"")?, between(rest, "source: Some(\"", "\"")?);
        let (_, why) = rest.split_once("}: ")?;
        Some(format!("cannot mount {source} on {target}: {why}"))
    };
    mount().unwrap_or_else(|| complaint.to_owned())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

async fn listen(mut socket: tokio::net::UnixStream, heard: watch::Sender<Heard>) {
    let (mut pending, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Some(note) = Note::parse(&line) {
                heard.send_modify(|h| h.take(note));
            }
        }
    }
    heard.send_modify(|h| h.closed = true);
}

impl Heard {
    fn has_exited(&self) -> bool {
        matches!(self.last, Some(Note::Exited { .. }))
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Library(text) if self.complaints.len() < COMPLAINTS && !self.complaints.contains(&text) => {
                self.complaints.push(text)
            }
            Note::Library(_) => {}
            Note::Started { pid } => self.started = Some(pid),
            _ if matches!(self.last, Some(Note::NotStarted(_))) => {} // the exit code that follows is not the program's
            last => self.last = Some(last),
        }
    }
}

/// Waits for the child or the action's exit code, or stops it at the limit or on request.
async fn supervise(child: &Process, mut notes: watch::Receiver<Heard>, order: &Order<'_>) -> io::Result<Stopped> {
    let started = async { notes.wait_for(|h| h.started.is_some() || h.closed).await.ok().and_then(|h| h.started) };
    let group = cgroup::of(order.id);
    let pid = match order.stop.unless(Phase::Starting, timeout(START_LIMIT, started)).await {
        Ok(Ok(pid)) => pid,
        Ok(Err(_)) => return kill(child, &group).await.map(|()| Stopped::NotReady),
        Err(reason) => return kill(child, &group).await.map(|()| Stopped::For(reason)),
    };
    // The descriptor keeps naming this process, even if the kernel reuses its number before the limit.
    let process = pid.and_then(Pid::from_raw).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let ended = async {
        tokio::select! {
            ended = child.wait() => ended,
            Ok(_) = notes.wait_for(Heard::has_exited) => Ok(()),
        }
    };
    let reason = match order.stop.unless(Phase::Running, ended).await {
        Ok(ended) => return ended.map(|()| Stopped::Not),
        Err(reason) => reason,
    };
    if let Some(process) = process {
        let _ = pidfd_send_signal(process, order.signal); // it is gone already, or is killed below
        if let Ok(ended) = timeout(GRACE, child.wait()).await {
            return ended.map(|()| Stopped::For(reason));
        }
    }
    kill(child, &group).await.map(|()| Stopped::For(reason))
}

/// A child that does not end on SIGKILL is left behind, because a broken disk must not block the agent.
async fn kill(child: &Process, group: &Path) -> io::Result<()> {
    match cgroup::kill(group) {
        Ok(()) => {
            if let Ok(ended) = timeout(GRACE, child.wait()).await {
                return ended;
            }
        }
        Err(error) => log::warn!("cannot kill the processes in {}: {error}", group.display()),
    }
    child.kill()?;
    if timeout(GRACE, child.wait()).await.is_err() {
        log::error!("the process that owns the container in {} does not end; continuing without it", group.display());
    }
    Ok(())
}

/// The action's result is already known. A process that does not end does not change it.
pub async fn dissolve(group: PathBuf) {
    if cgroup::remove_empty(&group) {
        return;
    }
    let removed = tokio::task::spawn_blocking({
        let group = group.clone();
        move || cgroup::remove(&group)
    });
    if let Err(error) = removed.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
        log::error!("cannot end everything the action left running in {}: {error}", group.display());
    }
}

/// Reads what is still in the pipes, but does not wait for a process that keeps them open.
pub async fn finish(tasks: impl Iterator<Item = JoinHandle<()>>) {
    let deadline = tokio::time::Instant::now() + DRAIN;
    for mut task in tasks {
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
        }
    }
}

pub type Shared = Arc<Mutex<Output>>;

pub fn shared_output(order: &Order<'_>) -> Shared {
    Arc::new(Mutex::new(Output::new(order.lines.clone(), order.every.clone())))
}

/// The two streams of one action, for the log and the report.
pub struct Output {
    rate: Rate,
    tail: Tail,
    held: Held,
    lines: TakeLine,
    every: TakeLine,
}

/// Those of the omitted lines that most likely say what went wrong.
#[derive(Default)]
struct Held {
    last: Option<(String, String)>,
    last_error: Option<String>,
}

impl Held {
    fn keep(&mut self, stream: &str, text: &str) {
        if stream == STDERR {
            self.last_error = Some(text.to_owned());
        }
        self.last = Some((stream.to_owned(), text.to_owned()));
    }
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

impl Output {
    fn new(lines: TakeLine, every: TakeLine) -> Self {
        Self { rate: Rate::new(Instant::now()), tail: Tail::default(), held: Held::default(), lines, every }
    }

    fn line(&mut self, stream: &str, text: &str) {
        self.tail.push(text);
        (self.every)(stream, text);
        match self.rate.pass(Instant::now()) {
            Pass::Yes => (self.lines)(stream, text),
            Pass::After(count) => {
                self.left_out(count, false);
                (self.lines)(stream, text);
            }
            Pass::No => self.held.keep(stream, text),
        }
    }

    /// Reports how many lines were omitted, and shows the last one to stderr among them. At the end it also shows the last
    /// line of all.
    fn left_out(&mut self, count: u64, at_end: bool) {
        let Held { last, last_error } = std::mem::take(&mut self.held);
        (self.lines)(STDOUT, &format!("({count} lines left out, because they came too fast)"));
        let last = last.filter(|(stream, text)| at_end && !(stream == STDERR && last_error.as_ref() == Some(text)));
        if let Some(error) = &last_error {
            (self.lines)(STDERR, error);
        }
        if let Some((stream, text)) = last {
            (self.lines)(&stream, &text);
        }
    }

    pub fn finish(&mut self) -> Vec<String> {
        let count = self.rate.held_back();
        if count > 0 {
            self.left_out(count, true);
        }
        self.tail.take()
    }
}

pub async fn read(stream: &'static str, mut pipe: impl AsyncRead + Unpin, output: Shared) {
    let (mut lines, mut buffer) = (Lines::default(), vec![0; 8 << 10]);
    let take = |text: String| {
        if let Ok(mut output) = output.lock() {
            output.line(stream, &text);
        }
    };
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        lines.push(buffer.get(..count).unwrap_or_default(), take);
    }
    lines.flush(take);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup that refuses to be killed or removed.
    fn stubborn_group() -> tempfile::TempDir {
        let group = tempfile::tempdir().unwrap();
        std::fs::create_dir(group.path().join("cgroup.kill")).unwrap();
        group
    }

    #[tokio::test]
    async fn the_child_is_killed_even_if_its_cgroup_cannot_be() {
        let group = stubborn_group();
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&sleeper);
        let child = Process::of(pidfd_open(pid, PidfdFlags::NONBLOCK).unwrap()).unwrap();
        kill(&child, group.path()).await.unwrap();
        let status = sleeper.try_wait().unwrap().map(|status| status.to_string());
        assert_eq!(status.as_deref(), Some("signal: 9 (SIGKILL)"));
    }

    #[tokio::test]
    async fn a_cgroup_that_stays_does_not_hide_how_the_action_ended() {
        let group = stubborn_group();
        dissolve(group.path().to_owned()).await;
        assert!(group.path().exists());
    }

    #[test]
    fn the_last_error_of_a_flood_is_shown_and_so_is_its_last_line() {
        let shown: Arc<Mutex<Vec<String>>> = Arc::default();
        let take = shown.clone();
        let all = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = all.clone();
        let mut output = Output::new(
            Arc::new(move |stream, text| take.lock().unwrap().push(format!("{stream} {text}"))),
            Arc::new(move |_, _| {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }),
        );
        for number in 0..1000 {
            let (stream, text) = if number == 500 { (STDERR, "disk is full") } else { (STDOUT, "progress") };
            output.line(stream, &format!("{text} {number}"));
        }
        assert_eq!(output.finish().len(), 20);
        assert_eq!(all.load(std::sync::atomic::Ordering::Relaxed), 1000, "the server's log gets every line");
        let shown = shown.lock().unwrap();
        let end: Vec<&str> = shown.iter().rev().take(3).map(String::as_str).collect();
        assert!(end[2].contains(" lines left out, because they came too fast)"), "{end:?}");
        assert_eq!(end[..2], ["stdout progress 999", "stderr disk is full 500"]);
    }

    #[tokio::test]
    async fn the_agent_stops_waiting_for_a_launcher_at_the_limit() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("launcher");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = Launcher::new(program);
        let limit = Duration::from_millis(300);
        for _ in 0..2 {
            let stop = Stop::new(Some(limit), &crate::cancel::Cancel::never());
            let (lines, every): (TakeLine, TakeLine) = (Arc::new(|_, _| ()), Arc::new(|_, _| ()));
            let (bundle, id, signal) = (folder.path(), "x", Signal::TERM);
            let ended = run(&launcher, &Order { bundle, id, stop: &stop, signal, owner: (0, 0), lines, every }).await.unwrap();
            assert_eq!(ended.end, End::Stopped(Reason::Timeout { limit, phase: Phase::Starting }));
        }
    }

    fn heard(notes: Vec<Note>) -> Heard {
        let mut heard = Heard::default();
        notes.into_iter().for_each(|n| heard.take(n));
        heard
    }

    #[test]
    fn a_failed_start_differs_from_a_failed_run() {
        let started = Note::Started { pid: 1 };
        let exited = Note::Exited { code: 3, oom_kills: 0 };
        let complaint = Note::Library("no /bin/x".into());
        let reason = || Reason::Timeout { limit: Duration::from_secs(1), phase: Phase::Running };
        let (at_limit, stopped) = (|| Stopped::For(reason()), || End::Stopped(reason()));
        for (case, notes, how, want) in [
            ("an exit code", vec![started.clone(), exited.clone()], Stopped::Not, End::Exited { code: 3, oom_kills: 0 }),
            ("an exit after the limit", vec![started.clone(), exited.clone()], at_limit(), stopped()),
            ("killed at the limit", vec![started.clone()], at_limit(), stopped()),
            ("killed at the limit before it started", vec![], at_limit(), stopped()),
            ("never ready", vec![], Stopped::NotReady, End::CouldNotStart(NOT_READY.into())),
            (
                "a failed create with its reason",
                vec![complaint.clone(), Note::Failed("cannot create the container".into())],
                Stopped::Not,
                End::CouldNotStart("cannot create the container: no /bin/x".into()),
            ),
            (
                "a program that cannot start, without the exit code of the library",
                vec![started.clone(), Note::NotStarted("cannot execute /bin/x".into()), complaint, exited],
                Stopped::Not,
                End::CouldNotStart("cannot execute /bin/x".into()),
            ),
            (
                "a silent death",
                vec![],
                Stopped::Not,
                End::CouldNotStart("the container's child process died before the action started".into()),
            ),
            (
                "a death in the middle",
                vec![started],
                Stopped::Not,
                End::CouldNotStart("the container's child process died".into()),
            ),
        ] {
            assert_eq!(verdict(&heard(notes), how, 0), want, "{case}");
        }
    }

    #[test]
    fn a_child_that_the_kernel_killed_for_memory_is_not_a_failed_start() {
        for notes in [vec![], vec![Note::Started { pid: 1 }]] {
            assert_eq!(verdict(&heard(notes), Stopped::Not, 2), End::Exited { code: 137, oom_kills: 2 });
        }
        let exited = Note::Exited { code: 3, oom_kills: 0 };
        assert_eq!(
            verdict(&heard(vec![exited]), Stopped::Not, 2),
            End::Exited { code: 3, oom_kills: 0 },
            "a kill by another process"
        );
    }
}
