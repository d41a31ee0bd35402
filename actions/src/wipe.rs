//! `wipe`: makes a disk look empty. Nothing on it boots or is recognised afterwards.
//!
//! Partition tables, boot code and most signatures are in the first and last MiB, which are overwritten. The rest is
//! discarded if the disk supports that. This does not guarantee that the data is gone.

use crate::device::{self, DeviceError, Opened};
use crate::say;
use crate::sys;
use crate::variables::{VariableError, Variables};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const EDGE: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error("cannot write DEST_DISK {disk}")]
    Write {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
}

pub fn run(variables: &Variables) -> Result<(), WipeError> {
    let disk = variables.absolute_path("DEST_DISK")?;
    device::wait_for(&disk, device::APPEARS_WITHIN)?;
    let opened = device::open(&disk)?;
    let discarded = opened.is_block_device && sys::discard(&opened.file, 0, opened.size).is_ok();
    erase_edges(&opened).map_err(|source| WipeError::Write { disk: disk.clone(), source })?;
    if opened.is_block_device {
        device::reread_partitions(&disk, &opened.file)?;
    }
    let rest = if discarded { "discarded" } else { "left: the disk does not support discard" };
    say(&format!("erased the first and last MiB of {}; the rest is {rest}", disk.display()));
    Ok(())
}

fn erase_edges(opened: &Opened) -> io::Result<()> {
    // Two MiB through the page cache need no aligned memory.
    let flags = rustix::fs::fcntl_getfl(&opened.file)?.difference(rustix::fs::OFlags::DIRECT);
    rustix::fs::fcntl_setfl(&opened.file, flags)?;
    let edge = opened.size.min(EDGE);
    let zeros = vec![0; edge as usize];
    opened.file.write_all_at(&zeros, 0)?;
    opened.file.write_all_at(&zeros, opened.size - edge)?;
    opened.file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_edges_are_erased() {
        let folder = tempfile::tempdir().unwrap();
        for size in [4096, 1 << 20, 3 << 20] {
            let path = folder.path().join(size.to_string());
            std::fs::write(&path, vec![7u8; size]).unwrap();
            run(&Variables::of([("DEST_DISK", path.to_str().unwrap())])).unwrap();
            let data = std::fs::read(&path).unwrap();
            let edge = size.min(1 << 20);
            assert_eq!(data.len(), size);
            assert!(data[..edge].iter().chain(&data[size - edge..]).all(|byte| *byte == 0), "{size}");
            assert_eq!(data.iter().filter(|byte| **byte == 7).count(), size.saturating_sub(2 * edge));
        }
    }
}
