//! Volume groups, by the programs of lvm2.

use super::storage::{LogicalVolume, VolumeGroup};
use super::{RootioError, find};
use crate::programs::{self, Tool};
use crate::say;
use std::ffi::OsString;
use std::path::PathBuf;

const LVM: Tool = Tool::new("lvm", "lvm2");

/// The one program that is all of lvm2.
pub struct Tools(PathBuf);

impl Tools {
    /// # Errors
    /// If there are groups to make, and no program.
    pub fn find(groups: &[VolumeGroup]) -> Result<Option<Self>, RootioError> {
        if groups.is_empty() { Ok(None) } else { Ok(Some(Self(LVM.find()?))) }
    }
}

pub fn make(groups: &[VolumeGroup], tools: Option<&Tools>, dry: bool) -> Result<(), RootioError> {
    let Some(Tools(lvm)) = tools else { return Ok(()) };
    for group in groups {
        let devices = if dry { group.physical_volumes.iter().map(PathBuf::from).collect() } else { found(group)? };
        for command in commands(group, &devices) {
            if dry {
                let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
                say(&format!("would run lvm {}", words.join(" ")));
            } else {
                programs::run(lvm, &command)?;
            }
        }
    }
    Ok(())
}

fn found(group: &VolumeGroup) -> Result<Vec<PathBuf>, RootioError> {
    group.physical_volumes.iter().map(|device| find(device)).collect()
}

fn commands(group: &VolumeGroup, devices: &[PathBuf]) -> Vec<Vec<OsString>> {
    let tags = |tags: &[String]| tags.iter().flat_map(|tag| ["--addtag".to_owned(), tag.clone()]).collect::<Vec<_>>();
    let devices = || devices.iter().map(|device| device.clone().into_os_string());
    let words = |words: Vec<String>| words.into_iter().map(OsString::from);
    let first = |name: &str| vec![name.to_owned(), "--yes".to_owned()];
    let create = words(first("pvcreate")).chain(devices()).collect();
    let group_of = words([first("vgcreate"), tags(&group.tags), vec![group.name.clone()]].concat()).chain(devices()).collect();
    let volume = |LogicalVolume { name, size, tags: own, opts }: &LogicalVolume| {
        let size =
            if *size == 0 { vec!["--extents".into(), "100%FREE".into()] } else { vec!["--size".into(), format!("{size}b")] };
        let named = vec!["--name".to_owned(), name.clone()];
        // An old signature is erased without a question.
        let wipe = vec!["--wipesignatures".to_owned(), "y".to_owned()];
        let all = [first("lvcreate"), wipe, size, tags(own), opts.clone(), named, vec![group.name.clone()]].concat();
        words(all).collect()
    };
    [create, group_of].into_iter().chain(group.logical_volumes.iter().map(volume)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_made_with_its_volumes() {
        let volume = |name: &str, size| LogicalVolume { name: name.into(), size, tags: Vec::new(), opts: Vec::new() };
        let group = VolumeGroup {
            name: "vg".into(),
            physical_volumes: Vec::new(),
            tags: vec!["t".into()],
            logical_volumes: vec![volume("swap", 4096), volume("root", 0)],
        };
        let commands: Vec<String> = commands(&group, &["/dev/sda2".into()])
            .iter()
            .map(|words| words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            commands,
            [
                "pvcreate --yes /dev/sda2",
                "vgcreate --yes --addtag t vg /dev/sda2",
                "lvcreate --yes --wipesignatures y --size 4096b --name swap vg",
                "lvcreate --yes --wipesignatures y --extents 100%FREE --name root vg",
            ]
        );
    }
}
