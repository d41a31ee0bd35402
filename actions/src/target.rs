//! The file system that an action works on: a device by its path or properties, and the kernel's name of the file system. It is
//! mounted while the work is done.

use crate::device::{self, DeviceError, Named};
use crate::mount::{MountError, Mounted};
use crate::variables::{VariableError, Variables};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    variable: &'static str,
    device: Named,
    pub fs: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{variable}")]
    Device {
        variable: &'static str,
        #[source]
        source: DeviceError,
    },
    #[error("{variable}")]
    Mount {
        variable: &'static str,
        #[source]
        source: MountError,
    },
}

impl Target {
    /// `variable` names the device, and `FS_TYPE` the file system.
    ///
    /// # Errors
    /// A missing variable, a relative path, or a wrong term.
    pub fn read(variables: &Variables, variable: &'static str) -> Result<Self, VariableError> {
        Ok(Self { variable, device: Named::read(variables, variable)?, fs: variables.text("FS_TYPE")? })
    }

    /// Waits until the device is there.
    ///
    /// # Errors
    /// As those of [`Named::appear`].
    pub fn appear(&self) -> Result<PathBuf, TargetError> {
        let variable = self.variable;
        self.device.appear(device::APPEARS_WITHIN).map_err(|source| TargetError::Device { variable, source })
    }

    /// Works on what `device` holds, below the path that `work` is given. Everything is on the disk after this, also if the
    /// work fails.
    ///
    /// # Errors
    /// What failed first: the mount, the work, or writing everything back.
    pub fn inside<T, E: From<TargetError>>(&self, device: &Path, work: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        self.within(Mounted::new(device, &self.fs), work)
    }

    /// The same to look at it: not a byte of the device changes.
    ///
    /// # Errors
    /// What failed first.
    pub fn look_inside<T, E: From<TargetError>>(&self, device: &Path, look: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        self.within(Mounted::to_read(device, &self.fs), look)
    }

    fn within<T, E: From<TargetError>>(
        &self,
        mounted: Result<Mounted, MountError>,
        work: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |source| TargetError::Mount { variable: self.variable, source };
        let mounted = mounted.map_err(failed)?;
        let result = work(mounted.path());
        let closed = mounted.close().map_err(failed);
        let done = result?;
        closed?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_needs_a_device_and_a_file_system() {
        let read = |values: [(&str, &str); 2]| {
            Target::read(&Variables::of(values), "DEST_DISK").map(|target| target.fs).map_err(|error| error.to_string())
        };
        assert_eq!(read([("DEST_DISK", "/dev/vda1"), ("FS_TYPE", "ext4")]), Ok("ext4".to_owned()));
        assert_eq!(read([("DEST_DISK", "/dev/vda1"), ("X", "")]), Err("FS_TYPE is not set".to_owned()));
        assert!(read([("DEST_DISK", "vda1"), ("FS_TYPE", "ext4")]).unwrap_err().contains("wanted a path that begins with /"));
    }

    #[test]
    fn a_mount_that_fails_names_the_variable_and_its_cause() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let target = Target { variable: "GRUB_DISK", device: Named::Path(file.path().into()), fs: "no-such-fs".into() };
        let device = target.appear().unwrap();
        let error = target.inside(&device, |_| Ok::<_, TargetError>(())).unwrap_err();
        assert_eq!(error.to_string(), "GRUB_DISK");
        assert!(matches!(error, TargetError::Mount { .. }));
    }
}
