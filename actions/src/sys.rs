//! The system calls that no crate wraps: ioctls of block devices.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

mod request {
    // <linux/fs.h>: _IO(0x12, 95), and _IO(0x12, 119) with a pair of u64
    pub const BLKRRPART: libc::c_ulong = 0x125f;
    pub const BLKDISCARD: libc::c_ulong = 0x1277;
}

/// Asks the kernel to read the partition table of this disk again.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `disk` is borrowed; BLKRRPART takes no argument.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), request::BLKRRPART as _) })
}

/// Tells the disk that this range is unused. What it reads as afterwards is up to the disk.
pub fn discard(disk: &File, offset: u64, length: u64) -> io::Result<()> {
    let range: [u64; 2] = [offset, length];
    // SAFETY: the descriptor is open for as long as `disk` is borrowed; BLKDISCARD reads two u64 from the
    // pointer, which is an array of two u64 that outlives the call.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), request::BLKDISCARD as _, range.as_ptr()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
