//! Names of device mapper, such as those of LVM. udev makes `/dev/mapper` and `/dev/VG/LV`, and the ramdisk has no udev.

use std::fs;
use std::path::{Path, PathBuf};

const DEVICES_MAX: usize = 4096;

/// The device that has this name, as the kernel knows it. `root` is `/`, except in tests.
pub fn device(root: &Path, path: &Path) -> Option<PathBuf> {
    let wanted = name(path)?;
    let entries = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten().take(DEVICES_MAX);
    let found = entries.filter_map(|entry| {
        let name = fs::read_to_string(entry.path().join("dm/name")).ok()?;
        (name.trim() == wanted).then(|| Path::new("/dev").join(entry.file_name()))
    });
    found.into_iter().next()
}

/// `/dev/mapper/NAME`, or `/dev/VG/LV`: LVM puts a hyphen between both, and doubles those within.
fn name(path: &Path) -> Option<String> {
    let path = path.to_str()?.strip_prefix("/dev/")?;
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["mapper", name] => Some((*name).to_owned()),
        ["disk" | "pts" | "shm" | "input", _] => None,
        [group, volume] => Some(format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_found_without_udev() {
        let root = tempfile::tempdir().unwrap();
        for (device, name) in [("dm-0", "vg0-root"), ("dm-1", "my--vg-my--home"), ("dm-2", "luks-1")] {
            let folder = root.path().join("sys/block").join(device).join("dm");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        }
        fs::create_dir_all(root.path().join("sys/block/sda")).unwrap();
        for (path, expected) in [
            ("/dev/vg0/root", Some("/dev/dm-0")),
            ("/dev/mapper/vg0-root", Some("/dev/dm-0")),
            ("/dev/my-vg/my-home", Some("/dev/dm-1")),
            ("/dev/mapper/luks-1", Some("/dev/dm-2")),
            ("/dev/vg0/swap", None),
            ("/dev/sda1", None),
            ("/dev/disk/by-id/x", None),
            ("relative", None),
        ] {
            assert_eq!(device(root.path(), Path::new(path)).as_deref(), expected.map(Path::new), "{path}");
        }
    }
}
