//! The only unsafe code of the agent.
#![allow(unsafe_code)]

use nix::sys::signal::{SigHandler, Signal, signal};

/// Keeps the C library from holding freed memory in an arena per thread: the machine has none to spare.
pub fn be_frugal_with_memory() {
    // SAFETY: mallopt(3) only changes parameters of the allocator and may be called at any time; wrong values are refused.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// Rust programs ignore SIGPIPE, and what is ignored stays so across exec: shell pipelines in actions would not end.
pub fn default_sigpipe() -> nix::Result<()> {
    // SAFETY: installs the default action, so no handler code of ours can run in signal context.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}
