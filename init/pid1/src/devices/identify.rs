//! Identifies one disk or partition, from sysfs and from its content. This may take as long as the disk does.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use devices::content::{self, Place, Source};
use devices::disk::{Attribute, Content, Disk, SasPlace, Scsi, Step, Usb};
use rustix::fs::{Advice, OFlags, fadvise};

use super::SYSFS;
use crate::sys;

const SECTOR: u64 = 512; // sysfs counts in these sectors for every disk

/// The names below `/dev/disk`. Empty if the disk has gone meanwhile.
pub fn links(name: &str) -> Vec<String> {
    let Ok(path) = fs::canonicalize(Path::new(SYSFS).join("class/block").join(name)) else { return Vec::new() };
    let number = number(&path.join("partition"));
    let whole = if number.is_some() { path.parent().unwrap_or(&path) } else { &path };
    let disk = disk(whole);
    let content = content(name, &path, &disk.name, number.and_then(|number| u32::try_from(number).ok()), whole);
    let number = number.and_then(|number| u32::try_from(number).ok());
    disk.identity().links(number, &content)
}

fn content(name: &str, path: &Path, disk: &str, number: Option<u32>, whole: &Path) -> Content {
    let volume = Device::open(name, path).and_then(|device| content::probe(&device)).unwrap_or_default();
    let in_table = || {
        let start = self::number(&path.join("start"))?.checked_mul(SECTOR)?;
        let block = self::number(&whole.join("queue/logical_block_size")).unwrap_or(SECTOR);
        content::in_table(&Device::open(disk, whole)?, Place { number: number?, start, block })
    };
    let (part_uuid, part_label) = in_table().map_or((None, None), |(uuid, label)| (Some(uuid), label));
    Content { uuid: volume.uuid, label: volume.label, part_uuid, part_label }
}

struct Device {
    file: File,
    size: u64,
}

impl Device {
    fn open(name: &str, path: &Path) -> Option<Self> {
        let flags = OFlags::NONBLOCK.bits() as i32; // opens a drive without a disc, and does not move its tray
        let file = OpenOptions::new().read(true).custom_flags(flags).open(Path::new("/dev").join(name)).ok()?;
        if name.starts_with("sr") && !sys::has_disc(&file) {
            return None;
        }
        let _ = fadvise(&file, 0, None, Advice::Random); // only a few blocks are read, so the kernel should not read ahead
        let size = number(&path.join("size"))?.checked_mul(SECTOR)?;
        (size > 0).then_some(Self { file, size })
    }
}

impl Source for Device {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let fits = offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= self.size);
        fits && self.file.read_exact_at(buffer, offset).is_ok()
    }

    fn size(&self) -> u64 {
        self.size
    }
}

fn disk(path: &Path) -> Disk {
    let name = last(path);
    let device = path.join("device");
    let nsid = text(&path.join("nsid")).filter(|_| name.starts_with("nvme"));
    let mut steps = steps(path);
    if let Some(nsid) = &nsid {
        if let Some(controller) = controller_of_many(path, &name) {
            steps = self::steps(&controller);
            steps.push(Step { name: name.clone(), subsystem: "block".to_owned(), attribute: None });
        }
        if let Some(step) = steps.last_mut() {
            step.attribute = Some(Attribute::Namespace(nsid.clone()));
        }
    }
    let is_usb = steps.iter().any(|step| step.subsystem == "usb");
    Disk {
        serial: text(&path.join("serial")).or_else(|| text(&device.join("serial"))),
        model: text(&device.join("model")),
        wwid: text(&path.join("wwid")),
        nsid,
        card: text(&device.join("name")).filter(|_| name.starts_with("mmcblk")),
        scsi: device.join("scsi_level").exists().then(|| scsi(&device)),
        usb: if is_usb { usb(path) } else { None },
        name,
        steps,
    }
}

/// A disk that several controllers may reach is below none of them in sysfs. Its name has the number of the first one.
fn controller_of_many(path: &Path, name: &str) -> Option<PathBuf> {
    let is_virtual = path.components().any(|part| part.as_os_str() == "virtual");
    let (number, _) = name.strip_prefix("nvme")?.split_once('n').filter(|_| is_virtual)?;
    fs::canonicalize(Path::new(SYSFS).join("class/nvme").join(format!("nvme{number}"))).ok()
}

/// The devices from the root of `/sys/devices` down to the disk itself.
fn steps(path: &Path) -> Vec<Step> {
    let root = Path::new(SYSFS).join("devices");
    let mut folders: Vec<&Path> = path.ancestors().take_while(|folder| **folder != *root && folder.parent().is_some()).collect();
    folders.reverse();
    folders.into_iter().map(step).collect()
}

fn step(folder: &Path) -> Step {
    let name = last(folder);
    let subsystem = fs::read_link(folder.join("subsystem")).map(|link| last(&link)).unwrap_or_default();
    let attribute = match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':' || c == '-') {
        "host" => first_host(folder).map(Attribute::FirstHost),
        "ata" => text(&folder.join("ata_port").join(&name).join("port_no")).map(Attribute::AtaPort),
        "rport" => text(&folder.join("fc_remote_ports").join(&name).join("port_name")).map(Attribute::FibreChannel),
        "end_device" => sas(folder, &name).map(Attribute::Sas),
        _ => None,
    };
    Step { name, subsystem, attribute }
}

fn first_host(host: &Path) -> Option<u32> {
    let beside = fs::read_dir(host.parent()?).ok()?.flatten();
    beside.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("host")?.parse().ok()).min()
}

/// The folder of an end device is in that of its port, and the port's folder is in that of the controller or an expander.
fn sas(end_device: &Path, name: &str) -> Option<SasPlace> {
    let device = end_device.join("sas_device").join(name);
    let port = end_device.parent()?;
    if text(&port.join("sas_port").join(last(port)).join("num_phys"))? != "1" {
        return Some(SasPlace::Wide { address: text(&device.join("sas_address"))? });
    }
    let phy = text(&device.join("phy_identifier"))?;
    let above = port.parent()?;
    Some(match text(&above.join("sas_device").join(last(above)).join("sas_address")) {
        Some(expander) => SasPlace::Expander { expander, phy },
        None => SasPlace::Phy { phy },
    })
}

fn scsi(device: &Path) -> Scsi {
    let raw = |name: &str| fs::read(device.join(name)).unwrap_or_default();
    let padded = |name: &str| String::from_utf8_lossy(&raw(name)).trim_end_matches('\n').to_owned();
    Scsi {
        vendor: padded("vendor"),
        model: padded("model"),
        address: fs::canonicalize(device).map(|path| last(&path)).unwrap_or_default(),
        page_80: raw("vpd_pg80"),
        page_83: raw("vpd_pg83"),
        page_89: raw("vpd_pg89"),
    }
}

/// The first device above that has an id. Interfaces have none.
fn usb(path: &Path) -> Option<Usb> {
    let device = path.ancestors().find(|folder| folder.join("idVendor").exists())?;
    let attribute = |name: &str| text(&device.join(name));
    Some(Usb {
        manufacturer: attribute("manufacturer"),
        product: attribute("product"),
        vendor_id: attribute("idVendor")?,
        product_id: attribute("idProduct")?,
        serial: attribute("serial"),
    })
}

fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
