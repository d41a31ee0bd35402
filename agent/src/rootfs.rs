//! The container's root: an overlay of the unchanged image and a folder for what this action writes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};

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

/// Mounts `lower` with a writable layer on `bundle/rootfs`. `devices` says whether device nodes in it work.
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

/// Unmounts everything in the container's directory and removes it. If a mount remains, the directory stays, because
/// removing it would remove the mounted files.
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
    oci::remove_all(bundle)
}

/// The mount points at and below `path`, the innermost first.
fn mounts_below(mountinfo: &str, path: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    let mut below: Vec<PathBuf> = points.filter(|p| p.starts_with(path)).collect();
    below.reverse(); // mountinfo lists them in the order they were mounted
    below
}

/// The kernel writes spaces and backslashes in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// How many bytes of a file from an image or an action are read.
const FILE_MAX: u64 = 1 << 20;

/// A small file of the image, or an empty text if it does not exist. Links are followed within the image.
pub fn read_inside(rootfs: &Path, path: &str) -> String {
    read_file(rootfs, path, OFlags::empty(), ResolveFlags::empty()).unwrap_or_default()
}

/// A small file that an action wrote, or an empty text if it does not exist. Links are not followed, and files that the
/// action mounted there are not read.
pub fn read_written(rootfs: &Path, path: &str) -> String {
    read_file(rootfs, path, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV).unwrap_or_default()
}

/// Opens only a regular file. A FIFO would wait for a writer, and a device may act when it is opened.
fn read_file(rootfs: &Path, path: &str, flags: OFlags, resolve: ResolveFlags) -> io::Result<String> {
    let place = open_inside(rootfs, Path::new(path), OFlags::PATH | flags, resolve)?;
    if !FileType::from_raw_mode(fstat(&place)?.st_mode).is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    let file = openat(CWD, own(&place), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file).take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path by which an open file can be opened again.
fn own(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn open_inside(rootfs: &Path, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | resolve;
    Ok(openat2(&open_root(rootfs)?, path, flags | OFlags::CLOEXEC, Mode::empty(), inside)?)
}

/// Makes an empty file, without following links. Any other object of the image is replaced, unless it is a folder.
pub fn create_file_inside(rootfs: &Path, file: &Path) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    let parent = open_inside(rootfs, parent, OFlags::DIRECTORY | OFlags::PATH, ResolveFlags::empty())?;
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&parent, name, flags, Mode::from_raw_mode(0o666))?)
}

/// A folder of the image as a mount point, created if missing. Returns its path without links.
pub fn folder_to_mount_on(rootfs: &Path, folder: &Path) -> io::Result<PathBuf> {
    create_inside(rootfs, folder)?;
    path_inside(rootfs, &open_inside(rootfs, folder, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())?)
}

/// Writes a file of the container, readable by all its users. Links are followed within the image. Any object other than a
/// file is replaced, unless it is a folder.
pub fn write_inside(rootfs: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    create_inside(rootfs, file.parent().unwrap_or(Path::new("/")))?;
    let kind = |place: &OwnedFd| fstat(place).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let opened = match open_inside(rootfs, file, OFlags::PATH, ResolveFlags::empty()) {
        Ok(place) if kind(&place)?.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(place) if kind(&place)?.is_file() => {
            openat(CWD, own(&place), OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC, Mode::empty())?
        }
        _ => create_file_inside(rootfs, file)?,
    };
    fchmod(&opened, Mode::from_raw_mode(0o644))?;
    File::from(opened).write_all(text)
}

fn path_inside(rootfs: &Path, place: &OwnedFd) -> io::Result<PathBuf> {
    let (root, place) = (fs::read_link(own(&open_root(rootfs)?))?, fs::read_link(own(place))?);
    let inside = place.strip_prefix(&root).map_err(io::Error::other)?;
    Ok(Path::new("/").join(inside))
}

/// Whether the image has files in this directory.
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

/// Mounts at and below `path` propagate to the machine's other mount namespaces and back. Docker asks operators to set this
/// up by hand. In the ramdisk the agent may do it.
pub fn share(path: &Path) -> io::Result<()> {
    Ok(mount(None::<&str>, &mount_point(path)?, None::<&str>, MsFlags::MS_SHARED, None::<&str>)?)
}

pub fn mount_point(path: &Path) -> io::Result<PathBuf> {
    Ok(mount_point_of(&crate::proc::read("/proc/self/mountinfo")?, &path.canonicalize()?))
}

/// The file system that contains a path, for messages: its mount point and its kind.
pub fn file_system(path: &Path) -> io::Result<String> {
    let mountinfo = crate::proc::read("/proc/self/mountinfo")?;
    let point = mount_point_of(&mountinfo, &path.canonicalize()?);
    let kind = kind_of(&mountinfo, &point);
    Ok(kind.map_or_else(|| point.display().to_string(), |kind| format!("{} ({kind})", point.display())))
}

/// The kind of the file system that was mounted there last.
fn kind_of<'m>(mountinfo: &'m str, point: &Path) -> Option<&'m str> {
    let is_there = |line: &&str| line.split(' ').nth(4).is_some_and(|p| Path::new(&unescape(p)) == point);
    mountinfo.lines().rfind(is_there)?.split_once(" - ")?.1.split(' ').next()
}

fn mount_point_of(mountinfo: &str, path: &Path) -> PathBuf {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    let above = points.filter(|point| path.starts_with(point));
    above.max_by_key(|point| point.components().count()).unwrap_or_else(|| PathBuf::from("/"))
}

/// Images may name working directories that none of their layers have. Docker creates them, so the agent does, too.
pub fn create_inside(rootfs: &Path, directory: &Path) -> io::Result<()> {
    let mut path = PathBuf::new();
    let root = open_root(rootfs)?;
    for component in directory.components().filter(|c| matches!(c, std::path::Component::Normal(_))) {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let above = if path.as_os_str().is_empty() { None } else { Some(openat2(&root, &path, flags, Mode::empty(), inside)?) };
        match mkdirat(above.as_ref().unwrap_or(&root), component.as_os_str(), Mode::from_raw_mode(0o755)) {
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
    fn an_obstacle_in_the_image_is_resolved_replaced_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::create_dir_all(root.join("etc/hostname")).unwrap();
        fs::write(root.join("etc/real"), "").unwrap();
        fs::write(root.join("run"), "a program").unwrap();
        link("../run/stub", "etc/resolv.conf");
        link("/etc/real", "etc/hosts");
        link("usr/lib", "lib");
        link("/no/where", "srv");
        link("/loop", "loop");
        for (folder, want) in [
            ("/lib/modules", Some("/usr/lib/modules")),
            ("/new/deep", Some("/new/deep")),
            ("/run/thimble/network", None),
            ("/srv/x", None),
            ("/loop/x", None),
            ("/etc/real", None),
        ] {
            let place = folder_to_mount_on(root, Path::new(folder)).ok();
            assert_eq!(place.as_deref(), want.map(Path::new), "{folder}");
        }
        nix::unistd::mkfifo(&root.join("etc/fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        for (file, want) in [
            ("/etc/resolv.conf", Some("etc/resolv.conf")),
            ("/etc/hosts", Some("etc/real")),
            ("/etc/fifo", Some("etc/fifo")),
            ("/etc/hostname", None),
            ("/run/x", None),
            ("/other/hosts", Some("other/hosts")),
        ] {
            let written = write_inside(root, Path::new(file), b"text").is_ok();
            assert_eq!(written, want.is_some(), "{file}");
            if let Some(want) = want {
                let place = root.join(want);
                let mode = std::os::unix::fs::PermissionsExt::mode(&fs::symlink_metadata(&place).unwrap().permissions());
                assert_eq!((fs::read(&place).unwrap(), mode), (b"text".to_vec(), 0o100_644), "{file}");
            }
        }
        assert!(!root.join("etc/resolv.conf").is_symlink() && root.join("etc/hosts").is_symlink());
        assert!(is_filled_inside(root, "/etc") && !is_filled_inside(root, "/lib/modules"));
    }

    #[test]
    fn nothing_but_a_regular_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", root.join("device")).unwrap();
        std::os::unix::fs::symlink("/file", root.join("link")).unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("file"), "text").unwrap();
        fs::File::create(root.join("huge")).unwrap().set_len(1 << 40).unwrap();
        for (name, inside, written) in [
            ("fifo", 0, 0),
            ("socket", 0, 0),
            ("device", 0, 0),
            ("folder", 0, 0),
            ("none", 0, 0),
            ("link", 4, 0),
            ("file", 4, 4),
            ("huge", 1 << 20, 1 << 20),
        ] {
            assert_eq!((read_inside(root, name).len(), read_written(root, name).len()), (inside, written), "{name}");
        }
        let node = ["c", "1", "5"]; // /dev/zero
        let made = std::process::Command::new("mknod").arg(root.join("node")).args(node).status();
        if made.is_ok_and(|status| status.success()) {
            assert_eq!(read_written(root, "node"), "", "a device");
        }
        for name in ["fifo", "socket", "device", "file"] {
            create_file_inside(root, &Path::new("/").join(name)).unwrap();
            assert!(fs::symlink_metadata(root.join(name)).unwrap().is_file(), "{name}");
        }
        assert!(create_file_inside(root, Path::new("/folder")).is_err());
    }

    #[test]
    fn the_mount_that_holds_a_path_is_the_deepest_one() {
        let mountinfo = "20 1 0:1 / / rw - ext4 x rw\n31 20 0:3 / /mnt rw - tmpfs t rw\n32 20 0:3 / /mnt2 rw - tmpfs t rw\n";
        for (path, want, kind) in [("/mnt/disk", "/mnt", "tmpfs"), ("/mnt", "/mnt", "tmpfs"), ("/mnt2x", "/", "ext4")] {
            assert_eq!(mount_point_of(mountinfo, Path::new(path)), Path::new(want));
            assert_eq!(kind_of(mountinfo, Path::new(want)), Some(kind));
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
