//! Files inside another system's root. Symlinks resolve as in that system, and never lead out of it.

use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, mkdirat, openat2, symlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    #[error("{0} must be an absolute path to a file, without ..")]
    BadPath(PathBuf),
    #[error("{0} is a symlink to a path that the target does not have")]
    DanglingLink(PathBuf),
    #[error("cannot {what} {path} in the target")]
    Failed {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug)]
pub struct Root {
    root: OwnedFd,
}

impl Root {
    pub fn open(path: &Path) -> Result<Self, InsideError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed("open", path, errno))?;
        Ok(Self { root })
    }

    /// Opens a file for reading.
    pub fn file(&self, path: &Path) -> Result<File, InsideError> {
        let inside: PathBuf = names(path)?.iter().collect();
        let opened = self.resolve(&inside, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Ok(File::from(opened.map_err(|errno| failed("open", path, errno))?))
    }

    /// Whether the target has a file or folder there, symlinks followed as in that system.
    pub fn has(&self, path: &str) -> bool {
        self.resolve(Path::new(path.trim_start_matches('/')), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_ok()
    }

    /// Makes a symlink, and first the folders above it. One that exists stays as it is.
    pub fn link(&self, to: &str, path: &Path, owner: Ownership) -> Result<(), InsideError> {
        let names = names(path)?;
        let (name, folders) = names.split_last().ok_or_else(|| InsideError::BadPath(path.to_owned()))?;
        self.create_folders(folders, owner, 0o755)?;
        let folder = if folders.is_empty() { PathBuf::from(".") } else { folders.iter().collect() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = self.resolve(&folder, flags, Mode::empty()).map_err(|errno| failed("open the folder of", path, errno))?;
        match symlinkat(to, &folder, *name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed("make the link", path, errno)),
        }
    }

    /// Writes a file, and first the folders above it. Existing folders keep their owner and permissions.
    pub fn write(
        &self,
        path: &Path,
        contents: &[u8],
        owner: Ownership,
        permissions: u32,
        folder_permissions: u32,
    ) -> Result<(), InsideError> {
        let names = names(path)?;
        let (_, folders) = names.split_last().ok_or_else(|| InsideError::BadPath(path.to_owned()))?;
        self.create_folders(folders, owner, folder_permissions)?;
        let inside: PathBuf = names.iter().collect();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = match self.resolve(&inside, flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::NOENT) => return Err(InsideError::DanglingLink(path.to_owned())),
            opened => opened.map_err(|errno| failed("open", path, errno))?,
        };
        let mut file = File::from(file);
        file.write_all(contents).map_err(|source| InsideError::Failed { what: "write", path: path.to_owned(), source })?;
        set_owner(&file, owner, permissions, path)?;
        file.sync_all().map_err(|source| InsideError::Failed { what: "sync", path: path.to_owned(), source })
    }

    /// Opens a folder for reading, after making it and those above it if they are missing.
    ///
    /// # Errors
    /// A path with `..`, a file in the way, or what the file system says.
    pub fn folder(&self, path: &Path) -> Result<File, InsideError> {
        let names = steps(path)?;
        self.create_folders(&names, Ownership { uid: 0, gid: 0 }, 0o755)?;
        let inside: PathBuf = [Path::new(".")].iter().chain(&names).collect();
        let opened = self.resolve(&inside, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(File::from(opened.map_err(|errno| failed("open the folder", path, errno))?))
    }

    fn create_folders(&self, names: &[&Path], owner: Ownership, permissions: u32) -> Result<(), InsideError> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut path = PathBuf::new();
        let mut parent =
            self.resolve(Path::new("."), folder, Mode::empty()).map_err(|errno| failed("open", Path::new("/"), errno))?;
        for name in names {
            path.push(name);
            let shown = Path::new("/").join(&path);
            let missing = match self.resolve(&path, folder, Mode::empty()) {
                Ok(found) => {
                    parent = found;
                    false
                }
                Err(Errno::NOENT) => true,
                Err(errno) => return Err(failed("open the folder", &shown, errno)),
            };
            if missing {
                match mkdirat(&parent, *name, Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) => return Err(InsideError::DanglingLink(shown)),
                    made => made.map_err(|errno| failed("make the folder", &shown, errno))?,
                }
                let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                parent = rustix::fs::openat(&parent, *name, readable, Mode::empty())
                    .map_err(|errno| failed("open the folder", &shown, errno))?;
                set_owner(&parent, owner, permissions, &shown)?;
            }
        }
        Ok(())
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path, flags, mode, resolve)
    }
}

fn set_owner(file: impl std::os::fd::AsFd, owner: Ownership, permissions: u32, path: &Path) -> Result<(), InsideError> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    fchown(&file, Some(uid), Some(gid)).map_err(|errno| failed("give an owner to", path, errno))?;
    // This comes after the owner, because chown clears setuid.
    fchmod(&file, Mode::from_raw_mode(permissions)).map_err(|errno| failed("set the permissions of", path, errno))
}

fn failed(what: &'static str, path: &Path, errno: Errno) -> InsideError {
    InsideError::Failed { what, path: path.to_owned(), source: errno.into() }
}

fn names(path: &Path) -> Result<Vec<&Path>, InsideError> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(InsideError::BadPath(path.to_owned()));
    }
    steps(path)
}

fn steps(path: &Path) -> Result<Vec<&Path>, InsideError> {
    let bad = || InsideError::BadPath(path.to_owned());
    if !path.is_absolute() {
        return Err(bad());
    }
    let names = path.components().filter_map(|component| match component {
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        Component::Normal(name) => Some(Ok(Path::new(name))),
        Component::ParentDir => Some(Err(bad())),
    });
    names.collect()
}

#[cfg(test)]
mod tests;
