//! The machine's hardware in the format of Tinkerbell's agent. It is detected at start and again later.

mod block;
mod cpu;
mod memory;
mod network;
mod pci;
mod platform;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use machine::files;
use proto::{AgentAttributes, Baseboard, Bios, Chassis, Product};

/// The shortest time between two detections. Disks and neighbours appear late, but actions follow each other in
/// milliseconds.
const STALE: Duration = Duration::from_secs(15);

/// The hardware as it was last detected.
pub struct Known {
    detect: Option<fn() -> AgentAttributes>,
    last: Option<(Instant, AgentAttributes)>,
}

impl Known {
    pub fn here() -> Self {
        Self { detect: Some(|| detect(Path::new("/"))), last: None }
    }

    /// For an agent whose settings turn attributes off.
    pub fn nothing() -> Self {
        Self { detect: None, last: None }
    }

    pub fn get(&mut self, now: Instant) -> Option<AgentAttributes> {
        let detect = self.detect?;
        if self.last.as_ref().is_none_or(|(then, _)| now.saturating_duration_since(*then) >= STALE) {
            self.last = Some((now, detect()));
        }
        self.last.as_ref().map(|(_, found)| found.clone())
    }
}

/// `root` is `/`. Tests pass a folder with another `sys` and `proc`.
pub fn detect(root: &Path) -> AgentAttributes {
    let sys = root.join("sys");
    let read = |path| fs::read_to_string(files::below(root, path)).unwrap_or_default();
    let dmi = |name: &str| read_word(&sys.join("class/dmi/id").join(name));
    let (pci, gpu) = pci::devices(&sys.join("bus/pci/devices"));
    AgentAttributes {
        cpu: Some(cpu::parse(&read("proc/cpuinfo"))),
        memory: Some(memory::detect(&sys.join("devices/system/memory"), &read("proc/meminfo"))),
        block: block::devices(&sys.join("block"), &root.join("run/udev/data"), &root.join("dev/disk/by-id")),
        network: network::interfaces(&sys.join("class/net"), &read(files::LLDP)),
        pci,
        gpu,
        chassis: Some(Chassis { serial: dmi("chassis_serial"), vendor: dmi("chassis_vendor") }),
        bios: Some(Bios { vendor: dmi("bios_vendor"), version: dmi("bios_version"), release_date: dmi("bios_date") }),
        baseboard: Some(Baseboard {
            vendor: dmi("board_vendor"),
            product: dmi("board_name"),
            version: dmi("board_version"),
            serial_number: dmi("board_serial"),
        }),
        platform: Some(platform::detect(&sys, &read(files::BOOT), &read(files::FIRMWARE_MISSING))),
        product: Some(Product { name: dmi("product_name"), vendor: dmi("sys_vendor"), serial_number: dmi("product_serial") }),
    }
}

/// Reads a file with one value. A missing file gives no value, not an empty one, because the server's rules test for
/// presence.
fn read_word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The kernel writes -1 for a machine without nodes.
fn numa_node(device: &Path) -> Option<u32> {
    read_word(&device.join("numa_node")).and_then(|number| number.parse().ok())
}

/// The names in a folder of sysfs, sorted.
fn names(folder: &Path) -> Vec<String> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = read.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The size rounded up to whole units of 1024, without a space: `32GB`, `512B`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
    let (mut amount, mut unit) = (bytes, 0);
    let mut rest = false;
    while amount >= 1024 && unit + 1 < UNITS.len() {
        rest |= amount % 1024 != 0;
        amount /= 1024;
        unit += 1;
    }
    format!("{}{}", amount + u64::from(rest), UNITS.get(unit).copied().unwrap_or("B"))
}

#[cfg(test)]
mod tests;
