//! One machine's devices, as `lspci` or its `modalias` files list them, and the drivers they ask for.

use devices::catalogue::Catalogue;
use devices::modalias::{Device, Pci};
use devices::module::ModuleName;
use std::collections::BTreeSet;

/// What is known of a machine's devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    devices: Vec<Device>,
    /// Modules that the listing names. `lspci -k` on a running system is the best source.
    modules: Vec<String>,
}

/// The part of a listing that has been read. The lines about one PCI function follow each other.
#[derive(Default)]
struct Reader {
    pci: Vec<Pci>,
    modaliases: Vec<Device>,
    modules: Vec<String>,
}

/// A class that no device has. So a driver for a whole class does not match a device of unknown class.
const NO_CLASS: u16 = 0xffff;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "it names no device; give the output of `lspci -nn`, `lspci -nnk` or `lspci -vmmn`, \
     or of `cat /sys/bus/*/devices/*/modalias` on that machine"
)]
pub struct NoDevice;

impl Listing {
    /// Takes any of the listings, line by line. Lines without a device are passed over.
    pub fn parse(text: &str) -> Result<Self, NoDevice> {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.line(line.trim_end());
        }
        let Reader { pci, modaliases, modules } = reader;
        let class = |pci: &Pci| Some(pci.class.unwrap_or(NO_CLASS));
        let behind = pci.iter().filter_map(behind);
        let functions = pci.iter().map(|pci| Pci { class: class(pci), ..*pci }.into());
        let devices: Vec<Device> = functions.chain(behind).chain(modaliases).collect();
        if devices.is_empty() { Err(NoDevice) } else { Ok(Self { devices, modules }) }
    }

    /// The modules that these devices ask for, without what those need.
    pub fn drivers(&self, catalogue: &Catalogue<'_>) -> BTreeSet<ModuleName> {
        let named = self.modules.iter().map(|name| ModuleName::new(name)).filter(|name| catalogue.has(name.as_str()));
        let asked = |alias: &str| self.devices.iter().any(|device| device.may_match(alias));
        named.chain(catalogue.aliases().filter(|(alias, _)| asked(alias)).map(|(_, module)| module)).collect()
    }
}

impl Reader {
    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        if let Some((key, value)) = text.split_once(':') {
            match (key, value.trim()) {
                ("Slot", _) => return self.pci.push(Pci::default()),
                ("Kernel modules" | "Kernel driver in use" | "Module" | "Driver", names) => {
                    return self.modules.extend(names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned));
                }
                ("Subsystem", name) => return self.last(|device| device.subsystem = bracketed(name)),
                ("Vendor", id) => return self.field(id, |device, id| device.vendor = id),
                ("Device", id) => return self.field(id, |device, id| device.device = id),
                ("Class", id) => return self.field(id, |device, id| device.class = Some(id)),
                ("SVendor", id) => return self.field(id, |device, id| device.subsystem = Some((id, 0))),
                ("SDevice", id) => {
                    return self.field(id, |device, id| device.subsystem = device.subsystem.map(|(vendor, _)| (vendor, id)));
                }
                _ => {}
            }
        }
        if line.starts_with(char::is_whitespace) {
            return; // `-k` and `-v` put details below a device
        }
        if let Some(device) = function(line) {
            self.pci.push(device);
        } else if line.starts_with(|first: char| first.is_ascii_lowercase()) {
            self.modaliases.extend(Device::of_modalias(line));
        }
    }

    fn last(&mut self, set: impl FnOnce(&mut Pci)) {
        if let Some(device) = self.pci.last_mut() {
            set(device);
        }
    }

    /// `-vmmn` writes `8086`, `-vmmnn` writes `Intel Corporation [8086]`.
    fn field(&mut self, text: &str, set: impl FnOnce(&mut Pci, u16)) {
        let id = text.rsplit_once('[').map_or(text, |(_, id)| id.trim_end_matches(']'));
        if let Ok(id) = u16::from_str_radix(id, 16) {
            self.last(|device| set(device, id));
        }
    }
}

/// `[domain:]00:1f.2 Ethernet controller [0200]: Intel ... [8086:10d3] (rev 02)`, or the numbers alone (`-n`).
fn function(line: &str) -> Option<Pci> {
    let (slot, rest) = line.split_once(' ')?;
    let (_, function) = slot.rsplit_once('.')?;
    if !slot.contains(':') || function.len() != 1 {
        return None;
    }
    if let Some((class, ids)) = rest.split_once(": ")
        && let Some((vendor, device)) = ids.split_whitespace().next().and_then(pair)
    {
        return Some(Pci { vendor, device, class: u16::from_str_radix(class, 16).ok(), ..Pci::default() });
    }
    let (vendor, device) = bracketed(rest)?;
    let class = rest.split(['[', ']']).find_map(id);
    Some(Pci { vendor, device, class, ..Pci::default() })
}

/// The device that appears on another bus once this one has its driver.
fn behind(pci: &Pci) -> Option<Device> {
    const VIRTIO: u16 = 0x1af4;
    const SD_HOST: u16 = 0x0805;
    let kind = match pci.device {
        0x1000 => 1, // the numbers before virtio 1.0
        0x1001 => 2,
        0x1003 => 3,
        0x1004 => 8,
        0x1005 => 4,
        modern @ 0x1040..=0x107f => modern - 0x1040,
        _ => 0,
    };
    if pci.vendor == VIRTIO && kind != 0 {
        return Device::of_modalias(&format!("virtio:d{kind:08X}v{VIRTIO:08X}"));
    }
    (pci.class == Some(SD_HOST)).then(|| Device::of_modalias("mmc:block")).flatten()
}

/// The last `[xxxx:xxxx]` of a line.
fn bracketed(text: &str) -> Option<(u16, u16)> {
    text.split(['[', ']']).rev().find_map(pair)
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let (vendor, device) = text.split_once(':')?;
    Some((id(vendor)?, id(device)?))
}

fn id(text: &str) -> Option<u16> {
    if text.len() == 4 { u16::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modinfo::ModInfo;
    use crate::modules::ModuleFiles;
    use proptest::prelude::*;

    fn files() -> ModuleFiles {
        let files = [
            ("e1000e", "alias=pci:v00008086d000010D3sv*sd*bc*sc*i*"),
            ("igb", "alias=pci:v00008086d00001521sv*sd*bc*sc*i*"),
            ("ahci", "alias=pci:v*d*sv*sd*bc01sc06i01*"),
            ("dell_raid", "alias=pci:v00001000d00000411sv00001028sd00001001bc*sc*i*"),
            ("virtio_pci", "alias=pci:v00001AF4d*sv*sd*bc*sc*i*"),
            ("virtio_net", "alias=virtio:d00000001v*"),
            ("r8152", "alias=usb:v0BDAp8153d*dc*dsc*dp*ic*isc*ip*in*"),
        ];
        ModuleFiles::new(files.map(|(path, info)| (format!("kernel/{path}.ko"), ModInfo::of_text(info))), String::new())
    }

    #[test]
    fn each_form_of_listing_gives_the_same_drivers() {
        for (case, text, expected) in [
            (
                "lspci -nn",
                "00:03.0 Ethernet controller [0200]: Intel Corporation 82574L [8086:10d3] (rev 02)\n\
                 00:1f.2 SATA controller [0106]: Intel Corporation AHCI [8086:2922]\n",
                &["ahci", "e1000e"][..],
            ),
            (
                "lspci -nnk",
                "0000:00:03.0 Ethernet controller [0200]: Red Hat Virtio [1af4:1041]\n\tSubsystem: Red Hat [1af4:1100]\n\
                 \tKernel driver in use: igb\n",
                &["igb", "virtio_net", "virtio_pci"],
            ),
            (
                "lspci -vmmn",
                "Slot:\t00:03.0\nClass:\t0104\nVendor:\t1000\nDevice:\t0411\nSVendor:\t1028\nSDevice:\t1001\n",
                &["dell_raid"],
            ),
            ("another subsystem", "Slot:\t0\nVendor:\t1000\nDevice:\t0411\nSVendor:\t15d9\nSDevice:\t1001\n", &[]),
            ("an unknown class", "Slot:\t0\nVendor:\t1234\nDevice:\t5678\n", &[]),
            ("an unknown subsystem", "00:03.0 RAID bus controller [0104]: LSI [1000:0411]\n", &["dell_raid"]),
            ("lspci -n", "00:03.0 0200: 8086:10d3 (rev 02)\n", &["e1000e"]),
            (
                "modalias files",
                "usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00\npci:v00008086d00001521sv00008086sd00000001bc02sc00i00\n",
                &["igb", "r8152"],
            ),
        ] {
            let drivers = Listing::parse(text).unwrap().drivers(&files().catalogue());
            assert_eq!(drivers.iter().map(ModuleName::as_str).collect::<Vec<_>>(), expected, "{case}");
        }
    }

    #[test]
    fn a_listing_without_numbers_is_refused_with_the_right_command() {
        let error = Listing::parse("00:03.0 Ethernet controller: Intel Corporation 82574L\n").unwrap_err();
        assert!(error.to_string().contains("lspci -nn"));
    }

    proptest! {
        #[test]
        fn any_text_parses(text in "[ -~\\n\\t]{0,200}") {
            if let Ok(machine) = Listing::parse(&text) {
                machine.drivers(&files().catalogue());
            }
        }
    }
}
