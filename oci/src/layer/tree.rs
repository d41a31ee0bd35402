//! Files below a root that no entry can leave. Every directory is opened with RESOLVE_IN_ROOT, and the last component is
//! never followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr, fstat, futimens, linkat, lsetxattr, makedev, mkdirat,
    mknodat, openat, openat2, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::archive::{Entry, Kind};
use crate::remove::remove_at;

/// The kernel's limit.
const LINKS_MAX: usize = 40;
/// How deep folders may be nested. Deeper ones cost time with each entry in them, and real images do not have them.
pub const DEPTH_MAX: usize = 256;

pub struct Tree {
    root: OwnedFd,
    /// The kernel's name of the root.
    name: Option<PathBuf>,
    /// The directory of the previous entry. Archives are sorted, so usually the next entry is in it, too.
    current: Option<Current>,
}

/// A directory that is being filled. Its times come from the archive and do not change with its content.
struct Current {
    /// Its path in the archive.
    path: PathBuf,
    /// Its path without links.
    resolved: PathBuf,
    directory: OwnedFd,
    times: Option<Timestamps>,
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(times) = &self.times {
            let _ = futimens(&self.directory, times); // an error only means that the time is wrong
        }
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Tree {
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = openat(CWD, root, DIRECTORY, Mode::empty())?;
        Ok(Self { name: name_of(&root), root, current: None })
    }

    /// The directory of the previous entry, without links in its path.
    pub fn directory_of_last(&self) -> &Path {
        self.current.as_ref().map_or(Path::new(""), |current| &current.resolved)
    }

    /// Makes a directory. An existing one keeps its content.
    pub fn directory(&mut self, path: &Path, entry: &Entry) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let mut existed = false;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => existed = true,
            Ok(_) => {
                unlinkat(parent, name, AtFlags::empty())?;
                mkdirat(parent, name, Mode::RWXU)?;
            }
            Err(Errno::NOENT) => mkdirat(parent, name, Mode::RWXU)?,
            Err(error) => return Err(error.into()),
        }
        let directory = openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        if existed {
            forget_xattrs(&directory, entry)?;
        }
        Self::adorn(&directory, entry)
    }

    pub fn adorn_root(&mut self, entry: &Entry) -> io::Result<()> {
        self.current = None;
        Self::adorn(&self.root, entry)
    }

    pub fn create(&mut self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.vacant(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    pub fn symlink(&mut self, path: &Path, entry: &Entry) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        symlinkat(&entry.link, parent, name)?;
        adorn_at(parent, name, entry)
    }

    /// `target` is a path in the archive. A link as target is not followed.
    pub fn hard_link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let (from, old) = split(target)?;
        let source = self.open_directory(from)?;
        let (parent, name) = self.parent(path)?;
        let id = |directory: &OwnedFd, name| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| (s.st_dev, s.st_ino));
        let linked = id(&source, old)?;
        if id(parent, name) == Ok(linked) {
            return Ok(()); // the link exists already, or points to itself
        }
        remove_at(parent, name)?;
        Ok(linkat(source, old, parent, name, AtFlags::empty())?)
    }

    pub fn node(&mut self, path: &Path, entry: &Entry) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        let device = makedev(entry.device.0, entry.device.1);
        let (file_type, device) = match entry.kind {
            Kind::Character => (FileType::CharacterDevice, device),
            Kind::Block => (FileType::BlockDevice, device),
            _ => (FileType::Fifo, 0),
        };
        match mknodat(parent, name, file_type, Mode::from_raw_mode(entry.mode), device) {
            Ok(()) => {
                adorn_at(parent, name, entry)?;
                Ok(chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?) // mknod applies the umask
            }
            Err(Errno::PERM) => Ok(()), // the agent is unprivileged; the container gets its devices from devtmpfs anyway
            Err(error) => Err(error.into()),
        }
    }

    /// Enters a directory if it exists. A file at that path does not count.
    pub fn enter(&mut self, path: &Path) -> io::Result<bool> {
        if self.current.as_ref().is_some_and(|current| current.path == path) {
            return Ok(true);
        }
        self.current = None;
        match self.open_directory(path) {
            Ok(directory) => self.go(path, directory).map(|()| true),
            Err(error) if is_absence(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a file or a whole directory from the entered directory. A missing one is not an error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        remove_at(self.here(), name)
    }

    /// Removes what is in the root under names that begin so.
    pub fn remove_from_root(&mut self, beginning: &[u8]) -> io::Result<()> {
        self.current = None;
        for entry in Dir::read_from(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(beginning) {
                remove_at(&self.root, OsStr::from_bytes(entry.file_name().to_bytes()))?;
            }
        }
        Ok(())
    }

    /// A link to a directory does not count.
    pub fn is_directory(&self, name: &OsStr) -> bool {
        let stat = statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Empties the entered directory, except for the paths that `keep` selects. A kept directory is searched in turn.
    pub fn clear(&self, keep: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        clear_at(self.here(), self.directory_of_last(), keep)
    }

    fn here(&self) -> &OwnedFd {
        self.current.as_ref().map_or(&self.root, |current| &current.directory)
    }

    /// Sets the owner first, because chown removes setuid bits and capabilities.
    pub fn adorn(file: &impl AsFd, entry: &Entry) -> io::Result<()> {
        tolerate(fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))))?;
        fchmod(file, Mode::from_raw_mode(entry.mode))?;
        for (name, value) in &entry.xattrs {
            tolerate(fsetxattr(file, name.as_os_str(), value, XattrFlags::empty()))?;
        }
        set_times(futimens(file, &times(entry)))
    }

    /// The directory of `path`, after removing an existing entry at `path`.
    fn vacant<'p>(&mut self, path: &'p Path) -> io::Result<(&OwnedFd, &'p OsStr)> {
        let (parent, name) = self.parent(path)?;
        remove_at(parent, name)?;
        Ok((parent, name))
    }

    fn parent<'p>(&mut self, path: &'p Path) -> io::Result<(&OwnedFd, &'p OsStr)> {
        let (directory, name) = split(path)?;
        if self.current.as_ref().is_none_or(|current| current.path != directory) {
            self.current = None;
            let opened = self.open_or_create(directory)?;
            self.go(directory, opened)?;
        }
        Ok((self.here(), name))
    }

    fn go(&mut self, path: &Path, directory: OwnedFd) -> io::Result<()> {
        let within = |name: PathBuf| Some(name.strip_prefix(self.name.as_ref()?).ok()?.to_owned());
        let resolved = name_of(&directory).and_then(within).unwrap_or_else(|| path.to_owned());
        if resolved.components().count() > DEPTH_MAX {
            return Err(too_deep());
        }
        let times = fstat(&directory).ok().map(|stat| Timestamps {
            last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec.cast_signed() },
            last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() },
        });
        self.current = Some(Current { path: path.to_owned(), resolved, directory, times });
        Ok(())
    }

    fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(openat2(&self.root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
    }

    fn open_or_create(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open_directory(path) {
            Err(error) if is_absence(&error) => self.make(path),
            other => other,
        }
    }

    /// Archives may leave parent directories out, and may name them through links to missing targets. A file in the way is
    /// removed.
    fn make(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut rest = steps(path);
        let (mut here, mut links) = (PathBuf::new(), 0);
        while let Some(name) = rest.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let parent = self.open_directory(&here)?;
            let kind = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
            match kind {
                Ok(FileType::Directory) => {}
                Ok(FileType::Symlink) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = readlinkat(&parent, &name, Vec::new())?;
                    let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                    if target.is_absolute() {
                        here.clear();
                    }
                    rest.extend(steps(target));
                    continue;
                }
                Ok(_) => {
                    unlinkat(&parent, &name, AtFlags::empty())?;
                    mkdirat(&parent, &name, Mode::from_raw_mode(0o755))?;
                }
                Err(Errno::NOENT) => mkdirat(&parent, &name, Mode::from_raw_mode(0o755))?,
                Err(error) => return Err(error.into()),
            }
            here.push(name);
            if here.components().count() > DEPTH_MAX {
                return Err(too_deep());
            }
        }
        self.open_directory(&here)
    }
}

fn too_deep() -> io::Error {
    io::Error::other(format!("it is more than {DEPTH_MAX} folders deep"))
}

/// The components of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    steps.map(|step| step.as_os_str().to_owned()).rev().collect()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The kernel's name of an open directory.
fn name_of(directory: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// A file system that cannot store the time has the nearest one, or a time of its choice.
fn set_times(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::INVAL | Errno::OVERFLOW) => Ok(()),
        other => Ok(other?),
    }
}

/// Only files and directories can be opened for this, so other kinds are set by name.
fn adorn_at(parent: &OwnedFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    tolerate(chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    if !entry.xattrs.is_empty() {
        let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
        for (key, value) in &entry.xattrs {
            match lsetxattr(&path, key.as_os_str(), value, XattrFlags::empty()) {
                Err(Errno::PERM) => {} // the kernel does not allow user attributes on a link
                other => tolerate(other)?,
            }
        }
    }
    set_times(utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW))
}

/// If a layer has a directory, it determines all its attributes. The security label belongs to the machine.
fn forget_xattrs(directory: &OwnedFd, entry: &Entry) -> io::Result<()> {
    let mut names = [0; 4096];
    let length = match flistxattr(directory, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::RANGE) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty());
    for name in names.map(OsStr::from_bytes) {
        let stays = name == "security.selinux" || entry.xattrs.iter().any(|(kept, _)| kept == name);
        let mut none: [u8; 0] = [];
        // Some file systems list attributes that are not stored.
        if !stays && fgetxattr(directory, name, &mut none).is_ok() {
            let _ = fremovexattr(directory, name);
        }
    }
    Ok(())
}

/// Without root, settings that need root are left out. So are those that the file system does not support.
fn tolerate(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

fn clear_at(directory: &OwnedFd, path: &Path, keep: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if !keep(&path.join(name)) {
            remove_at(directory, name)?;
        } else if entry.file_type() == FileType::Directory {
            kept.push(name.to_owned());
        }
    }
    for name in kept {
        let inner = openat(directory, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        let times = fstat(&inner)?;
        clear_at(&inner, &path.join(&name), keep)?;
        let last_modification = Timespec { tv_sec: times.st_mtime, tv_nsec: times.st_mtime_nsec.cast_signed() };
        set_times(futimens(&inner, &Timestamps { last_access: last_modification, last_modification }))?;
    }
    Ok(())
}
