//! A file system, mounted below a temporary folder while it is needed.

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a mount may be in use behind the last write: another program may have looked into it, or a process was
/// started meanwhile and holds our files open until its exec(2).
const BUSY: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("the kernel does not have a driver for the file system {fs} (FS_TYPE) of {device}: add its module to the ramdisk")]
    NoDriver { fs: String, device: PathBuf },
    #[error("{device} holds no readable {fs} file system (FS_TYPE): is it the right partition?")]
    NotThisFileSystem { fs: String, device: PathBuf },
    #[error("cannot mount {device} as {fs}")]
    Mount {
        fs: String,
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make a folder to mount at below {parent}")]
    Place {
        parent: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write everything back to {device} and unmount it")]
    Unmount {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
pub struct Mounted {
    device: PathBuf,
    place: PathBuf,
    open: bool,
}

impl Mounted {
    pub fn new(device: &Path, fs: &str) -> Result<Self, MountError> {
        // The setuid bits of the installed system have no effect here.
        Self::with_options(device, fs, "nosuid")
    }

    /// To look at it. Not a byte of the device changes, so a journal that is not empty stays as it is.
    pub fn to_read(device: &Path, fs: &str) -> Result<Self, MountError> {
        Self::with_options(device, fs, to_read(fs))
    }

    fn with_options(device: &Path, fs: &str, options: &str) -> Result<Self, MountError> {
        let place = place()?;
        if let Err(error) = attach(device, &place, fs, options) {
            let _ = fs::remove_dir(&place); // the mount's error is the one to report
            return Err(error);
        }
        Ok(Self { device: device.to_owned(), place, open: true })
    }

    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Everything is on the disk after this.
    pub fn close(mut self) -> Result<(), MountError> {
        self.open = false;
        let synced = fs::File::open(&self.place).and_then(|root| Ok(rustix::fs::syncfs(&root)?));
        let unmounted = detach(&self.place).map_err(io::Error::from);
        let _ = fs::remove_dir(&self.place); // an empty folder in the action's own root
        synced.and(unmounted).map_err(|source| MountError::Unmount { device: self.device.clone(), source })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.open {
            let _ = unmount(&self.place, UnmountFlags::DETACH); // an earlier error is reported instead
            let _ = fs::remove_dir(&self.place);
        }
    }
}

/// Mounts a file system with options as `mount -o` takes them. One that cannot be written, such as squashfs, is mounted
/// read-only.
pub fn attach(device: &Path, place: &Path, fs: &str, options: &str) -> Result<(), MountError> {
    let (flags, data) = split(options);
    let data = CString::new(data).unwrap_or_default();
    let data = Some(data.as_c_str()).filter(|data| !data.is_empty());
    let mounted = match mount(device, place, fs, flags, data) {
        Err(Errno::ACCESS | Errno::ROFS) => mount(device, place, fs, flags | MountFlags::RDONLY, data),
        mounted => mounted,
    };
    mounted.map_err(|errno| {
        let (fs, device) = (fs.to_owned(), device.to_owned());
        match errno {
            Errno::NODEV => MountError::NoDriver { fs, device },
            Errno::INVAL => MountError::NotThisFileSystem { fs, device },
            source => MountError::Mount { fs, device, source: source.into() },
        }
    })
}

/// Unmounts, and waits a while for whoever still uses it.
pub fn detach(place: &Path) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        match unmount(place, UnmountFlags::empty()) {
            Err(Errno::BUSY) if start.elapsed() < BUSY => sleep(Duration::from_millis(20)),
            unmounted => return unmounted,
        }
    }
}

/// Also a mount that is read-only replays the journal, unless the file system is asked not to.
fn to_read(fs: &str) -> &'static str {
    match fs {
        "ext3" | "ext4" => "ro,nosuid,noload",
        "xfs" | "f2fs" | "nilfs2" => "ro,nosuid,norecovery",
        "btrfs" => "ro,nosuid,rescue=nologreplay",
        _ => "ro,nosuid",
    }
}

/// The flags of mount(2), and the options that the file system itself reads.
fn split(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        match option {
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            "defaults" | "rw" | "suid" | "dev" | "exec" | "atime" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

/// The action's image is one file and has no /tmp.
fn place() -> Result<PathBuf, MountError> {
    let parent = std::env::temp_dir();
    let failed = |source| MountError::Place { parent: parent.clone(), source };
    fs::create_dir_all(&parent).map_err(failed)?;
    for number in 0..1000 {
        let place = parent.join(format!("thimble-{}-{number}", std::process::id()));
        match fs::create_dir(&place) {
            Ok(()) => return Ok(place),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_kernel_are_flags_and_others_go_to_the_file_system() {
        for (options, flags, data) in [
            ("", MountFlags::empty(), ""),
            ("defaults,noatime", MountFlags::NOATIME, ""),
            ("subvol=@, ro,compress=zstd", MountFlags::RDONLY, "subvol=@,compress=zstd"),
        ] {
            assert_eq!(split(options), (flags, data.to_owned()), "{options}");
        }
    }
}
