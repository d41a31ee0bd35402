//! The container's root: an overlay of the image (untouched, for the next action) and a place for what this one writes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};

#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("cannot create {path:?}")]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot mount the overlay of {lower:?}: is the overlay module loaded?")]
    Mount {
        lower: PathBuf,
        #[source]
        source: nix::Error,
    },
}

/// Mounts `lower` with a writable layer on `bundle/rootfs`; `devices`: whether device nodes in it work.
pub fn mount_overlay(lower: &Path, bundle: &Path, devices: bool) -> Result<PathBuf, RootfsError> {
    let [rootfs, upper, work] = ["rootfs", "upper", "work"].map(|name| bundle.join(name));
    for path in [&rootfs, &upper, &work] {
        fs::create_dir_all(path).map_err(|source| RootfsError::Create { path: path.clone(), source })?;
    }
    let data = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let flags = if devices { MsFlags::empty() } else { MsFlags::MS_NODEV };
    mount(Some("overlay"), &rootfs, Some("overlay"), flags, Some(data.as_str()))
        .map_err(|source| RootfsError::Mount { lower: lower.to_owned(), source })?;
    Ok(rootfs)
}

/// Unmounts everything in the container's directory and removes it. If a mount stays, the directory stays: removing it
/// would remove what is mounted.
pub fn remove(bundle: &Path) -> io::Result<()> {
    if !bundle.exists() {
        return Ok(());
    }
    for target in mounts_below(&crate::proc::read("/proc/self/mountinfo")?, bundle) {
        umount2(&target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    if !mounts_below(&crate::proc::read("/proc/self/mountinfo")?, bundle).is_empty() {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "something is still mounted there"));
    }
    fs::remove_dir_all(bundle)
}

/// Mount points at and below `path`, the innermost first.
fn mounts_below(mountinfo: &str, path: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    let mut below: Vec<PathBuf> = points.filter(|p| p.starts_with(path)).collect();
    below.reverse(); // mountinfo lists them in the order they were mounted
    below
}

/// The kernel writes blanks and backslashes in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// A small file of the image, without following links out of it; empty if there is none.
pub fn read_inside(rootfs: &Path, path: &str) -> String {
    const MAX: u64 = 1 << 20;
    let read = || -> io::Result<String> {
        let root = open_root(rootfs)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
        let mut bytes = Vec::new();
        File::from(file).take(MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// Makes an empty file, without following links out of the image.
pub fn create_file_inside(rootfs: &Path, file: &Path) -> io::Result<OwnedFd> {
    let root = open_root(rootfs)?;
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat2(&root, file, flags, Mode::from_raw_mode(0o666), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
}

/// Whether the image has something there.
pub fn is_filled_inside(rootfs: &Path, directory: &str) -> bool {
    let read = || -> io::Result<bool> {
        let root = open_root(rootfs)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = openat2(&root, directory, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
        let mut entries = rustix::fs::Dir::new(directory)?.filter_map(Result::ok);
        Ok(entries.any(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
    };
    read().unwrap_or(false)
}

/// Images of whole systems have a link here to a file that a service would write. A dangling link cannot be a mount
/// point, so a file replaces it, in the container only.
pub fn replace_dangling_link(rootfs: &Path, file: &Path) -> io::Result<()> {
    let root = open_root(rootfs)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return Ok(()) };
    if openat2(&root, file, flags, Mode::empty(), inside).is_ok() {
        return Ok(());
    }
    let Ok(parent) = openat2(&root, parent, flags | OFlags::DIRECTORY, Mode::empty(), inside) else { return Ok(()) };
    match rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Mounts at `path` and below it propagate to the machine's other mount namespaces and back. Docker asks operators to do
/// this by hand; in the ramdisk the agent may do it.
pub fn share(path: &Path) -> io::Result<()> {
    Ok(mount(None::<&str>, &mount_point(path)?, None::<&str>, MsFlags::MS_SHARED, None::<&str>)?)
}

pub fn mount_point(path: &Path) -> io::Result<PathBuf> {
    Ok(mount_point_of(&crate::proc::read("/proc/self/mountinfo")?, &path.canonicalize()?))
}

fn mount_point_of(mountinfo: &str, path: &Path) -> PathBuf {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    let above = points.filter(|point| path.starts_with(point));
    above.max_by_key(|point| point.components().count()).unwrap_or_else(|| PathBuf::from("/"))
}

/// Images name working directories that are in none of their layers. Docker makes them, so the agent does too.
pub fn create_inside(rootfs: &Path, directory: &Path) -> io::Result<()> {
    let mut path = PathBuf::new();
    let root = open_root(rootfs)?;
    for component in directory.components().filter(|c| matches!(c, std::path::Component::Normal(_))) {
        let parent = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let parent = openat2(&root, parent, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
        match mkdirat(&parent, component.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => path.push(component),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, rootfs, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_container_are_found_innermost_first() {
        let mountinfo = "20 1 0:1 / / rw - ext4 x rw\n\
            30 20 0:2 / /run/c/a/rootfs rw - overlay o rw\n\
            31 30 0:3 / /run/c/a/rootfs/my\\040dir rw - tmpfs t rw\n\
            32 20 0:2 / /run/c/ab rw - tmpfs t rw\n";
        let found = mounts_below(mountinfo, Path::new("/run/c/a"));
        assert_eq!(found, [PathBuf::from("/run/c/a/rootfs/my dir"), "/run/c/a/rootfs".into()]);
    }

    #[test]
    fn a_link_to_nowhere_makes_way_and_anything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("etc");
        fs::create_dir(&etc).unwrap();
        std::os::unix::fs::symlink("../run/stub", etc.join("resolv.conf")).unwrap();
        std::os::unix::fs::symlink("/etc/real", etc.join("hosts")).unwrap();
        fs::write(etc.join("real"), "").unwrap();
        for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/none", "/none/none"] {
            replace_dangling_link(directory.path(), Path::new(file)).unwrap();
        }
        assert!(!etc.join("resolv.conf").is_symlink() && etc.join("hosts").is_symlink());
        assert!(is_filled_inside(directory.path(), "/etc") && !is_filled_inside(directory.path(), "/lib/modules"));
    }

    #[test]
    fn the_mount_that_holds_a_path_is_the_deepest_one() {
        let mountinfo = "20 1 0:1 / / rw - ext4 x rw\n31 20 0:3 / /mnt rw - tmpfs t rw\n32 20 0:3 / /mnt2 rw - tmpfs t rw\n";
        for (path, want) in [("/mnt/disk", "/mnt"), ("/mnt", "/mnt"), ("/mnt2x", "/")] {
            assert_eq!(mount_point_of(mountinfo, Path::new(path)), Path::new(want));
        }
    }

    #[test]
    fn files_are_read_and_directories_made_inside_the_image_only() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", directory.path().join("etc/passwd")).unwrap();
        assert_eq!(read_inside(directory.path(), "/etc/passwd"), "", "an absolute link stays inside");
        fs::write(directory.path().join("etc/hostname"), "inside").unwrap();
        assert_eq!(read_inside(directory.path(), "/etc/passwd"), "inside");
        create_inside(directory.path(), Path::new("/srv/deep")).unwrap();
        assert!(directory.path().join("srv/deep").is_dir());
    }
}
