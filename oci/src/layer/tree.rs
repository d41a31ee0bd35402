//! Files below a root that no entry can leave: every directory is opened with RESOLVE_IN_ROOT, every last
//! component is acted on without following it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

pub struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// The entry's content is not the file's, but a map of it and its parts.
    pub pax_sparse: bool,
}

pub struct Tree {
    root: OwnedFd,
    /// The directory of the last entry: archives are sorted, so it mostly is the next one's too.
    last: Option<(PathBuf, OwnedFd)>,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Tree {
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: openat(CWD, root, DIRECTORY, Mode::empty())?, last: None })
    }

    pub fn directory(&mut self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) => {
                unlinkat(parent, name, AtFlags::empty())?;
                mkdirat(parent, name, Mode::RWXU)?;
            }
            Err(Errno::NOENT) => mkdirat(parent, name, Mode::RWXU)?,
            Err(error) => return Err(error.into()),
        }
        let directory = openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Self::adorn(&directory, attributes)
    }

    pub fn adorn_root(&self, attributes: &Attributes) -> io::Result<()> {
        Self::adorn(&self.root, attributes)
    }

    pub fn create(&mut self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.vacant(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    pub fn symlink(&mut self, path: &Path, target: &Path, attributes: &Attributes) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        symlinkat(target, parent, name)?;
        adorn_at(parent, name, attributes)
    }

    /// `target` is a path of the archive, and a link's link is not followed.
    pub fn hard_link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let (from, old) = split(target)?;
        let source = self.open_directory(from)?;
        let (parent, name) = self.vacant(path)?;
        Ok(linkat(source, old, parent, name, AtFlags::empty())?)
    }

    pub fn node(
        &mut self,
        path: &Path,
        kind: tar::EntryType,
        (major, minor): (Option<u32>, Option<u32>),
        attributes: &Attributes,
    ) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        let (file_type, device) = match kind {
            tar::EntryType::Char => (FileType::CharacterDevice, makedev(major.unwrap_or(0), minor.unwrap_or(0))),
            tar::EntryType::Block => (FileType::BlockDevice, makedev(major.unwrap_or(0), minor.unwrap_or(0))),
            _ => (FileType::Fifo, 0),
        };
        match mknodat(parent, name, file_type, Mode::from_raw_mode(attributes.mode), device) {
            Ok(()) => {
                chmodat(parent, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())?; // mknod asks the umask
                adorn_at(parent, name, attributes)
            }
            Err(Errno::PERM) => Ok(()), // an unprivileged agent; the container gets its devices from devtmpfs anyway
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file or a whole directory. A missing one is fine.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.last = None;
        let (from, name) = split(path)?;
        match self.open_directory(from) {
            Ok(parent) => remove_at(&parent, name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A link to a directory does not count.
    pub fn is_directory(&self, path: &Path) -> bool {
        let Ok((from, name)) = split(path) else { return false };
        let stat = self.open_directory(from).ok().and_then(|parent| statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok());
        stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Empties a directory except for the paths `keep` names (a kept directory is searched in turn).
    pub fn clear(&mut self, path: &Path, keep: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.last = None;
        let directory = match self.open_directory(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        clear_at(&directory, path, keep)
    }

    /// Ownership first: chown takes setuid bits away.
    pub fn adorn(file: &impl AsFd, attributes: &Attributes) -> io::Result<()> {
        tolerate(fchown(file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid))))?;
        fchmod(file, Mode::from_raw_mode(attributes.mode))?;
        for (name, value) in &attributes.xattrs {
            tolerate(fsetxattr(file, name.as_str(), value, XattrFlags::empty()))?;
        }
        Ok(futimens(file, &times(attributes))?)
    }

    /// The directory of `path`, after an existing entry at `path` is removed.
    fn vacant<'p>(&mut self, path: &'p Path) -> io::Result<(&OwnedFd, &'p OsStr)> {
        let (parent, name) = self.parent(path)?;
        remove_at(parent, name)?;
        Ok((parent, name))
    }

    fn parent<'p>(&mut self, path: &'p Path) -> io::Result<(&OwnedFd, &'p OsStr)> {
        let (directory, name) = split(path)?;
        if self.last.as_ref().is_none_or(|(last, _)| last != directory) {
            let opened = self.open_or_create(directory)?;
            self.last = Some((directory.to_owned(), opened));
        }
        let parent = self.last.as_ref().map_or(&self.root, |(_, fd)| fd);
        Ok((parent, name))
    }

    fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(openat2(&self.root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
    }

    /// Archives may leave parents out.
    fn open_or_create(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open_directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.parent().is_some() => {
                let (above, name) = split(path)?;
                let parent = self.open_or_create(above)?;
                match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => self.open_directory(path),
                    Err(error) => Err(error.into()),
                }
            }
            other => other,
        }
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

fn times(attributes: &Attributes) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(attributes.mtime).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn adorn_at(parent: &OwnedFd, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
    tolerate(chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    Ok(utimensat(parent, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Without root, what only root may set is left out. So is what the file system does not support.
fn tolerate(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

fn remove_at(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let directory = openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    clear_at(&directory, Path::new(""), &|_| false)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn clear_at(directory: &OwnedFd, path: &Path, keep: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    for (name, is_directory) in children(directory)? {
        let child = path.join(&name);
        if !keep(&child) {
            remove_at(directory, &name)?;
        } else if is_directory {
            let inner = openat(directory, name.as_os_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            clear_at(&inner, &child, keep)?;
        }
    }
    Ok(())
}

fn children(directory: &OwnedFd) -> io::Result<Vec<(std::ffi::OsString, bool)>> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push((OsStr::from_bytes(name).to_owned(), entry.file_type() == FileType::Directory));
        }
    }
    Ok(found)
}
