//! The only unsafe code of this crate.
#![allow(unsafe_code)]

/// A connection of HTTP/2 begins with a buffer of this size, and writes to its first page only. A block that is mapped by itself
/// has no other page, and goes back to the kernel with the connection.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 16 << 10;
/// What glibc sets aside for threads lies idle for the most part. Its default is eight for each core.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// For a daemon that holds thousands of connections, and should not keep their memory. A refusal costs memory only.
#[cfg(target_env = "gnu")]
pub fn save_memory() {
    // SAFETY: mallopt(3) takes two integers, and this process has no other thread yet.
    let _ = unsafe { (libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED), libc::mallopt(libc::M_ARENA_MAX, ARENAS)) };
}

#[cfg(not(target_env = "gnu"))]
pub const fn save_memory() {}
