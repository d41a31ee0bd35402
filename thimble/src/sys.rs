//! The only unsafe code of this crate.
#![allow(unsafe_code)]

/// glibc's allocator lets the threads wait for each other, and a quarter of a busy server's processor time was its. Elsewhere
/// jemalloc is built for one size of pages, and kernels have several.
#[cfg(all(target_env = "gnu", target_arch = "x86_64"))]
mod allocator {
    use tikv_jemallocator::Jemalloc;

    #[global_allocator]
    static ALLOCATOR: Jemalloc = Jemalloc;

    /// Memory that was free for a tenth of a second goes back to the kernel. More arenas than this lie idle for the most part.
    const SETTINGS: &[u8] = b"narenas:2,dirty_decay_ms:100,muzzy_decay_ms:0\0";

    /// jemalloc(3): a pointer to a string that ends with a zero byte, which jemalloc reads when it starts.
    // SAFETY: no other symbol of the program has this name, and a reference in an `Option` is a C pointer.
    #[unsafe(export_name = "_rjem_malloc_conf")]
    static MALLOC_CONF: Option<&u8> = SETTINGS.first();
}

#[cfg(all(target_env = "gnu", not(target_arch = "x86_64")))]
mod allocator {
    /// A connection of HTTP/2 begins with a buffer of this size, and writes to its first page only. A block that is mapped by
    /// itself has no other page, and goes back to the kernel with the connection.
    const MAPPED: libc::c_int = 16 << 10;
    /// What glibc sets aside for threads lies idle for the most part. Its default is eight for each core.
    const ARENAS: libc::c_int = 2;

    /// For a daemon that holds thousands of connections, and should not keep their memory. A refusal costs memory only.
    pub fn save_memory() {
        // SAFETY: mallopt(3) takes two integers, and this process has no other thread yet.
        let _ = unsafe { (libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED), libc::mallopt(libc::M_ARENA_MAX, ARENAS)) };
    }
}

#[cfg(all(target_env = "gnu", not(target_arch = "x86_64")))]
pub use allocator::save_memory;

#[cfg(not(all(target_env = "gnu", not(target_arch = "x86_64"))))]
pub const fn save_memory() {}
