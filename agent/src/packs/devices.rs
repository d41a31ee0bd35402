//! The devices without a driver, and which of them a pack has drivers for.

use std::fs;
use std::path::Path;

use api::packs::Pack;
use devices::alias::Wanted;

/// A function of a network card has drivers for RDMA as well. Only who names their pack wants them.
const OPTIONAL_BUS: &str = "auxiliary:";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Bus and name, such as `pci 0000:00:03.0`.
    pub place: String,
    pub modalias: String,
}

/// Every device of every bus that names a driver and has none, by its place.
pub fn without_driver(sysfs: &Path) -> Vec<Device> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for bus in entries(&sysfs.join("bus")) {
        for device in entries(&bus.path().join("devices")) {
            let path = device.path();
            let modalias = fs::read_to_string(path.join("modalias")).unwrap_or_default().trim_end().to_owned();
            if modalias.is_empty() || modalias.starts_with(OPTIONAL_BUS) || path.join("driver").exists() {
                continue;
            }
            let place = format!("{} {}", bus.file_name().display(), device.file_name().display());
            found.push(Device { place, modalias });
        }
    }
    found.sort_by(|a, b| a.place.cmp(&b.place));
    found
}

/// Those that match a pattern of the pack.
pub fn served_by<'a>(pack: &Pack, devices: &'a [Device]) -> Vec<&'a Device> {
    let wanted = Wanted::new(devices.iter().map(|device| device.modalias.clone()));
    let list: String = pack.modaliases.iter().map(|pattern| format!("alias {pattern} {}\n", pack.name)).collect();
    let mut matched = Vec::new();
    wanted.search([list.as_str()], |index, _| matched.extend(wanted.aliases().get(index).cloned()));
    // The search compares names with dashes as underscores.
    devices.iter().filter(|device| matched.contains(&device.modalias.replace('-', "_"))).collect()
}
