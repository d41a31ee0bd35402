//! Removes what a killed agent left behind, before the first action: processes, mounts, directories.

use std::fs;
use std::path::Path;

use crate::container::cgroup;
use crate::rootfs;

/// This is never fatal. Anything that cannot be removed costs memory and gets a line in the log.
pub fn remove(containers: &Path) {
    for group in cgroup::leftovers() {
        match cgroup::remove(&group) {
            Ok(()) => log::warn!("ended the processes that were still running in {}", group.display()),
            Err(error) => log::error!("cannot end what runs in {}: {error}", group.display()),
        }
    }
    let read = match fs::read_dir(containers) {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return log::warn!("cannot read {}: {error}", containers.display()),
    };
    for path in read.flatten().map(|entry| entry.path()) {
        if let Err(error) = rootfs::remove(&path) {
            log::warn!("cannot remove {}: {error}; its memory stays in use", path.display());
        }
    }
}
