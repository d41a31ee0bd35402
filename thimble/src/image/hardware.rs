//! Which drivers a machine may need according to its Hardware: by the names of its disks and the vendors of its MACs.

use anyhow::ensure;
use model::{Hardware, Object};
use std::collections::BTreeSet;
use std::path::Path;

/// The first bytes of MACs that hypervisors assign, and the drivers of their NICs.
const VIRTUAL: &[(&str, &str)] = &[
    ("52:54:00", "virtio"),
    ("00:0c:29", "vmware"),
    ("00:50:56", "vmware"),
    ("00:05:69", "vmware"),
    ("00:15:5d", "hyperv"),
    ("00:16:3e", "xen"),
];

/// How the name of a disk begins, and the drivers that make such names.
const DISKS: &[(&str, &[&str])] = &[
    ("/dev/vd", &["virtio"]),
    ("/dev/xvd", &["xen"]),
    ("/dev/nvme", &["storage"]),
    ("/dev/mmcblk", &["storage"]),
    ("/dev/md", &["storage", "usb", "raid"]),
    ("/dev/mapper/", &["storage", "san", "raid"]),
];
/// For `/dev/sda`, and other names that any kind of controller may have.
const ANY_DISK: &[&str] = &["virtio", "vmware", "storage", "usb"];

/// The families of drivers for all Hardware in these files.
pub fn families(paths: &[impl AsRef<Path>]) -> anyhow::Result<Vec<String>> {
    let mut families = BTreeSet::new();
    let mut found = false;
    for object in model::read_files(paths)? {
        if let Object::Hardware(hardware) = object {
            found = true;
            families.extend(of(&hardware));
        }
    }
    ensure!(found, "no Hardware in these files; --for needs documents with `kind: Hardware`");
    Ok(families.into_iter().map(str::to_owned).collect())
}

fn of(hardware: &Hardware) -> BTreeSet<&'static str> {
    let mut families = BTreeSet::new();
    let macs = hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.mac);
    let mut nics = BTreeSet::new();
    for mac in macs {
        let mac = mac.to_string();
        match VIRTUAL.iter().find(|(maker, _)| mac.starts_with(maker)) {
            // Hypervisors also emulate physical cards.
            Some((_, family)) => nics.extend([*family, "ethernet"]),
            None => nics.extend(["ethernet", "usb-net", "bonding"]),
        }
    }
    if nics.is_empty() {
        nics.extend(["virtio", "vmware", "ethernet", "usb-net", "bonding"]);
    }
    families.extend(nics);
    let disks = hardware.spec.disks.iter().map(|disk| disk.device.as_str());
    let drivers = disks.map(|device| DISKS.iter().find(|(start, _)| device.starts_with(start)).map_or(ANY_DISK, |(_, to)| to));
    let drivers: Vec<&str> = drivers.flatten().copied().collect();
    if drivers.is_empty() {
        families.extend(ANY_DISK)
    } else {
        families.extend(drivers)
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families_for(disk: &str, mac: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hardware.yaml");
        let text = format!(
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: a}}\n\
             spec:\n  disks: [{{device: {disk}}}]\n  interfaces: [{{dhcp: {{mac: \"{mac}\"}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        families(&[path]).unwrap()
    }

    #[test]
    fn disks_and_makers_of_macs_say_which_drivers() {
        for (disk, mac, expected) in [
            ("/dev/vda", "52:54:00:00:00:01", &["ethernet", "virtio"][..]),
            ("/dev/nvme0n1", "3c:ec:ef:00:00:01", &["bonding", "ethernet", "storage", "usb-net"]),
            ("/dev/sda", "00:50:56:00:00:01", &["ethernet", "storage", "usb", "virtio", "vmware"]),
        ] {
            assert_eq!(families_for(disk, mac), expected, "{disk} {mac}");
        }
    }

    #[test]
    fn files_without_hardware_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.yaml");
        std::fs::write(&path, "").unwrap();
        assert!(families(&[path]).unwrap_err().to_string().contains("no Hardware in these files"));
    }
}
