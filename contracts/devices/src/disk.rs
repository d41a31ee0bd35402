//! The names of a disk below `/dev/disk`. They are those of udev's 60-persistent-storage.rules and its helpers (path_id,
//! scsi_id, ata_id, usb_id, blkid), so that a name seen on an installed system is also the name here.

pub mod claims;
mod path;
mod scsi;
pub mod text;
mod usb;

pub use path::{Attribute, SasPlace, Step};
pub use scsi::Scsi;
pub use usb::Usb;

use text::{encoded, escaped, replaced, squeezed};

/// A whole disk, as sysfs has it. Attributes are as the kernel prints them, without the final newline.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// `sda`
    pub name: String,
    /// The devices that it is connected through, and last the disk itself.
    pub steps: Vec<Step>,
    /// `serial` of a virtio disk, or of the controller of an NVMe disk.
    pub serial: Option<String>,
    pub model: Option<String>,
    pub wwid: Option<String>,
    pub nsid: Option<String>,
    /// eMMC and SD cards.
    pub card: Option<String>,
    pub scsi: Option<Scsi>,
    pub usb: Option<Usb>,
}

/// What is on a disk or partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub uuid: Option<String>,
    pub label: Option<Vec<u8>>,
    pub part_uuid: Option<String>,
    pub part_label: Option<String>,
}

/// Names that do not depend on the disk's content, such as `by-id/ata-QEMU_HARDDISK_1`. A partition's end in `-part1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    names: Vec<String>,
}

/// The kinds of block device that get names. Device mapper and MD have other rules in udev, and RAM disks have none.
pub fn is_named(name: &str) -> bool {
    const KINDS: &[&str] = &["nvme", "sd", "sr", "vd", "xvd", "mmcblk", "pmem", "nbd", "cciss", "dasd", "loop"];
    let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    KINDS.iter().filter_map(|kind| Some((*kind, name.strip_prefix(kind)?))).any(|(kind, rest)| match kind {
        "sd" | "vd" | "xvd" => rest.starts_with(|c: char| c.is_ascii_lowercase()),
        _ => digit(rest),
    })
}

impl Disk {
    pub fn identity(&self) -> Identity {
        let mut ids = self.ids();
        let paths = path::paths(&self.steps);
        if self.name.starts_with("vd") {
            ids.extend(paths.iter().filter(|path| path.starts_with("pci-")).map(|path| format!("by-path/virtio-{path}")));
        }
        ids.extend(paths.into_iter().map(|path| format!("by-path/{path}")));
        Identity { names: ids }
    }

    fn ids(&self) -> Vec<String> {
        let id = |kind: &str, value: &str| format!("by-id/{kind}-{value}");
        let mut ids = Vec::new();
        let present =
            |value: &Option<String>| value.as_deref().map(str::trim_end).filter(|value| !value.is_empty()).map(str::to_owned);
        let (serial, model) = (present(&self.serial), present(&self.model));
        if self.name.starts_with("nvme") {
            ids.extend(present(&self.wwid).map(|wwid| id("nvme", &escaped(&squeezed(&wwid)))));
            if let (Some(model), Some(serial)) = (model, serial) {
                let name = replaced(&format!("{model}_{serial}"));
                ids.push(id("nvme", &name));
                ids.extend(present(&self.nsid).map(|nsid| id("nvme", &format!("{name}_{}", replaced(&nsid)))));
            }
        } else if self.name.starts_with("vd") {
            ids.extend(serial.map(|serial| id("virtio", &escaped(&squeezed(&serial)))));
        } else if self.name.starts_with("mmcblk") {
            if let (Some(card), Some(serial)) = (present(&self.card), serial) {
                ids.push(id("mmc", &escaped(&squeezed(&format!("{card}_{serial}")))));
            }
        } else if let Some(scsi) = &self.scsi {
            let named = scsi.names();
            match &self.usb {
                Some(usb) => ids.extend(usb.serial(scsi).map(|serial| id("usb", &serial))),
                None => ids.extend(named.serial.map(|serial| id(named.bus, &serial))),
            }
            ids.extend(named.wwn.filter(|_| self.usb.is_none()).map(|wwn| id("wwn", &wwn)));
        }
        ids
    }
}

impl Identity {
    /// All names below `/dev/disk` of the disk, or of one of its partitions.
    pub fn links(&self, partition: Option<u32>, content: &Content) -> Vec<String> {
        let own: Vec<String> = match partition {
            None => self.names.clone(),
            Some(number) => self.names.iter().map(|name| format!("{name}-part{number}")).collect(),
        };
        let part_label = content.part_label.as_deref().filter(|label| !label.is_empty());
        let label = content.label.as_deref().filter(|label| !label.is_empty());
        let of_content = [
            content.uuid.as_ref().map(|uuid| format!("by-uuid/{}", encoded(uuid.as_bytes()))),
            label.map(|label| format!("by-label/{}", encoded(label))),
            content.part_uuid.as_ref().map(|uuid| format!("by-partuuid/{uuid}")),
            part_label.map(|label| format!("by-partlabel/{}", encoded(label.as_bytes()))),
        ];
        let leaves = |link: &String| ["/", "/.", "/.."].iter().any(|end| link.ends_with(end));
        own.into_iter().chain(of_content.into_iter().flatten()).filter(|link| !leaves(link)).collect()
    }
}

#[cfg(test)]
mod tests;
