//! Disks and partitions that become a part of something: RAID, LVM, LUKS. They are found, must be free, and must look empty unless
//! the operator says otherwise.

use crate::device::{self, DeviceError, Named};
use crate::disks;
use crate::variables::{VariableError, Variables};
use crate::wipe::{self, Refused, WipeError};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Look(#[from] WipeError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0} is there twice")]
    Twice(PathBuf),
    #[error("{0} and {1} overlap: one is a partition of the other; nothing was erased")]
    Overlap(PathBuf, PathBuf),
    #[error("{device} is not empty: it has {found}. FORCE=true erases that; nothing was erased")]
    NotEmpty { device: PathBuf, found: String },
}

/// Paths and selectors, with spaces between them.
pub fn named(variables: &Variables, name: &'static str) -> Result<Vec<Named>, VariableError> {
    variables.text(name)?.split_ascii_whitespace().map(|word| Named::of(name, word)).collect()
}

/// Looks at all of them, and changes nothing.
pub fn free(devices: &[Named], force: bool) -> Result<Vec<PathBuf>, ClaimError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for device in devices {
        let path = device.appear(device::APPEARS_WITHIN)?;
        if paths.iter().any(|other| std::fs::canonicalize(other).ok() == std::fs::canonicalize(&path).ok()) {
            return Err(ClaimError::Twice(path));
        }
        if let Some(other) = paths.iter().find(|other| overlap(Path::new("/"), other, &path)) {
            return Err(ClaimError::Overlap(other.clone(), path));
        }
        let found = wipe::found(&path).map_err(|error| match error {
            WipeError::Refused(refused) => ClaimError::Refused(refused),
            other => other.into(),
        })?;
        drop(device::open(&path)?);
        if !found.is_empty() && !force {
            return Err(ClaimError::NotEmpty { device: path, found: found.join(", ") });
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Whether one is a partition of the other. `root` is `/`, except in tests.
fn overlap(root: &Path, one: &Path, other: &Path) -> bool {
    let name = |path: &Path| {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (one, other) = (name(one), name(other));
    disks::whole(root, &one).is_some_and(|whole| whole == other) || disks::whole(root, &other).is_some_and(|whole| whole == one)
}

/// Erases what they were.
pub fn take(paths: &[PathBuf]) -> Result<(), ClaimError> {
    for path in paths {
        wipe::signatures_of(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_something_on_it_needs_force() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, full) = (folder.path().join("empty"), folder.path().join("full"));
        std::fs::write(&empty, vec![0; 4 << 20]).unwrap();
        let mut data = vec![0; 4 << 20];
        data[512..520].copy_from_slice(b"LABELONE");
        std::fs::write(&full, &data).unwrap();
        let list = format!("{} {}", empty.display(), full.display());
        let devices = named(&Variables::of([("DEVICES", list.as_str())]), "DEVICES").unwrap();
        let error = free(&devices, false).unwrap_err().to_string();
        assert!(error.contains("full is not empty: it has an LVM physical volume. FORCE=true erases that"), "{error}");
        assert_eq!(std::fs::read(&full).unwrap(), data);
        let paths = free(&devices, true).unwrap();
        take(&paths).unwrap();
        assert!(free(&devices, false).is_ok());
        let twice = [devices[0].clone(), devices[0].clone()];
        assert!(free(&twice, false).unwrap_err().to_string().ends_with("empty is there twice"));
        // What no table of signatures has is data, too.
        for at in [0, 200 << 10, (4 << 20) - 1] {
            let mut unknown = vec![0; 4 << 20];
            unknown[at] = 7;
            std::fs::write(&full, &unknown).unwrap();
            let error = free(&devices, false).unwrap_err().to_string();
            assert!(error.contains("full is not empty: it has data that is not known. FORCE=true"), "{at}: {error}");
            assert!(free(&devices, true).is_ok());
        }
    }

    #[test]
    fn a_disk_and_its_own_partition_overlap() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for place in ["sdy", "sdy/sdy1", "sdy/sdy2", "sdz", "sdz/sdz1"] {
            let (place, class) = (root.join("devices").join(place), root.join("sys/class/block"));
            std::fs::create_dir_all(&place).unwrap();
            std::fs::create_dir_all(&class).unwrap();
            if place.file_name().unwrap().to_string_lossy().ends_with(|c: char| c.is_ascii_digit()) {
                std::fs::write(place.join("partition"), "1\n").unwrap();
            }
            std::os::unix::fs::symlink(&place, class.join(place.file_name().unwrap())).unwrap();
        }
        for (one, other, expected) in [
            ("/dev/sdy", "/dev/sdy1", true),
            ("/dev/sdy2", "/dev/sdy", true),
            ("/dev/sdy1", "/dev/sdy2", false),
            ("/dev/sdy", "/dev/sdz1", false),
            ("/dev/sdy", "/dev/sdz", false),
        ] {
            assert_eq!(overlap(root, Path::new(one), Path::new(other)), expected, "{one} {other}");
        }
    }
}
