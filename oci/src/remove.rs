//! Removes foreign trees of any depth, with a few descriptors and constant memory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Removes a file or a whole directory. A missing one is not an error, and links are not followed.
///
/// # Errors
/// If the file system fails.
pub fn remove_all(path: &Path) -> io::Result<()> {
    remove_at(CWD, path.as_os_str())
}

/// The same for a name in an open directory.
pub(crate) fn remove_at(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    empty(&openat(&parent, name, DIRECTORY, Mode::empty())?)?;
    Ok(unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

/// Folders at this depth are moved to the top before they are removed, so the depth does not matter.
const LEVELS: usize = 64;

fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut number = 0u64;
    let mut below: Vec<OwnedFd> = Vec::new();
    loop {
        let directory = below.last().unwrap_or(top);
        match drop_files(directory)? {
            Some(inner) if below.len() < LEVELS => below.push(openat(directory, &inner, DIRECTORY, Mode::empty())?),
            Some(inner) => loop {
                number += 1;
                match renameat_with(directory, &inner, top, format!(".{number}"), RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => {}
                    moved => break moved?,
                }
            },
            None if below.pop().is_none() => return Ok(()), // otherwise it is removed with the next pass over its parent
            None => {}
        }
    }
}

/// Removes files and empty folders. Returns the name of a folder that is not empty, if any.
fn drop_files(directory: &OwnedFd) -> io::Result<Option<OsString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut removed = if entry.file_type() == FileType::Directory {
            Err(Errno::ISDIR)
        } else {
            unlinkat(directory, name, AtFlags::empty())
        };
        if matches!(removed, Err(Errno::ISDIR | Errno::PERM)) {
            removed = unlinkat(directory, name, AtFlags::REMOVEDIR);
        }
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(OsStr::from_bytes(name.to_bytes()).to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tree_of_any_depth_and_width_is_removed_and_nothing_else() {
        let root = tempfile::tempdir_in("/dev/shm").unwrap(); // on a disk this takes minutes
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(root.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink(root.path().join("kept"), tree.join("a/link")).unwrap();
        std::os::unix::fs::symlink(root.path(), tree.join("a/b/up")).unwrap();
        for number in 0..300 {
            fs::create_dir(tree.join(format!(".{number}"))).unwrap(); // the removal itself uses such names
            fs::write(tree.join(format!(".{number}/file")), "").unwrap();
        }
        let mut directory = openat(CWD, &tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..40_000 {
            rustix::fs::mkdirat(&directory, "deep", Mode::RWXU).unwrap();
            directory = openat(&directory, "deep", DIRECTORY, Mode::empty()).unwrap();
        }
        let before = peak();
        remove_all(&tree).unwrap();
        assert!(peak() < before + 8192, "{} KiB more", peak() - before);
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["kept"]);
        remove_all(&tree).unwrap();
    }

    /// The peak memory of this process in KiB.
    fn peak() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
