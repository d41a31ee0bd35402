//! `writefile`: one file into a file system on the disk, with its folders, owner and permissions.

use crate::device::{self, DeviceError, Named};
use crate::inside::{InsideError, Ownership, Root};
use crate::mount::{MountError, Mounted};
use crate::say;
use crate::variables::{VariableError, Variables};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum WriteFileError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error("DEST_DISK")]
    Mount(#[from] MountError),
    #[error("DEST_PATH")]
    Inside(#[from] InsideError),
}

struct Settings {
    disk: Named,
    fs: String,
    path: PathBuf,
    contents: Vec<u8>,
    owner: Ownership,
    permissions: u32,
    folder_permissions: u32,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        Ok(Self {
            disk: Named::read(variables, "DEST_DISK")?,
            fs: variables.text("FS_TYPE")?,
            path: variables.absolute_path("DEST_PATH")?,
            contents: variables.raw("CONTENTS").ok_or(VariableError::Missing("CONTENTS"))?.as_bytes().to_vec(),
            owner: Ownership { uid: variables.id("UID")?, gid: variables.id("GID")? },
            permissions: variables.permissions("MODE")?,
            folder_permissions: variables.permissions("DIRMODE")?,
        })
    }
}

pub fn run(variables: &Variables) -> Result<(), WriteFileError> {
    let settings = Settings::read(variables)?;
    let disk = settings.disk.appear(device::APPEARS_WITHIN)?;
    let mounted = Mounted::new(&disk, &settings.fs)?;
    let root = Root::open(mounted.path())?;
    let Settings { path, contents, owner, permissions, folder_permissions, .. } = &settings;
    root.write(path, contents, *owner, *permissions, *folder_permissions)?;
    drop(root); // an open folder would keep the file system busy
    mounted.close()?;
    say(&format!("wrote {} bytes to {} on {}", contents.len(), path.display(), disk.display()));
    Ok(())
}

/// Says what `run` would do. The file system is not mounted, because that may write to its journal.
pub fn dry_run(variables: &Variables) -> Result<(), WriteFileError> {
    let settings = Settings::read(variables)?;
    let disk = settings.disk.appear(device::APPEARS_WITHIN)?;
    let Settings { fs, path, contents, owner, permissions, .. } = &settings;
    say(&format!(
        "would write {} bytes to {} in the {fs} file system on {}, for user {} and group {} with mode {permissions:04o}; \
         nothing was written",
        contents.len(),
        path.display(),
        disk.display(),
        owner.uid,
        owner.gid
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, &str); 8] = [
        ("DEST_DISK", "/dev/vda1"),
        ("FS_TYPE", "ext4"),
        ("DEST_PATH", "/etc/hostname"),
        ("CONTENTS", ""),
        ("UID", "0"),
        ("GID", "0"),
        ("MODE", "0644"),
        ("DIRMODE", "0755"),
    ];

    #[test]
    fn an_empty_file_is_a_file() {
        let settings = Settings::read(&Variables::of(ALL)).unwrap();
        assert!(settings.contents.is_empty());
        assert_eq!(settings.permissions, 0o644);
    }

    #[test]
    fn each_variable_is_needed_and_named() {
        for name in ALL.map(|(name, _)| name) {
            let mut values = ALL;
            values.iter_mut().filter(|(other, _)| *other == name).for_each(|pair| *pair = ("OTHER", "x"));
            let error = Settings::read(&Variables::of(values)).err().unwrap();
            assert_eq!(error.to_string(), format!("{name} is not set"));
        }
    }
}
