//! `writefile`: one file into a file system on the disk, with its folders, owner and permissions.

use crate::inside::{InsideError, Ownership, Root};
use crate::say;
use crate::target::{Target, TargetError};
use crate::variables::{VariableError, Variables};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum WriteFileError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("DEST_PATH")]
    Inside(#[from] InsideError),
}

struct Settings {
    target: Target,
    path: PathBuf,
    contents: Vec<u8>,
    owner: Ownership,
    permissions: u32,
    folder_permissions: u32,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        Ok(Self {
            target: Target::read(variables, "DEST_DISK")?,
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
    let disk = settings.target.appear()?;
    let Settings { path, contents, owner, permissions, folder_permissions, .. } = &settings;
    settings.target.inside(&disk, |root| {
        Ok::<_, WriteFileError>(Root::open(root)?.write(path, contents, *owner, *permissions, *folder_permissions)?)
    })?;
    say(&format!("wrote {} bytes to {} on {}", contents.len(), path.display(), disk.display()));
    Ok(())
}

/// Says what `run` would do. The file system is not mounted, because that may write to its journal.
pub fn dry_run(variables: &Variables) -> Result<(), WriteFileError> {
    let settings = Settings::read(variables)?;
    let disk = settings.target.appear()?;
    let Settings { target, path, contents, owner, permissions, .. } = &settings;
    say(&format!(
        "would write {} bytes to {} in the {} file system on {}, for user {} and group {} with mode {permissions:04o}; \
         nothing was written",
        contents.len(),
        path.display(),
        target.fs,
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
