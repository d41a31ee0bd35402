//! Disks from `/sys/block`, with vendor, model, serial and WWN from udev's database if present.

use std::fs;
use std::path::Path;

use proto::Block;

use super::{names, numa_node, read_word, size};

pub fn devices(block: &Path, udev: &Path, by_id: &Path) -> Vec<Block> {
    let links: Vec<(String, String)> = names(by_id).into_iter().filter_map(|id| Some((target(&by_id.join(&id))?, id))).collect();
    let device = |name: &String| {
        let stable_ids = links.iter().filter(|(disk, _)| disk == name).map(|(_, id)| id.clone()).collect();
        Some(Block { stable_ids, ..device(&block.join(name), name, udev)? })
    };
    names(block).iter().filter_map(device).collect()
}

/// The name of the device that a link points to.
fn target(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn device(path: &Path, name: &str, udev: &Path) -> Option<Block> {
    let controller = controller(name)?;
    let number = |file: &str| read_word(&path.join(file)).and_then(|text| text.parse::<u64>().ok());
    let database = read_word(&path.join("dev")).and_then(|dev| fs::read_to_string(udev.join(format!("b{dev}"))).ok());
    let property = |keys: &[&str]| keys.iter().find_map(|key| property(database.as_deref()?, key));
    let attribute = |file: &str| read_word(&path.join("device").join(file)).filter(|text| !text.is_empty());
    let named = |found: Option<String>| Some(found.unwrap_or_else(|| "unknown".to_owned()));
    Some(Block {
        stable_ids: Vec::new(),
        numa_node: numa_node(&path.join("device")).or_else(|| numa_node(&path.join("device/device"))),
        name: Some(name.to_owned()),
        controller_type: Some(controller.to_owned()),
        drive_type: Some(drive(name, number("queue/rotational") == Some(1)).to_owned()),
        size: number("size").map(|sectors| size(sectors.saturating_mul(512))),
        physical_block_size: number("queue/physical_block_size").map(size),
        vendor: named(property(&["ID_VENDOR"]).or_else(|| attribute("vendor"))),
        model: named(property(&["ID_MODEL"]).or_else(|| attribute("model"))),
        wwn: named(property(&["ID_WWN_WITH_EXTENSION", "ID_WWN", "DM_WWN"]).or_else(|| read_word(&path.join("wwid")))),
        serial_number: named(
            property(&["SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"])
                .or_else(|| attribute("serial").or_else(|| read_word(&path.join("serial")).filter(|s| !s.is_empty()))),
        ),
    })
}

/// The kind of controller, by the kernel's name of the disk. Devices of other kinds (loop, ram, dm) are not disks to
/// install on.
fn controller(name: &str) -> Option<&'static str> {
    match name {
        _ if name.starts_with("nvme") => Some("NVMe"),
        _ if name.starts_with("mmcblk") => Some("MMC"),
        _ if name.starts_with("vd") => Some("virtio"),
        _ if name.starts_with("sd") || name.starts_with("sr") || name.starts_with("xvd") => Some("SCSI"),
        _ if name.starts_with("hd") => Some("IDE"),
        _ => None,
    }
}

fn drive(name: &str, rotational: bool) -> &'static str {
    match name {
        _ if name.starts_with("sr") => "ODD",
        _ if name.starts_with("fd") => "FDD",
        _ if name.starts_with("nvme") || name.starts_with("mmcblk") => "SSD",
        _ if name.starts_with("vd") || name.starts_with("xvd") => "virtual",
        _ if rotational => "HDD",
        _ => "SSD",
    }
}

/// The value of an `E:KEY=VALUE` line.
fn property(database: &str, key: &str) -> Option<String> {
    let line = database.lines().find_map(|l| l.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.to_owned())
}
