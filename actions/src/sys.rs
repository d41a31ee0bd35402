//! The system calls that no crate wraps: ioctls of block devices, and loading a kernel.
#![allow(unsafe_code)]

use std::ffi::CStr;
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

/// Marks this range of the disk as unused. What it reads as afterwards depends on the disk.
pub fn discard(disk: &File, offset: u64, length: u64) -> io::Result<()> {
    let range: [u64; 2] = [offset, length];
    // SAFETY: the descriptor is open for as long as `disk` is borrowed; BLKDISCARD reads two u64 from the
    // pointer, which is an array of two u64 that outlives the call.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), request::BLKDISCARD as _, range.as_ptr()) })
}

/// Loads a kernel for kexec (kexec_file_load(2)). The running kernel reads both files and the command line before it returns.
pub fn load_kernel(kernel: &File, initrd: Option<&File>, command_line: &CStr) -> io::Result<()> {
    const NO_INITRD: libc::c_ulong = 4; // KEXEC_FILE_NO_INITRAMFS
    let bytes = command_line.to_bytes_with_nul();
    let (initrd, flags) = initrd.map_or((-1, NO_INITRD), |file| (file.as_raw_fd(), 0));
    // SAFETY: both descriptors are open while the files are borrowed. The pointer and the length are those of one slice
    // that ends with its NUL, as the system call requires. The slice outlives the call, which only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_kexec_file_load, kernel.as_raw_fd(), initrd, bytes.len(), bytes.as_ptr(), flags) };
    check(if result < 0 { -1 } else { 0 })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
