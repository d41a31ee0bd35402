//! `/dev/disk`: names of disks and partitions. They are made, updated and removed with their devices.
//!
//! The links are on devtmpfs, which actions see as well. A disk is read again whenever a program that had it open for
//! writing closes it. udevd does the same, because the kernel does not report a new file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use devices::disk::claims::{Change, Claims};
use devices::disk::is_named;
use machine::Chain;
use rustix::fs::inotify;

use super::jobs::{Job, Jobs};
use crate::PathError;

const DEV: &str = "/dev";
/// How many disks are read at once. A disk that does not answer keeps its place until the kernel fails the request.
const AT_ONCE: usize = 16;

pub struct Disks {
    claims: Claims,
    known: BTreeSet<String>,
    waiting: BTreeSet<String>,
    /// The disks that are being read, and whether to read them once more after that.
    looking: BTreeMap<String, bool>,
    watches: Option<OwnedFd>,
    watched: BTreeMap<i32, String>,
}

impl Disks {
    pub fn new() -> Self {
        prune(&Path::new(DEV).join("disk"));
        let watches = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let watches = watches
            .inspect_err(|error| log::warn!("new file systems get their names in /dev/disk only at the next boot: {error}"));
        Self {
            claims: Claims::default(),
            known: BTreeSet::new(),
            waiting: BTreeSet::new(),
            looking: BTreeMap::new(),
            watches: watches.ok(),
            watched: BTreeMap::new(),
        }
    }

    /// The descriptor to wait on for writers that close disks.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watches.as_ref().map(OwnedFd::as_fd)
    }

    /// Reads every disk that exists now. A disk that is gone loses its names.
    pub fn look_at_all(&mut self, sysfs: &Path) {
        let entries = fs::read_dir(sysfs.join("class/block")).into_iter().flatten().flatten();
        let names: BTreeSet<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        for gone in self.known.difference(&names).cloned().collect::<Vec<_>>() {
            self.gone(&gone);
        }
        names.iter().for_each(|name| self.came(name));
    }

    /// Called when a disk has appeared or changed.
    pub fn came(&mut self, name: &str) {
        if is_named(name) {
            self.known.insert(name.to_owned());
            self.waiting.insert(name.to_owned());
        }
    }

    pub fn gone(&mut self, name: &str) {
        self.waiting.remove(name);
        if self.known.remove(name) {
            self.watched.retain(|_, watched| watched != name);
            self.set_links(name, &[]);
        }
    }

    pub fn start(&mut self, jobs: &Jobs) {
        while self.looking.len() < AT_ONCE {
            let Some(name) = self.waiting.pop_first() else { return };
            match self.looking.get_mut(&name) {
                Some(again) => *again = true,
                None => {
                    self.watch_closing(&name);
                    self.looking.insert(name.clone(), false);
                    jobs.start(Job::Look { name });
                }
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        self.looking.is_empty() && self.waiting.is_empty()
    }

    pub fn looked(&mut self, name: &str, links: &[String]) {
        if self.looking.remove(name) == Some(true) {
            self.came(name);
        }
        if self.known.contains(name) {
            self.set_links(name, links);
        }
    }

    /// Starts before the disk is read, so that later writes are noticed.
    fn watch_closing(&mut self, name: &str) {
        let Some(watches) = &self.watches else { return };
        match inotify::add_watch(watches, Path::new(DEV).join(name), inotify::WatchFlags::CLOSE_WRITE) {
            Ok(id) => drop(self.watched.insert(id, name.to_owned())),
            Err(error) => log::debug!("cannot watch {name}: {error}"), // it is gone again
        }
    }

    /// Reads which disks were closed.
    pub fn closed(&mut self) {
        let Some(watches) = &self.watches else { return };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(watches, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::CLOSE_WRITE) {
                names.extend(self.watched.get(&event.wd()).cloned());
            }
        }
        names.iter().for_each(|name| self.came(name));
    }

    fn set_links(&mut self, name: &str, links: &[String]) {
        for change in self.claims.update(name, links) {
            let result = match &change {
                Change::Point { link, device } => point(&Path::new(DEV).join("disk").join(link), device),
                Change::Remove { link } => remove(&Path::new(DEV).join("disk").join(link)),
            };
            if let Err(error) = result {
                log::warn!("{}", Chain(&error));
            }
        }
    }
}

/// The link is made beside its place and moved there, so that it always exists.
fn point(link: &Path, device: &str) -> Result<(), PathError> {
    let folder = link.parent().unwrap_or(link);
    fs::create_dir_all(folder).map_err(PathError::new("cannot make", folder))?;
    let new = beside(link);
    let made = match symlink(format!("../../{device}"), &new) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new).and_then(|()| symlink(format!("../../{device}"), &new))
        }
        result => result,
    };
    made.and_then(|()| fs::rename(&new, link)).map_err(PathError::new("cannot make", link))
}

/// Removes names that an earlier run of this service left for devices that are gone.
fn prune(root: &Path) {
    let folder = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for link in folder(root).flat_map(|kind| folder(&kind)).filter(|link| !link.exists()) {
        if let Err(error) = remove(&link) {
            log::warn!("{}", Chain(&error));
        }
    }
}

fn beside(link: &Path) -> PathBuf {
    link.with_file_name(".new")
}

fn remove(link: &Path) -> Result<(), PathError> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(PathError::new("cannot remove", link)(error)),
        _ => {}
    }
    if let Some(folder) = link.parent() {
        let _ = fs::remove_dir(folder); // this only succeeds for the last one
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_missing_devices_are_removed() {
        let dev = tempfile::tempdir().unwrap();
        fs::write(dev.path().join("sda"), "").unwrap();
        for (link, device) in [("disk/by-id/a", "sda"), ("disk/by-uuid/b", "gone")] {
            point(&dev.path().join(link), device).unwrap();
        }
        prune(&dev.path().join("disk"));
        assert!(dev.path().join("disk/by-id/a").exists() && !dev.path().join("disk/by-uuid").exists());
    }

    #[test]
    fn links_are_made_changed_and_removed_with_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("disk/by-id/a");
        point(&link, "sda").unwrap();
        point(&link, "sdb").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("../../sdb"));
        assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1);
        remove(&link).unwrap();
        remove(&link).unwrap();
        assert!(!link.parent().unwrap().exists());
    }
}
