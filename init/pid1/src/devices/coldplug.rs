//! The `modalias` of every device that appeared before the service listened.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Devices without a bus that still name a driver: the board, and keys such as the power button.
const CLASSES: [&str; 2] = ["dmi", "input"];
/// A device's modalias fits one page. That of a CPU is a list of its features.
const LONGEST: usize = 4096;

/// Each modalias once.
pub fn modaliases(sysfs: &Path) -> BTreeSet<String> {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let bus = sysfs.join("bus");
    let listed = fs::read_dir(&bus).and_then(|mut entries| entries.next().transpose());
    if let Err(error) = listed {
        log::error!("cannot list the devices in {}: {error}; drivers are loaded only for those that appear later", bus.display());
    }
    let buses = folders(&bus).map(|bus| bus.join("devices"));
    let classes = CLASSES.iter().map(|class| sysfs.join("class").join(class));
    let mut buffer = [0; LONGEST];
    let devices = buses.chain(classes).flat_map(|folder| folders(&folder));
    devices.filter_map(|device| read(&device.join("modalias"), &mut buffer)).collect()
}

fn read(path: &Path, buffer: &mut [u8]) -> Option<String> {
    let length = File::open(path).ok()?.read(buffer).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bus_is_scanned_and_each_kind_of_device_counts_once() {
        let sysfs = tempfile::tempdir().unwrap();
        for (device, modalias) in [
            ("bus/pci/devices/0000:00:03.0", "pci:a\n"),
            ("bus/pci/devices/0000:00:04.0", "pci:a\n"),
            ("bus/virtio/devices/virtio0", "virtio:d00000001v00001AF4\n"),
            ("bus/cpu/devices/cpu0", "\n"),
            ("class/dmi/id", "dmi:bvnSeaBIOS\n"),
            ("class/tty/tty0", "never asked"),
        ] {
            fs::create_dir_all(sysfs.path().join(device)).unwrap();
            fs::write(sysfs.path().join(device).join("modalias"), modalias).unwrap();
        }
        fs::create_dir_all(sysfs.path().join("bus/memory/devices/memory0")).unwrap();
        let expected = ["dmi:bvnSeaBIOS", "pci:a", "virtio:d00000001v00001AF4"].map(str::to_owned);
        assert_eq!(modaliases(sysfs.path()), expected.into());
        assert!(modaliases(&sysfs.path().join("nowhere")).is_empty());
    }
}
