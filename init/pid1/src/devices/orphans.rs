//! Devices that an installation would use, but that have no driver.

use std::fmt;
use std::fs;
use std::path::Path;

use devices::catalogue::Found;

/// A PCI device without a driver.
#[derive(Debug, PartialEq, Eq)]
pub struct Orphan {
    kind: &'static str,
    /// The numbers, such as `8086:1533`.
    id: String,
    /// The slot, such as `0000:00:03.0`.
    slot: String,
    pub modalias: String,
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot.strip_prefix("0000:").unwrap_or(&self.slot);
        write!(f, "{} device pci {} ({slot})", self.kind, self.id)
    }
}

/// Finds network and storage controllers. An installation does not need other devices.
pub fn find(sysfs: &Path) -> Vec<Orphan> {
    let devices = fs::read_dir(sysfs.join("bus/pci/devices")).into_iter().flatten().flatten();
    let mut orphans: Vec<Orphan> = devices.filter_map(|device| read(&device.path())).collect();
    orphans.sort_by(|a, b| a.slot.cmp(&b.slot));
    orphans
}

fn read(device: &Path) -> Option<Orphan> {
    let attribute = |name: &str| fs::read_to_string(device.join(name)).ok().map(|text| text.trim().to_owned());
    let kind = match attribute("class")?.get(..4)? {
        "0x01" => "storage",
        "0x02" => "network",
        _ => return None,
    };
    if device.join("driver").exists() {
        return None;
    }
    let number = |name: &str| attribute(name).map(|text| text.trim_start_matches("0x").to_owned());
    Some(Orphan {
        kind,
        id: format!("{}:{}", number("vendor")?, number("device")?),
        slot: device.file_name()?.to_str()?.to_owned(),
        modalias: attribute("modalias")?,
    })
}

/// `None` if its driver is loaded, which may still need time to start it. `has_packs`: the agent will look in driver packs.
pub fn reason(found: &Found, has_packs: bool) -> Option<String> {
    match (found.modules.is_empty(), found.denied.first()) {
        (false, _) => None,
        (true, Some(denied)) => Some(format!("module {denied} is denied")),
        (true, None) if has_packs => {
            Some("this ramdisk has no module for it; the agent looks in the driver packs that the image names".to_owned())
        }
        (true, None) => {
            Some("this ramdisk has no module for it; build the ramdisk with another profile or add its module".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::module::ModuleName;

    #[test]
    fn controllers_without_a_driver_are_found_and_named() {
        let sysfs = tempfile::tempdir().unwrap();
        for (slot, class, driver) in [
            ("0000:00:03.0", "0x020000", false),
            ("0000:00:04.0", "0x010802", true),
            ("0000:01:00.0", "0x010400", false),
            ("0000:00:02.0", "0x030000", false),
        ] {
            let device = sysfs.path().join("bus/pci/devices").join(slot);
            fs::create_dir_all(&device).unwrap();
            for (name, value) in [("class", class), ("vendor", "0x8086"), ("device", "0x1533"), ("modalias", "pci:x")] {
                fs::write(device.join(name), format!("{value}\n")).unwrap();
            }
            if driver {
                fs::create_dir(device.join("driver")).unwrap();
            }
        }
        let orphans: Vec<String> = find(sysfs.path()).iter().map(Orphan::to_string).collect();
        assert_eq!(orphans, ["network device pci 8086:1533 (00:03.0)", "storage device pci 8086:1533 (01:00.0)"]);
    }

    #[test]
    fn only_a_device_without_any_driver_is_reported() {
        let igb = ModuleName::new("igb");
        let found = |modules: &[&ModuleName], denied: &[&ModuleName]| Found {
            modules: modules.iter().map(|name| (*name).clone()).collect(),
            denied: denied.iter().map(|name| (*name).clone()).collect(),
        };
        assert_eq!(reason(&found(&[&igb], &[]), false), None);
        assert_eq!(reason(&found(&[], &[&igb]), true).as_deref(), Some("module igb is denied"));
        for (has_packs, end) in [(false, "add its module"), (true, "the driver packs that the image names")] {
            let text = reason(&found(&[], &[]), has_packs).unwrap();
            assert!(text.starts_with("this ramdisk has no module") && text.ends_with(end), "{text}");
        }
    }
}
