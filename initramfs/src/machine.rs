//! One machine's devices, from what `lspci` or its `modalias` files say, and the drivers they ask for.

use crate::alias;
use crate::modinfo::ModuleName;
use crate::modules::Catalogue;
use std::collections::BTreeSet;

/// What is known of a machine's devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub pci: Vec<PciDevice>,
    pub modaliases: Vec<String>,
    /// Modules that the listing names: `lspci -k` on a running system knows best.
    pub modules: Vec<String>,
}

/// A PCI function; what the listing left out matches everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PciDevice {
    pub vendor: u32,
    pub device: u32,
    pub subsystem: Option<(u32, u32)>,
    /// Base class and subclass.
    pub class: Option<u32>,
}

const NO_CLASS: u32 = u32::MAX;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "no device is named in it; wanted the output of `lspci -nn`, `lspci -nnk` or `lspci -vmmn`, \
     or of `cat /sys/bus/*/devices/*/modalias` on that machine"
)]
pub struct NoDevice;

impl Machine {
    /// Takes any of the listings, line by line: what is no device is passed over.
    pub fn parse(text: &str) -> Result<Self, NoDevice> {
        let mut machine = Self::default();
        for line in text.lines() {
            machine.line(line.trim_end());
        }
        let empty = machine.pci.is_empty() && machine.modaliases.is_empty();
        if empty { Err(NoDevice) } else { Ok(machine) }
    }

    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        if let Some((key, value)) = text.split_once(':') {
            match (key, value.trim()) {
                ("Slot", _) => return self.pci.push(PciDevice::default()),
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
        if let Some(device) = PciDevice::of_line(line) {
            self.pci.push(device);
        } else if is_modalias(line) {
            self.modaliases.push(line.to_owned());
        }
    }

    fn last(&mut self, set: impl FnOnce(&mut PciDevice)) {
        if let Some(device) = self.pci.last_mut() {
            set(device);
        }
    }

    /// `-vmmn` writes `8086`, `-vmmnn` writes `Intel Corporation [8086]`.
    fn field(&mut self, text: &str, set: impl FnOnce(&mut PciDevice, u32)) {
        let id = text.rsplit_once('[').map_or(text, |(_, id)| id.trim_end_matches(']'));
        if let Ok(id) = u32::from_str_radix(id, 16) {
            self.last(|device| set(device, id));
        }
    }

    /// The modules of `catalogue` that these devices ask for, without what those need.
    pub fn drivers(&self, catalogue: &Catalogue) -> Vec<ModuleName> {
        let named: BTreeSet<ModuleName> = self.modules.iter().map(|name| ModuleName::new(name)).collect();
        let behind: Vec<String> = self.pci.iter().filter_map(PciDevice::behind).collect();
        let asked = |pattern: &String| {
            self.pci.iter().any(|device| device.matches(pattern))
                || self.modaliases.iter().chain(&behind).any(|text| alias::matches(pattern, text))
        };
        let wanted = catalogue.iter().filter(|(name, _, info)| named.contains(name) || info.aliases.iter().any(asked));
        wanted.map(|(name, _, _)| name.clone()).collect()
    }
}

/// `pci:v0000...`: a bus, and no blank in it.
fn is_modalias(line: &str) -> bool {
    let bus = line.split_once(':').map_or("", |(bus, _)| bus);
    !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !line.contains(char::is_whitespace)
}

impl PciDevice {
    /// `[domain:]00:1f.2 Ethernet controller [0200]: Intel ... [8086:10d3] (rev 02)`, or the numbers alone (`-n`).
    fn of_line(line: &str) -> Option<Self> {
        let (slot, rest) = line.split_once(' ')?;
        let (_, function) = slot.rsplit_once('.')?;
        if !slot.contains(':') || function.len() != 1 {
            return None;
        }
        if let Some((class, ids)) = rest.split_once(": ")
            && let Some((vendor, device)) = ids.split_whitespace().next().and_then(pair)
        {
            return Some(Self { vendor, device, subsystem: None, class: u32::from_str_radix(class, 16).ok() });
        }
        let (vendor, device) = bracketed(rest)?;
        let class = rest.split(['[', ']']).find_map(|part| (part.len() == 4).then(|| u32::from_str_radix(part, 16).ok())?);
        Some(Self { vendor, device, subsystem: None, class })
    }

    /// Does a driver's `pci:v...d...sv...sd...bc...sc...i...` take this device?
    fn matches(&self, pattern: &str) -> bool {
        let Some(mut rest) = pattern.strip_prefix("pci:") else { return false };
        let subsystem = self.subsystem;
        let fields = [
            ("v", Some(self.vendor)),
            ("d", Some(self.device)),
            ("sv", subsystem.map(|(vendor, _)| vendor)),
            ("sd", subsystem.map(|(_, device)| device)),
            // A driver for a whole class is not for a device of unknown class.
            ("bc", Some(self.class.map_or(NO_CLASS, |class| class >> 8))),
            ("sc", Some(self.class.map_or(NO_CLASS, |class| class & 0xff))),
        ];
        for (key, is) in fields {
            let Some(after) = rest.strip_prefix(key) else { return false };
            let end = after.find(|c: char| !(c == '*' || c.is_ascii_digit() || matches!(c, 'A'..='F'))).unwrap_or(after.len());
            let (value, next) = after.split_at(end);
            if value != "*" && is.is_some_and(|is| u32::from_str_radix(value, 16) != Ok(is)) {
                return false;
            }
            rest = next;
        }
        true
    }

    /// The device that appears on another bus once this one has its driver.
    fn behind(&self) -> Option<String> {
        const VIRTIO: u32 = 0x1af4;
        const SD_HOST: u32 = 0x0805;
        let kind = match self.device {
            0x1000 => 1, // the numbers before virtio 1.0
            0x1001 => 2,
            0x1003 => 3,
            0x1004 => 8,
            0x1005 => 4,
            modern @ 0x1040..=0x107f => modern - 0x1040,
            _ => 0,
        };
        if self.vendor == VIRTIO && kind != 0 {
            return Some(format!("virtio:d{kind:08X}v{VIRTIO:08X}"));
        }
        (self.class == Some(SD_HOST)).then(|| "mmc:block".to_owned())
    }
}

/// The last `[xxxx:xxxx]` of a line.
fn bracketed(text: &str) -> Option<(u32, u32)> {
    text.split(['[', ']']).rev().find_map(pair)
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (vendor, device) = text.split_once(':')?;
    let id = |text: &str| (text.len() == 4).then(|| u32::from_str_radix(text, 16).ok()).flatten();
    Some((id(vendor)?, id(device)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modinfo::ModInfo;
    use proptest::prelude::*;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (path, info) in [
            ("e1000e", "alias=pci:v00008086d000010D3sv*sd*bc*sc*i*"),
            ("igb", "alias=pci:v00008086d00001521sv*sd*bc*sc*i*"),
            ("ahci", "alias=pci:v*d*sv*sd*bc01sc06i01*"),
            ("dell_raid", "alias=pci:v00001000d00000411sv00001028sd00001001bc*sc*i*"),
            ("virtio_pci", "alias=pci:v00001AF4d*sv*sd*bc*sc*i*"),
            ("virtio_net", "alias=virtio:d00000001v*"),
            ("r8152", "alias=usb:v0BDAp8153d*dc*dsc*dp*ic*isc*ip*in*"),
        ] {
            catalogue.add(&format!("kernel/{path}.ko"), ModInfo::parse(info.as_bytes()));
        }
        catalogue
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
            ("an unknown subsystem", "00:03.0 RAID bus controller [0104]: LSI [1000:0411]\n", &["dell_raid"]),
            ("lspci -n", "00:03.0 0200: 8086:10d3 (rev 02)\n", &["e1000e"]),
            (
                "modalias files",
                "usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00\npci:v00008086d00001521sv00008086sd00000001bc02sc00i00\n",
                &["igb", "r8152"],
            ),
        ] {
            let drivers = Machine::parse(text).unwrap().drivers(&catalogue());
            assert_eq!(drivers.iter().map(ModuleName::as_str).collect::<Vec<_>>(), expected, "{case}");
        }
    }

    #[test]
    fn a_listing_without_numbers_is_refused_with_the_right_command() {
        let error = Machine::parse("00:03.0 Ethernet controller: Intel Corporation 82574L\n").unwrap_err();
        assert!(error.to_string().contains("lspci -nn"));
    }

    proptest! {
        #[test]
        fn any_text_parses(text in "[ -~\\n\\t]{0,200}") {
            if let Ok(machine) = Machine::parse(&text) {
                machine.drivers(&catalogue());
            }
        }
    }
}
