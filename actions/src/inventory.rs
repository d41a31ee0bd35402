//! `inventory`: what the machine is made of, as one JSON object. Read from `/proc` and `/sys`, it changes nothing.
//!
//! Everything has a bound, because names and numbers come from firmware and devices.

mod parts;

use crate::disks;
use crate::image2disk::Web;
use crate::json::{Object, array};
use crate::say;
use crate::upload::{Destination, UploadError};
use crate::variables::{VariableError, Variables};
use parts::Tree;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("the certificates for DEST_URL")]
    Trust(#[from] trust::TrustError),
    #[error("DEST_URL")]
    Upload(#[from] UploadError),
}

pub fn run(variables: &Variables) -> Result<(), InventoryError> {
    let to = destination(variables)?;
    let json = of(Path::new("/"));
    say(&json);
    if let Some(to) = to {
        let web = Web::read::<InventoryError>(variables)?;
        let body = format!("{json}\n");
        to.put(&web, &mut body.as_bytes(), Some(body.len() as u64))?;
        say(&format!("sent the inventory, {} bytes", body.len()));
    }
    Ok(())
}

/// Prints the inventory, and says where `run` would send it.
pub fn dry_run(variables: &Variables) -> Result<(), InventoryError> {
    let to = destination(variables)?;
    say(&of(Path::new("/")));
    if to.is_some() {
        say(&format!("would send it to {}; nothing was sent", variables.text("DEST_URL")?));
    }
    Ok(())
}

fn destination(variables: &Variables) -> Result<Option<Destination>, VariableError> {
    variables.optional("DEST_URL").map(|_| Destination::read(variables, "DEST_URL")).transpose()
}

/// `root` is `/`, except in tests.
pub fn of(root: &Path) -> String {
    let tree = Tree(root);
    let disks = disks::table(root).into_iter().take(parts::MANY).map(|disk| {
        let object = Object::default()
            .text("name", &disk.name)
            .plain("bytes", disk.size)
            .known("model", &disk.model)
            .known("serial", &disk.serial)
            .known("wwn", &disk.wwn)
            .text("transport", disk.transport)
            .plain("rotational", disk.rotational)
            .plain("removable", disk.removable);
        object.render()
    });
    Object::default()
        .text("architecture", std::env::consts::ARCH)
        .text("firmware", if tree.has("sys/firmware/efi") { "uefi" } else { "bios" })
        .plain("cpu", parts::cpu(tree))
        .plain("memory", parts::memory(tree))
        .plain("disks", array(disks))
        .plain("network", parts::network(tree))
        .plain("pci", parts::pci(tree))
        .plain("dmi", parts::dmi(tree))
        .plain("neighbours", parts::neighbours(tree))
        .render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_machine_is_described_by_its_files() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let processor =
            "vendor_id\t: GenuineIntel\nmodel name\t: Xeon \"Gold\"\nphysical id\t: 0\ncpu cores\t: 2\nflags\t: vmx aes\n\n";
        put("proc/cpuinfo", &processor.repeat(4));
        put("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n");
        put("sys/block/nvme0n1/size", "32768\n");
        put("sys/block/nvme0n1/device/serial", "S1\n");
        put("sys/class/net/eth0/address", "02:00:00:00:00:01\n");
        put("sys/class/net/eth0/device/vendor", "0x8086\n");
        put("sys/class/net/eth0/operstate", "up\n");
        put("sys/class/net/eth0/speed", "25000\n");
        put("sys/class/net/lo/address", "00:00:00:00:00:00\n");
        put("sys/bus/pci/devices/0000:00:1f.0/vendor", "0x8086\n");
        put("sys/bus/pci/devices/0000:00:1f.0/device", "0x1234\n");
        put("sys/bus/pci/devices/0000:00:1f.0/class", "0x020000\n");
        put("sys/class/dmi/id/product_serial", "ABC\u{1}\n");
        put("sys/firmware/efi/fw_platform_size", "64\n");
        put("sys/devices/system/edac/mc/mc0/dimm0/size", "16384\n");
        put("sys/devices/system/edac/mc/mc0/dimm0/dimm_label", "DIMM_A1\n");
        put("run/thimble/lldp", "eth0\tgi1/0/7\t00:11\tswitch-1\t100\n");
        let json: serde_json::Value = serde_json::from_str(&of(root.path())).unwrap();
        for (pointer, expected) in [
            ("/firmware", "\"uefi\""),
            ("/cpu/threads", "4"),
            ("/cpu/cores", "2"),
            ("/cpu/sockets", "1"),
            ("/cpu/model", "\"Xeon \\\"Gold\\\"\""),
            ("/memory/bytes", "2097152"),
            ("/memory/modules/0/label", "\"DIMM_A1\""),
            ("/memory/modules/0/bytes", "17179869184"),
            ("/disks/0/serial", "\"S1\""),
            ("/network/0/mac", "\"02:00:00:00:00:01\""),
            ("/network/0/megabits", "25000"),
            ("/pci/0/class", "\"0x020000\""),
            ("/dmi/product_serial", "\"ABC\""),
            ("/neighbours/0/system", "\"switch-1\""),
        ] {
            assert_eq!(json.pointer(pointer).map(ToString::to_string).as_deref(), Some(expected), "{pointer}");
        }
        assert_eq!(json["network"].as_array().unwrap().len(), 1, "the loopback does not count");
    }

    #[test]
    fn this_machine_is_described_without_harm() {
        let json: serde_json::Value = serde_json::from_str(&of(Path::new("/"))).unwrap();
        assert!(json["memory"]["bytes"].as_u64().unwrap() > 1 << 20);
        let empty = tempfile::tempdir().unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&of(empty.path())).is_ok());
    }
}
