//! Opens a file that a client names, below one folder only. The name is checked first. While the kernel follows the
//! path, it refuses to leave the folder, also by a symbolic link. What the kernel has in memory needs no other thread.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0:?} leads outside the served folder")]
    Outside(String),
    #[error("{0:?} does not exist")]
    Missing(String),
    #[error("cannot open {path:?}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// The path as plain names. `None` if it climbs, is absolute, or cannot name a file.
pub fn plain(path: &str) -> Option<PathBuf> {
    if path.is_empty() || path.contains(['\0', '\\']) {
        return None;
    }
    let components = Path::new(path).components();
    components
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect::<Option<PathBuf>>()
        .filter(|path| !path.as_os_str().is_empty())
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// NONBLOCK: a FIFO in the folder must not block the thread.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// `open`, if the kernel has the path in memory. `None` if it would have to ask the file system, or cannot say.
pub fn open_cached(folder: &Path, path: &str) -> Option<Result<File, OpenError>> {
    let Some(relative) = plain(path) else { return Some(open(folder, path)) }; // it is refused without a look
    let root = openat2(CWD, folder, FOLDER, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let file = File::from(openat2(&root, &relative, FILE, Mode::empty(), INSIDE | ResolveFlags::CACHED).ok()?);
    file.metadata().ok()?.is_file().then_some(Ok(file))
}

/// Opens a regular file for reading. It blocks as long as the file system does.
pub fn open(folder: &Path, path: &str) -> Result<File, OpenError> {
    let name = || path.chars().take(200).collect::<String>();
    let relative = plain(path).ok_or_else(|| OpenError::Outside(name()))?;
    let failed = |errno: Errno| match errno {
        Errno::XDEV | Errno::LOOP => OpenError::Outside(name()),
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => OpenError::Missing(name()),
        errno => OpenError::Io { path: name(), source: errno.into() },
    };
    let root = rustix::fs::open(folder, FOLDER, Mode::empty()).map_err(failed)?;
    let file = match openat2(&root, &relative, FILE, Mode::empty(), INSIDE) {
        Ok(file) => File::from(file),
        // Kernels before 5.6 and some sandboxes do not have the call.
        Err(Errno::NOSYS | Errno::PERM) => open_canonical(folder, &relative).map_err(|error| {
            error.map_or_else(
                || OpenError::Outside(name()),
                |source| match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::Missing(name()),
                    _ => OpenError::Io { path: name(), source },
                },
            )
        })?,
        Err(errno) => return Err(failed(errno)),
    };
    let is_file = file.metadata().map_err(|source| OpenError::Io { path: name(), source })?.is_file();
    if is_file { Ok(file) } else { Err(OpenError::Missing(name())) }
}

/// The same in two steps. `Err(None)` means outside.
fn open_canonical(folder: &Path, relative: &Path) -> Result<File, Option<io::Error>> {
    let folder = folder.canonicalize().map_err(Some)?;
    let path = folder.join(relative).canonicalize().map_err(Some)?;
    if !path.starts_with(&folder) {
        return Err(None);
    }
    if !path.metadata().map_err(Some)?.is_file() {
        return Err(Some(io::ErrorKind::NotFound.into()));
    }
    File::open(path).map_err(Some)
}

/// Fills the buffer from the page cache, if all of it is there.
pub fn read_cached(file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match preadv2(file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
        Ok(length) => Ok(length == buffer.len()),
        Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_of_the_folder_are_opened() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("files");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("sub/kernel"), "k").unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        symlink("sub/kernel", folder.join("inside")).unwrap();
        symlink("../secret", folder.join("outside")).unwrap();
        symlink(outer.path(), folder.join("up")).unwrap();
        let looks = |path: &str| match open(&folder, path) {
            Ok(_) => "opened",
            Err(OpenError::Outside(_)) => "outside",
            Err(OpenError::Missing(_)) => "missing",
            Err(OpenError::Io { .. }) => "broken",
        };
        for (path, result) in [
            ("sub/kernel", "opened"),
            ("./sub//kernel", "opened"),
            ("inside", "opened"),
            ("sub", "missing"),
            ("nothing", "missing"),
            ("sub/kernel/x", "missing"),
            ("outside", "outside"),
            ("up/secret", "outside"),
            ("../secret", "outside"),
            ("sub/../../secret", "outside"),
            ("sub/../sub/kernel", "outside"),
            ("/etc/passwd", "outside"),
            ("sub\\..\\kernel", "outside"),
            ("kernel\0", "outside"),
            ("", "outside"),
            (".", "outside"),
        ] {
            assert_eq!(looks(path), result, "{path:?}");
            let cached = open_cached(&folder, path); // now that the kernel has looked
            assert!(cached.is_none_or(|cached| cached.is_ok() == (result == "opened")), "{path:?}");
        }
        assert!(matches!(open_canonical(&folder, Path::new("outside")), Err(None)), "without openat2");
        assert!(open_canonical(&folder, Path::new("inside")).is_ok());
        assert!(matches!(open_canonical(&folder, Path::new("sub")), Err(Some(_))));
    }
}
