//! The only unsafe code of this crate.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn page_size() -> u64 {
    // SAFETY: takes an integer and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// With the highest priority, or with one below those in use.
pub fn swap_on(device: &Path, first: bool) -> std::io::Result<()> {
    const PREFER: libc::c_int = 0x8000; // swapon(2)
    const HIGHEST: libc::c_int = 0x7fff;
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the pointer comes from a CString that outlives the call.
    let result = unsafe { libc::swapon(path.as_ptr(), if first { PREFER | HIGHEST } else { 0 }) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

pub fn swap_off(device: &Path) -> std::io::Result<()> {
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the pointer comes from a CString that outlives the call.
    let result = unsafe { libc::swapoff(path.as_ptr()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
