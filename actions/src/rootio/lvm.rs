//! Volume groups. Their physical volumes are checked before the first disk changes, although those on the planned disks do not
//! exist yet.

use super::RootioError;
use super::storage::{LogicalVolume, VolumeGroup};
use crate::claim::{self, ClaimError};
use crate::device::{self, Named};
use crate::lvm::{self, Group, Volume};
use crate::programs::{self, Call};
use std::path::{Path, PathBuf};

/// A disk whose table will be written, and the numbers of its partitions.
pub struct Planned<'p> {
    pub path: &'p Path,
    pub numbers: Vec<u32>,
}

/// Looks at everything that can be known before the disks change.
///
/// # Errors
/// A physical volume that the plan does not have, that is in use or not empty; a group of that name elsewhere; no program.
pub fn plan(groups: &[VolumeGroup], disks: &[Planned<'_>]) -> Result<Vec<Call>, RootioError> {
    let mut calls = Vec::new();
    for group in groups {
        let mut devices = Vec::new();
        for name in &group.physical_volumes {
            devices.push(physical_volume(name, disks)?);
        }
        let made = lvm::calls(&self::group(group), &devices);
        programs::need(&made)?;
        if let Some(device) = lvm::elsewhere(&group.name, &devices)? {
            return Err(volume(device.display().to_string(), format!("it belongs to a volume group {} already", group.name)));
        }
        calls.extend(made);
    }
    Ok(calls)
}

fn volume(device: String, problem: String) -> RootioError {
    RootioError::Volume { device, problem }
}

fn physical_volume(name: &str, disks: &[Planned<'_>]) -> Result<PathBuf, RootioError> {
    let named = Named::of("physical_volumes", name);
    let named = named.map_err(|source| RootioError::Name { device: name.to_owned(), source })?;
    let failed = |source| RootioError::Device { device: name.to_owned(), source };
    let path = named.resolve(device::APPEARS_WITHIN).map_err(failed)?;
    match place(&path, disks) {
        Place::New(path) => Ok(path),
        Place::NotPlanned(disk) => {
            Err(volume(name.to_owned(), format!("the metadata gives {} no such partition", disk.display())))
        }
        Place::Whole(disk) => {
            Err(volume(name.to_owned(), format!("the metadata makes partitions on {}: name one of them", disk.display())))
        }
        Place::Elsewhere => match claim::free(std::slice::from_ref(&named), false) {
            Ok(paths) => Ok(paths.into_iter().next().unwrap_or(path)),
            Err(ClaimError::NotEmpty { found, .. }) => {
                Err(volume(name.to_owned(), format!("it has {found}; the action wipe erases that")))
            }
            Err(source) => Err(RootioError::Claim(source)),
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A partition that will be made, by the kernel's name.
    New(PathBuf),
    NotPlanned(PathBuf),
    Whole(PathBuf),
    /// On no disk of the plan.
    Elsewhere,
}

fn place(path: &Path, disks: &[Planned<'_>]) -> Place {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(disk) = disks.iter().find(|disk| real(disk.path) == real(path)) {
        return Place::Whole(disk.path.to_owned());
    }
    for (base, number) in readings(path) {
        if let Some(disk) = disks.iter().find(|disk| real(disk.path) == real(&base)) {
            let planned = disk.numbers.contains(&number);
            return if planned {
                Place::New(device::partition(disk.path, number))
            } else {
                Place::NotPlanned(disk.path.to_owned())
            };
        }
    }
    Place::Elsewhere
}

/// The disk and the number that a partition's name may mean: `/dev/sda2`, `/dev/nvme0n1p2`, `/dev/disk/by-id/NAME-part2`.
fn readings(path: &Path) -> Vec<(PathBuf, u32)> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = real.to_string_lossy();
    let base = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let Some(number) = text.get(base.len()..).and_then(|digits| digits.parse().ok()) else { return Vec::new() };
    let bases = [base.strip_suffix("-part"), base.strip_suffix('p'), Some(base)];
    bases.into_iter().flatten().map(|base| (PathBuf::from(base), number)).collect()
}

fn group(group: &VolumeGroup) -> Group {
    let volume = |LogicalVolume { name, size, tags, opts }: &LogicalVolume| {
        let size = if *size == 0 { ["--extents".into(), "100%FREE".into()] } else { ["--size".into(), format!("{size}b")] };
        Volume { name: name.clone(), size, tags: tags.clone(), options: opts.clone() }
    };
    let volumes = group.logical_volumes.iter().map(volume).collect();
    Group { name: group.name.clone(), tags: group.tags.clone(), volumes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_made_with_its_volumes() {
        let volume = |name: &str, size| LogicalVolume { name: name.into(), size, tags: Vec::new(), opts: vec!["-Zn".into()] };
        let given = VolumeGroup {
            name: "vg".into(),
            physical_volumes: Vec::new(),
            tags: vec!["t".into()],
            logical_volumes: vec![volume("swap", 4096), volume("root", 0)],
        };
        let calls = lvm::calls(&group(&given), &["/dev/sda2".into()]);
        let words = |call: &Call| call.arguments.iter().skip(4).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert_eq!(
            calls.iter().map(words).collect::<Vec<_>>(),
            [
                "/dev/sda2",
                "--addtag t vg /dev/sda2",
                "--wipesignatures y --name swap --size 4096b -Zn vg",
                "--wipesignatures y --name root --extents 100%FREE -Zn vg",
            ]
        );
    }

    #[test]
    fn a_physical_volume_is_a_planned_partition_or_another_device() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["sda", "nvme0n1", "sdb"] {
            std::fs::write(file(name), "").unwrap();
        }
        std::os::unix::fs::symlink("sda", file("by-id")).unwrap();
        let (sda, nvme) = (file("by-id"), file("nvme0n1"));
        let disks = [Planned { path: &sda, numbers: vec![1, 12] }, Planned { path: &nvme, numbers: vec![2] }];
        for (name, expected) in [
            ("sda1", Place::New(file("sda1"))),
            ("sda12", Place::New(file("sda12"))),
            ("by-id-part1", Place::New(file("sda1"))),
            ("nvme0n1p2", Place::New(file("nvme0n1p2"))),
            ("sda2", Place::NotPlanned(sda.clone())),
            ("nvme0n1p1", Place::NotPlanned(nvme.clone())),
            ("sda", Place::Whole(sda.clone())),
            ("nvme0n1", Place::Whole(nvme.clone())),
            ("sdb", Place::Elsewhere),
            ("sdb1", Place::Elsewhere),
        ] {
            assert_eq!(place(&file(name), &disks), expected, "{name}");
        }
    }

    #[test]
    fn a_physical_volume_with_data_is_refused_before_any_disk_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 4 << 20]).unwrap();
        let name = file.path().to_str().unwrap();
        let error = physical_volume(name, &[]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("the action wipe erases that; nothing was written"), "{error}");
        let disks = [Planned { path: file.path(), numbers: vec![1] }];
        let error = physical_volume(name, &disks).unwrap_err().to_string();
        assert!(error.contains("makes partitions on"), "{error}");
    }
}
