//! The system calls of `cexec`: namespaces, a second process, and signals that wait until they are asked for.
#![allow(unsafe_code)]

use rustix::process::Pid;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// What asks the action to end.
pub const ENDING: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
/// The request, not its result, ends the wait.
pub const CHILD: libc::c_int = libc::SIGCHLD;

pub enum Side {
    Parent(Pid),
    Child,
}

/// The next process is PID 1 of a new PID namespace. When it ends, the kernel ends all others in there.
pub fn new_pid_namespace() -> io::Result<()> {
    unshare(libc::CLONE_NEWPID)
}

/// Mounts of this process, and of those that it starts, are theirs alone.
pub fn new_mount_namespace() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointer. These two flags change neither memory nor the table of descriptors.
    check(unsafe { libc::unshare(flags) })
}

/// # Errors
/// Those of fork(2), and a process that has more than one thread.
pub fn fork() -> io::Result<Side> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    if !status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"])) {
        return Err(io::Error::other("the process has several threads"));
    }
    // SAFETY: the process has one thread, as was just read, so no lock is held by a thread that the child does not have.
    let pid = unsafe { libc::fork() };
    check(pid)?;
    Ok(Pid::from_raw(pid).map_or(Side::Child, Side::Parent))
}

/// From now on these signals wait for [`next_signal`]. Programs inherit this: start them by [`without_held_signals`].
pub fn hold_signals() -> io::Result<()> {
    let set = held();
    // SAFETY: `set` is initialized and outlives the call, which only reads it; a null pointer asks for no old set.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })
}

/// The program that is started gets every signal at once, as from a shell.
pub fn without_held_signals(command: &mut Command) -> &mut Command {
    let release = || {
        let set = no_signals();
        // SAFETY: `set` is initialized and outlives the call, which only reads it; a null pointer asks for no old set.
        check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) })
    };
    // SAFETY: between fork(2) and execve(2) the closure calls sigemptyset(3) and sigprocmask(2), which are async-signal-safe, and
    // reads errno. It allocates nothing and takes no lock.
    unsafe { command.pre_exec(release) }
}

/// `None` if none has come within `limit`.
pub fn next_signal(limit: Duration) -> Option<libc::c_int> {
    let set = held();
    let seconds = libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX);
    let time = libc::timespec { tv_sec: seconds, tv_nsec: libc::c_long::from(limit.subsec_nanos().cast_signed()) };
    // SAFETY: both pointers are to initialized values that outlive the call, which only reads them; a null pointer asks for
    // no details.
    let signal = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const time) };
    (signal > 0).then_some(signal)
}

/// Sends it to every process of this PID namespace but the caller, which must be its PID 1.
pub fn signal_all(signal: libc::c_int) {
    if std::process::id() == 1 {
        // SAFETY: kill(2) takes no pointer. The caller is PID 1 of a namespace, so nothing outside of it is reached.
        unsafe { libc::kill(-1, signal) };
    }
}

fn no_signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) initializes the set that the pointer is to, so it can be taken as such afterwards.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn held() -> libc::sigset_t {
    let mut set = no_signals();
    for signal in ENDING.into_iter().chain([CHILD]) {
        // SAFETY: the pointer is to an initialized set that outlives the call. The number is a signal, so this does not fail.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_started_with_no_signal_blocked() {
        // The mask is that of a thread, and this test has one of its own.
        hold_signals().unwrap();
        let blocked = |command: &mut Command| {
            let output = command.args(["SigBlk", "/proc/self/status"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            u64::from_str_radix(text.trim_start_matches("SigBlk:").trim(), 16).unwrap()
        };
        assert_ne!(blocked(&mut Command::new("grep")), 0, "the test holds no signal");
        assert_eq!(blocked(without_held_signals(&mut Command::new("grep"))), 0);
    }
}
