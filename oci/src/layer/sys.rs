//! The only unsafe code of this crate: zstd's decoder, with its window in a file.
//!
//! A window of 8 MiB would be more than all the rest of an agent. In a file without a name it can leave memory: to the disk
//! that the image goes to, or as part of a tmpfs to swap. What the decoder does not look at is not resident either. A disk that
//! cannot give a page back ends the agent, which is started again.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use zstd::zstd_safe::zstd_sys as c;

/// A smaller buffer is not worth a file.
const LARGE: usize = 1 << 20;
/// So many bytes of output later the window is dropped from memory again.
const STEP: usize = 512 << 10;

/// What the decoder says against its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(usize);

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: any number may be asked about, and the name is a constant text of the library.
        let name = unsafe { CStr::from_ptr(c::ZSTD_getErrorName(self.0)) };
        f.write_str(&name.to_string_lossy())
    }
}

impl Refused {
    pub fn is_about_window(self) -> bool {
        // SAFETY: any number may be asked about.
        unsafe { c::ZSTD_getErrorCode(self.0) == c::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge }
    }
}

/// How far one call has come.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub read: usize,
    pub written: usize,
    /// The frame has not ended, or not all of it is written.
    pub inside: bool,
}

pub struct Decoder {
    context: NonNull<c::ZSTD_DCtx>,
    /// Of a `Box`, which the context's allocator uses too.
    memory: NonNull<Memory>,
    since_dropped: usize,
}

impl Decoder {
    /// `folder` is where the window's file may be.
    pub fn new(folder: &Path, window_log_max: u8) -> io::Result<Self> {
        let memory = NonNull::from(Box::leak(Box::new(Memory { folder: folder.to_owned(), window: None })));
        let functions =
            c::ZSTD_customMem { customAlloc: Some(allocate), customFree: Some(release), opaque: memory.as_ptr().cast() };
        // SAFETY: both functions fulfil the contract of malloc(3) and free(3), and `memory` outlives the context.
        let context = NonNull::new(unsafe { c::ZSTD_createDCtx_advanced(functions) });
        let Some(context) = context else {
            // SAFETY: it comes from the `Box` above, and no context knows it.
            drop(unsafe { Box::from_raw(memory.as_ptr()) });
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let decoder = Self { context, memory, since_dropped: 0 };
        let parameter = c::ZSTD_dParameter::ZSTD_d_windowLogMax;
        // SAFETY: the context is valid until `decoder` is dropped.
        checked(unsafe { c::ZSTD_DCtx_setParameter(decoder.context.as_ptr(), parameter, window_log_max.into()) })?;
        Ok(decoder)
    }

    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let mut source = c::ZSTD_inBuffer { src: input.as_ptr().cast(), size: input.len(), pos: 0 };
        let mut target = c::ZSTD_outBuffer { dst: output.as_mut_ptr().cast(), size: output.len(), pos: 0 };
        // SAFETY: the context is valid, and both buffers are as long as they say for as long as the call lasts.
        let left = checked(unsafe { c::ZSTD_decompressStream(self.context.as_ptr(), &mut target, &mut source) })?;
        self.since_dropped += target.pos;
        if self.since_dropped >= STEP {
            self.since_dropped = 0;
            // SAFETY: `memory` is the `Box` of `new`, and its other user, the library, is not running.
            if let Some(window) = unsafe { &self.memory.as_ref().window } {
                window.drop_from_memory();
            }
        }
        Ok(Step { read: source.pos, written: target.pos, inside: left > 0 })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: both are valid and used by nothing else. The context goes first, because it uses the memory.
        unsafe {
            c::ZSTD_freeDCtx(self.context.as_ptr());
            drop(Box::from_raw(self.memory.as_ptr()));
        }
    }
}

fn checked(result: usize) -> io::Result<usize> {
    // SAFETY: any number may be asked about.
    if unsafe { c::ZSTD_isError(result) } == 0 { Ok(result) } else { Err(io::Error::other(Refused(result))) }
}

/// Where the decoder's buffers are.
struct Memory {
    folder: PathBuf,
    window: Option<Mapped>,
}

/// Pages of a file without a name.
struct Mapped {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapped {
    /// All blocks are the file's from the start: a full file system is an error here, and not a SIGBUS later.
    fn new(folder: &Path, length: usize) -> io::Result<Self> {
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let file = File::options().read(true).write(true).mode(0o600).custom_flags(flags).open(folder)?;
        fallocate(&file, FallocateFlags::empty(), 0, length as u64)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses. It keeps the file, which no one else can name.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        let mapped = NonNull::new(start).filter(|_| start != libc::MAP_FAILED);
        mapped.map(|start| Self { start, length }).ok_or_else(io::Error::last_os_error)
    }

    fn drop_from_memory(&self) {
        // SAFETY: the range is this mapping. It is shared, so its content stays in the file and comes back with the next look.
        unsafe { libc::madvise(self.start.as_ptr(), self.length, libc::MADV_DONTNEED) };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and the decoder has given it back.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// The window in a file if it is large and a file can be had, all else as usual.
unsafe extern "C" fn allocate(opaque: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: `opaque` is the `Memory` of a decoder, which calls this in its own thread only.
    let memory = unsafe { &mut *opaque.cast::<Memory>() };
    if size >= LARGE
        && memory.window.is_none()
        && let Ok(window) = Mapped::new(&memory.folder, size)
    {
        return memory.window.insert(window).start.as_ptr();
    }
    // SAFETY: malloc(3) may be asked for any size.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn release(opaque: *mut c_void, address: *mut c_void) {
    // SAFETY: as in `allocate`.
    let memory = unsafe { &mut *opaque.cast::<Memory>() };
    if memory.window.take_if(|window| window.start.as_ptr() == address).is_none() {
        // SAFETY: what is not the window came from malloc(3), or is null.
        unsafe { libc::free(address) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(folder: &Path, packed: &[u8], expected: usize) -> (Vec<u8>, bool) {
        let mut decoder = Decoder::new(folder, 23).unwrap();
        let (mut all, mut buffer, mut at, mut in_file) = (Vec::new(), vec![0; 32 << 10], 0, false);
        while all.len() < expected {
            let step = decoder.step(&packed[at..packed.len().min(at + 10_000)], &mut buffer).unwrap();
            at += step.read;
            all.extend_from_slice(&buffer[..step.written]);
            // SAFETY: the decoder is not running.
            in_file |= unsafe { decoder.memory.as_ref() }.window.is_some();
        }
        (all, in_file)
    }

    #[test]
    fn a_window_lies_in_a_file_and_without_one_in_memory() {
        // Every part comes again, further back than what is kept in memory.
        let part: Vec<u8> = (0u64..400_000).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
        let plain = part.repeat(6);
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(23).unwrap();
        io::Write::write_all(&mut encoder, &plain).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(packed.len() < plain.len() / 4, "the repetitions are found in the window");
        let folder = tempfile::tempdir().unwrap();
        for (case, folder, in_file) in [
            ("a folder", folder.path(), true),
            ("none", Path::new("/none"), false),
            ("a file", Path::new("/proc/version"), false),
        ] {
            let (decoded, was) = decode(folder, &packed, plain.len());
            assert!(decoded == plain, "{case}");
            assert_eq!(was, in_file, "{case}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
