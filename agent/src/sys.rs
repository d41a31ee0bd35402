//! The only unsafe code of the agent.
#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::ForkResult;
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Libraries capture a backtrace for their errors if the environment asks for it. The ramdisk's program has no tables for
/// unwinding, so the attempt would end it without a message. Panics are not affected. Call this before there are threads.
pub fn no_backtraces_in_errors() {
    // SAFETY: the caller runs before any other thread, so nothing reads the environment at the same time.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}

/// Keeps the C library from holding freed memory in an arena per thread, because the machine has little memory.
pub fn be_frugal_with_memory() {
    // SAFETY: mallopt(3) only changes parameters of the allocator and may be called at any time; wrong values are refused.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// The allocator keeps freed memory below the last block in use. After a pull that is more than the agent otherwise needs.
pub fn give_free_memory_back() {
    // SAFETY: malloc_trim(3) may be called at any time, from any thread, and touches only memory that is not in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The child's id in the parent, and `None` in the child. Fails if the process has another thread.
pub fn fork() -> std::io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(std::io::Error::other("a process of several threads cannot fork"));
    }
    // SAFETY: no other thread can hold a lock, because the line above has just seen that there is none.
    let fork = unsafe { nix::unistd::fork() }?;
    Ok(match fork {
        ForkResult::Parent { child } => Pid::from_raw(child.as_raw()),
        ForkResult::Child => None,
    })
}

/// Watches a descriptor for readiness, in the current runtime.
pub fn watched(descriptor: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, lends it by shared reference only, and leaves the poll before it is closed.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// Unloads the kernel that kexec_file_load(2) has loaded.
pub fn unload_kernel() -> std::io::Result<()> {
    const UNLOAD: libc::c_ulong = 1; // KEXEC_FILE_UNLOAD
    const NONE: libc::c_int = -1;
    // SAFETY: with this flag the kernel looks at no other argument: it follows no pointer and uses no descriptor.
    let result = unsafe { libc::syscall(libc::SYS_kexec_file_load, NONE, NONE, 0_usize, std::ptr::null::<u8>(), UNLOAD) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// An ignored signal stays ignored across exec. Rust programs ignore SIGPIPE, `nohup` ignores SIGHUP, and a shell's
/// background jobs ignore SIGINT and SIGQUIT. An action would not notice such a stop signal, and its shells could not trap
/// it.
pub fn default_signals() -> nix::Result<()> {
    for one in Signal::iterator().filter(|one| !matches!(one, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: installs the default action, so no handler of this program can run in signal context.
        unsafe { signal(one, SigHandler::SigDfl) }?;
    }
    Ok(())
}
