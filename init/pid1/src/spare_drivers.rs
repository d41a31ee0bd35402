//! Removes drivers that a small machine does not need, because their files take memory. With the standard kernel, a machine
//! of 128 MiB has 80 MiB left, and a ramdisk for any machine has 13 MiB of drivers for other machines.

use std::fs;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use devices::spare;
use machine::{Chain, Milestone, files};

use crate::memory::{MemoryInfo, mib};
use crate::modules::{NoTree, Tree};
use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError};

/// Machines with more memory than this have room for all drivers. The kernel and the firmware have already taken their
/// share.
const SMALL: u64 = 88 << 20;
/// Drivers that take longer than this to start their devices are not affected, because their files were opened long ago.
const DRIVERS_WITHIN: Duration = Duration::from_secs(30);
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// Runs after the network has an address, so the driver of the network card is loaded.
pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let total = MemoryInfo::read().map_err(PathError::new("cannot read", MemoryInfo::PATH))?.total;
    if total > SMALL {
        return Ok(());
    }
    let tree = match Tree::of_this_kernel() {
        Ok(tree) => tree,
        Err(NoTree::None(_) | NoTree::OtherKernel { .. }) => return Ok(()), // the devices service has reported it
    };
    wait_for_drivers();
    let lists = tree.lists();
    let mut freed = Freed::default();
    for path in spare::drivers_of_fixed_devices(&lists) {
        if let Err(error) = tree.remove(path).map(|bytes| freed.add(bytes)) {
            log::warn!("cannot free the memory of the driver {path}: {}", Chain(&error));
        }
    }
    if freed.files > 0 {
        log::info!(
            "memory is small: removed {} drivers of PCI devices that this machine does not have ({})",
            freed.files,
            mib(freed.bytes)
        );
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Freed {
    files: u32,
    bytes: u64,
}

impl Freed {
    fn add(&mut self, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.files += 1;
            self.bytes += bytes;
        }
    }
}

/// Waits until the devices of the boot have their drivers.
fn wait_for_drivers() {
    let began = Instant::now();
    while began.elapsed() < DRIVERS_WITHIN {
        let boot = fs::read_to_string(files::BOOT).unwrap_or_default();
        if Milestone::Drivers.at(&boot).is_some() {
            return;
        }
        sleep(LOOKED_EVERY);
    }
}

impl Tree {
    /// Removes the file of a module. Returns its size, or `None` if it is gone already, because loaded modules are removed.
    fn remove(&self, path: &str) -> io::Result<Option<u64>> {
        let file = self.file(path);
        let bytes = match fs::symlink_metadata(&file) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        fs::remove_file(&file).map(|()| Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_removed_driver_is_counted() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("e1000.ko"), [0; 100]).unwrap();
        let tree = Tree::at(root.path());
        let mut freed = Freed::default();
        for path in ["e1000.ko", "e1000.ko", "loaded.ko"] {
            freed.add(tree.remove(path).unwrap());
        }
        assert_eq!(freed, Freed { files: 1, bytes: 100 });
    }
}
