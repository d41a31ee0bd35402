//! Missing firmware, read from the kernel's log. Only the log has the names that drivers tried.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use devices::firmware;
use machine::MissingFirmware;
use machine::files::FIRMWARE_MISSING;
use rustix::fs::OFlags;

/// The largest record with its fields (the kernel's CONSOLE_EXT_LOG_MAX).
const RECORD_MAX: usize = 8192;

pub struct KernelLog {
    file: File,
    told: BTreeSet<String>,
}

impl KernelLog {
    /// Reads from now on. While built-in drivers start, no file system has firmware anyway.
    pub fn open() -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits() as i32;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, told: BTreeSet::new() })
    }

    /// Reports new lines, each file once.
    pub fn report(&mut self) {
        let mut buffer = [0; RECORD_MAX];
        loop {
            let record = match self.file.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => buffer.get(..length).unwrap_or_default(),
                // The record was overwritten before it was read. The next one is available.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) => continue,
                Err(_) => return,
            };
            if let Some(missing) = firmware::missing(record)
                && self.told.insert(missing.file.to_owned())
            {
                log::warn!("{missing}");
                keep(&missing);
            }
        }
    }
}

/// Records it for the agent, which reports it to the server.
fn keep(missing: &MissingFirmware<'_>) {
    let file = OpenOptions::new().create(true).append(true).open(FIRMWARE_MISSING);
    if let Err(error) = file.and_then(|mut file| file.write_all(missing.render().as_bytes())) {
        log::warn!("cannot write {FIRMWARE_MISSING}: {error}");
    }
}

impl AsFd for KernelLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
