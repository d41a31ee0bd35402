//! The machine's disks with what identifies them, as sysfs and `/dev/disk/by-id` have it.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

const SECTOR: u64 = 512; // sysfs counts in these, whatever the disk uses
/// The drivers of disks. Others are for memory, the network, flash that holds the firmware, or devices made of disks.
const DISKS: [&str; 6] = ["sd", "nvme", "vd", "xvd", "hd", "mmcblk"];
/// The boot areas of an eMMC, and what it keeps apart.
const AREAS: [&str; 3] = ["boot", "rpmb", "gp"];
/// More than a machine has. Each costs some small reads.
const DISKS_MAX: usize = 4096;
/// The header of a page of vital product data, which the serial number follows (SPC-4, 7.8.15).
const VPD_HEADER: usize = 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// `nvme0n1`
    pub name: String,
    /// In bytes.
    pub size: u64,
    pub model: String,
    pub serial: String,
    pub wwn: String,
    /// `nvme`, `sata`, `sas`, `usb`, `virtio`, `mmc`, `iscsi`, `fc` or `scsi`
    pub transport: &'static str,
    pub rotational: bool,
    pub removable: bool,
    /// Names below `/dev/disk/by-id`.
    pub ids: Vec<String>,
}

/// `root` is `/`, except in tests. Sorted by name.
pub fn table(root: &Path) -> Vec<Disk> {
    let entries = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| is_disk(name) && !is_hidden(root, name));
    let mut disks: Vec<Disk> = names.take(DISKS_MAX).map(|name| disk(&root.join("sys/block").join(&name), name)).collect();
    // An empty card reader has no size.
    disks.retain(|disk| disk.size > 0);
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    let links = fs::read_dir(root.join("dev/disk/by-id")).into_iter().flatten().flatten();
    for link in links.take(DISKS_MAX * 8) {
        let target = fs::read_link(link.path()).ok().and_then(|target| Some(target.file_name()?.to_str()?.to_owned()));
        let owner = disks.iter_mut().find(|disk| target.as_ref() == Some(&disk.name));
        if let (Some(disk), Ok(id)) = (owner, link.file_name().into_string()) {
            disk.ids.push(id);
        }
    }
    disks
}

fn is_disk(name: &str) -> bool {
    let area = name.strip_prefix("mmcblk").is_some_and(|rest| AREAS.iter().any(|area| rest.contains(area)));
    DISKS.iter().any(|disk| name.starts_with(disk)) && !area
}

/// One of several paths to an NVMe disk, which has no device file.
fn is_hidden(root: &Path, name: &str) -> bool {
    fs::read_to_string(root.join("sys/block").join(name).join("hidden")).is_ok_and(|text| text.trim() == "1")
}

fn disk(folder: &Path, name: String) -> Disk {
    let attribute = |path: &str| {
        let text = fs::read_to_string(folder.join(path)).ok()?;
        Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()).filter(|text| !text.is_empty())
    };
    let is_set = |path| attribute(path).as_deref() == Some("1");
    let page = || {
        let page = fs::read(folder.join("device/vpd_pg80")).ok()?;
        Some(String::from_utf8_lossy(page.get(VPD_HEADER..)?).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    };
    Disk {
        size: attribute("size").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0).saturating_mul(SECTOR),
        model: attribute("device/model").or_else(|| attribute("device/name")).unwrap_or_default(),
        serial: attribute("serial").or_else(|| attribute("device/serial")).or_else(page).unwrap_or_default(),
        wwn: wwn(attribute("wwid").or_else(|| attribute("device/wwid"))),
        transport: transport(&name, &fs::canonicalize(folder).unwrap_or_default().to_string_lossy()),
        rotational: is_set("queue/rotational"),
        removable: is_set("removable"),
        ids: Vec::new(),
        name,
    }
}

/// Where the partitions of a disk are, in bytes. None if the path is a partition or a file.
pub fn partitions(root: &Path, disk: &Path) -> Vec<Range<u64>> {
    let disk = fs::canonicalize(disk).unwrap_or_else(|_| disk.to_owned());
    let Some(name) = disk.file_name() else { return Vec::new() };
    let entries = fs::read_dir(root.join("sys/block").join(name)).into_iter().flatten().flatten();
    let partitions = entries.filter_map(|entry| {
        let number = |name| fs::read_to_string(entry.path().join(name)).ok()?.trim().parse::<u64>().ok();
        number("partition")?;
        let start = number("start")?.saturating_mul(SECTOR);
        Some(start..start.saturating_add(number("size")?.saturating_mul(SECTOR)))
    });
    let mut partitions: Vec<Range<u64>> = partitions.collect();
    partitions.sort_by_key(|range| range.start);
    partitions
}

/// The disk that a partition is a part of. `None` for a disk.
pub fn whole(root: &Path, name: &str) -> Option<String> {
    let place = fs::canonicalize(root.join("sys/class/block").join(name)).ok()?;
    fs::metadata(place.join("partition")).ok()?;
    place.parent()?.file_name()?.to_str().map(str::to_owned)
}

/// Whether the disk can be told that data is unused.
pub fn discards(root: &Path, disk: &str) -> bool {
    let path = root.join("sys/block").join(disk).join("queue/discard_max_bytes");
    fs::read_to_string(path).is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|bytes| bytes > 0))
}

/// What keeps a disk or partition busy, with its own partitions: mounts, and devices that are made of it.
pub fn users(root: &Path, name: &str) -> Vec<String> {
    let folder = root.join("sys/class/block").join(name);
    let entries = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.take(DISKS_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let parts = entries(&folder).into_iter().filter(|entry| fs::metadata(folder.join(entry).join("partition")).is_ok());
    let names: Vec<String> = std::iter::once(name.to_owned()).chain(parts).collect();
    let mut users: Vec<String> = Vec::new();
    for name in &names {
        users.extend(entries(&root.join("sys/class/block").join(name).join("holders")));
    }
    for (file, what) in [("proc/self/mounts", "mounted at "), ("proc/swaps", "swap on ")] {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        users.extend(text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (device, place) = (words.next()?, words.next()?);
            let own = device.strip_prefix("/dev/").is_some_and(|device| names.iter().any(|name| name == device));
            own.then(|| format!("{what}{}", if what.starts_with("swap") { device } else { place }))
        }));
    }
    users.sort();
    users.dedup();
    users
}

/// Further namespaces of the same NVMe controller.
pub fn namespaces(root: &Path, disk: &str) -> Vec<String> {
    let controller = |name: &str| name.rsplit_once('n').map(|(controller, _)| controller.to_owned());
    let own = controller(disk);
    let entries = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("nvme") && name != disk && controller(name) == own).take(DISKS_MAX).collect()
}

/// `naa.5000c500a1b2c3d4` is 0x5000c500a1b2c3d4 below `/dev/disk/by-id`. A `t10.` name is made of vendor, model and serial.
fn wwn(id: Option<String>) -> String {
    let id = id.unwrap_or_default();
    let number = id.strip_prefix("naa.").map(|digits| format!("0x{digits}"));
    number.unwrap_or(if id.starts_with("t10.") { String::new() } else { id })
}

/// By the devices that the disk is connected through.
fn transport(name: &str, path: &str) -> &'static str {
    const PLACES: [(&str, &str); 7] = [
        ("/usb", "usb"),
        ("/ata", "sata"),
        ("/end_device-", "sas"),
        ("/session", "iscsi"),
        ("/rport-", "fc"),
        ("/virtio", "virtio"),
        ("/mmc_host", "mmc"),
    ];
    if name.starts_with("nvme") {
        return "nvme";
    }
    let place = PLACES.into_iter().find(|(place, _)| path.contains(place));
    let by_name = if name.starts_with("vd") { "virtio" } else { "scsi" };
    place.map_or(by_name, |(_, transport)| transport)
}

/// `/dev/nvme0n1 (953 GiB, nvme, Samsung SSD 990, serial S6XN)`
impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, size, model, serial, transport, .. } = self;
        let size = if *size >= 10 << 30 { format!("{} GiB", size >> 30) } else { format!("{} MiB", size >> 20) };
        write!(f, "/dev/{name} ({size}, {transport}")?;
        if !model.is_empty() {
            write!(f, ", {model}")?;
        }
        if !serial.is_empty() {
            write!(f, ", serial {serial}")?;
        }
        if self.removable {
            write!(f, ", removable")?;
        }
        write!(f, ")")
    }
}

/// For a sentence that begins "this machine has".
pub fn list<'d>(disks: impl IntoIterator<Item = &'d Disk>) -> String {
    let disks: Vec<String> = disks.into_iter().map(Disk::to_string).collect();
    if disks.is_empty() { "no disk at all: is its driver in the ramdisk?".to_owned() } else { disks.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_read_with_what_identifies_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(list(&table(root)).starts_with("no disk at all"));
        let put = |path: &str, text: &[u8]| {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        };
        // As the kernel has them: block devices are links to the places where they are connected.
        for (name, place) in [
            ("vda", "pci0000:00/virtio3/block/vda"),
            ("sda", "pci0000:00/ata1/host0/target0:0:0/block/sda"),
            ("sdb", "pci0000:00/usb1/1-1/host1/block/sdb"),
            ("nvme0n1", "pci0000:00/nvme/nvme0/nvme0n1"),
            ("loop0", "virtual/block/loop0"),
            ("sdc", "pci0000:00/ata2/block/sdc"),
            ("nvme0c0n1", "pci0000:00/nvme/nvme0/nvme0c0n1"),
            ("mmcblk0", "platform/mmc_host/mmc0/block/mmcblk0"),
            ("mmcblk0boot0", "platform/mmc_host/mmc0/block/mmcblk0boot0"),
            ("mtdblock0", "platform/spi/block/mtdblock0"),
        ] {
            put(&format!("sys/devices/{place}/size"), if name == "sdc" { b"0\n" } else { b"32768\n" });
            fs::create_dir_all(root.join("sys/block")).unwrap();
            std::os::unix::fs::symlink(format!("../devices/{place}"), root.join("sys/block").join(name)).unwrap();
        }
        put("sys/block/nvme0n1/device/model", b"Samsung SSD 990  \n");
        put("sys/block/nvme0n1/device/serial", b"S6XN     \n");
        put("sys/block/nvme0n1/wwid", b"eui.0025385\n");
        put("sys/block/nvme0n1/hidden", b"0\n");
        put("sys/block/nvme0c0n1/hidden", b"1\n");
        put("sys/block/sda/device/vpd_pg80", b"\0\x80\0\x08  QM0001");
        put("sys/block/sda/device/wwid", b"naa.5000c500a1b2c3d4\n");
        put("sys/block/sda/queue/rotational", b"1\n");
        put("sys/block/sdb/removable", b"1\n");
        put("sys/block/vda/serial", b"disk-1");
        put("dev/disk/by-id/x", b"");
        std::os::unix::fs::symlink("../../sda", root.join("dev/disk/by-id/ata-QEMU_HARDDISK_QM0001")).unwrap();
        let disks = table(root);
        let lines: Vec<String> = disks.iter().map(Disk::to_string).collect();
        assert_eq!(
            lines,
            [
                "/dev/mmcblk0 (16 MiB, mmc)",
                "/dev/nvme0n1 (16 MiB, nvme, Samsung SSD 990, serial S6XN)",
                "/dev/sda (16 MiB, sata, serial QM0001)",
                "/dev/sdb (16 MiB, usb, removable)",
                "/dev/vda (16 MiB, virtio, serial disk-1)",
            ]
        );
        assert_eq!((disks[1].wwn.as_str(), disks[2].wwn.as_str()), ("eui.0025385", "0x5000c500a1b2c3d4"));
        assert_eq!(disks[2].ids, ["ata-QEMU_HARDDISK_QM0001"]);
        assert!(disks[2].rotational && !disks[1].rotational);
    }

    #[test]
    fn what_uses_a_disk_or_a_part_of_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/block/vdz/vdz1/partition", "1\n");
        put("sys/block/vdz/vdz2/partition", "2\n");
        put("sys/block/vdz/queue/discard_max_bytes", "4096\n");
        put("sys/block/vdy/queue/discard_max_bytes", "0\n");
        put("sys/class/block/vdz2/holders/md127", "");
        put("sys/class/block/vdz/holders/x", "");
        fs::remove_file(root.path().join("sys/class/block/vdz/holders/x")).unwrap();
        put("sys/class/block/vdz/vdz1/partition", "1\n");
        put("sys/class/block/vdz/vdz2/partition", "2\n");
        put("proc/self/mounts", "/dev/vdz1 /mnt ext4 rw 0 0\n/dev/vdz10 /other ext4 rw 0 0\nproc /proc proc rw 0 0\n");
        put("proc/swaps", "Filename\tType\n/dev/vdz2 partition\n");
        assert_eq!(users(root.path(), "vdz"), ["md127", "mounted at /mnt", "swap on /dev/vdz2"]);
        assert_eq!(users(root.path(), "vdz1"), ["mounted at /mnt"]);
        assert!(discards(root.path(), "vdz") && !discards(root.path(), "vdy") && !discards(root.path(), "vdx"));
        for name in ["nvme0n1", "nvme0n2", "nvme1n1"] {
            put(&format!("sys/block/{name}/size"), "8\n");
        }
        assert_eq!(namespaces(root.path(), "nvme0n1"), ["nvme0n2"]);
        assert_eq!(namespaces(root.path(), "nvme1n1"), [""; 0]);
    }

    #[test]
    fn partitions_are_those_of_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/block/vdz");
        for (path, text) in [
            ("vdz1/partition", "1\n"),
            ("vdz1/start", "2048\n"),
            ("vdz1/size", "8\n"),
            ("vdz2/partition", "2\n"),
            ("vdz2/start", "34\n"),
            ("vdz2/size", "2\n"),
            ("queue/size", "9\n"),
            ("size", "9999\n"),
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(partitions(root.path(), Path::new("/dev/vdz")), [17_408..18_432, 1_048_576..1_052_672]);
        assert_eq!(partitions(root.path(), Path::new("/dev/vdz1")), []);
    }
}
