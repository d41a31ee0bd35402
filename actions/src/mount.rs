//! A file system, mounted below a temporary folder while it is needed.

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
        let place = place()?;
        // The setuid bits of the installed system have no effect here.
        if let Err(errno) = mount(device, &place, fs, MountFlags::NOSUID, None) {
            let _ = fs::remove_dir(&place); // the mount's error is the one to report
            let (fs, device) = (fs.to_owned(), device.to_owned());
            return Err(match errno {
                Errno::NODEV => MountError::NoDriver { fs, device },
                Errno::INVAL => MountError::NotThisFileSystem { fs, device },
                source => MountError::Mount { fs, device, source: source.into() },
            });
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
        let unmounted = unmount(&self.place, UnmountFlags::empty()).map_err(io::Error::from);
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
