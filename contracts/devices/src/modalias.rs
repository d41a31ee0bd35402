//! What is known of one device, as a modalias, and whether a driver's alias could mean it.

use std::fmt;

use crate::pattern;

/// A device's modalias. On PCI an unknown part is written as `*`: a listing may show vendor and device only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(String);

/// The numbers of a PCI function, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pci {
    pub vendor: u16,
    pub device: u16,
    /// Vendor and device of the board.
    pub subsystem: Option<(u16, u16)>,
    /// Base class and subclass.
    pub class: Option<u16>,
    pub interface: Option<u8>,
}

/// The parts of a PCI modalias, in their order, and how many hexadecimal digits each has.
const PCI: [(&str, usize); 7] = [("v", 8), ("d", 8), ("sv", 8), ("sd", 8), ("bc", 2), ("sc", 2), ("i", 2)];
/// No bus has longer modaliases. DMI's come close.
const LONGEST: usize = 512;

impl Pci {
    /// `class` has base class, subclass and interface in its lower 24 bits.
    #[must_use]
    pub fn new(vendor: u16, device: u16, class: Option<u32>) -> Self {
        let [_, base, sub, interface] = class.unwrap_or_default().to_be_bytes();
        let known = |_| (u16::from_be_bytes([base, sub]), interface);
        let (class, interface) = class.map(known).unzip();
        Self { vendor, device, subsystem: None, class, interface }
    }
}

impl From<Pci> for Device {
    fn from(pci: Pci) -> Self {
        let (sub_vendor, sub_device) = pci.subsystem.unzip();
        let [base, sub] = pci.class.map(u16::to_be_bytes).map_or([None; 2], |class| class.map(Some));
        let numbers = [
            Some(pci.vendor),
            Some(pci.device),
            sub_vendor,
            sub_device,
            base.map(u16::from),
            sub.map(u16::from),
            pci.interface.map(u16::from),
        ];
        let part = |((key, digits), number): ((&str, usize), Option<u16>)| match number {
            Some(number) => format!("{key}{number:0digits$X}"),
            None => format!("{key}*"),
        };
        Self(format!("pci:{}", PCI.into_iter().zip(numbers).map(part).collect::<String>()))
    }
}

impl Device {
    /// A modalias as sysfs has it; `None` if it cannot be one.
    #[must_use]
    pub fn of_modalias(text: &str) -> Option<Self> {
        let (bus, rest) = text.split_once(':')?;
        let bus_like = !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let plain = !rest.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        let whole = bus != "pci"
            || parts(text).is_some_and(|parts| parts.iter().zip(PCI).all(|(part, (_, digits))| is_known(part, digits)));
        (bus_like && plain && whole).then(|| Self(text.to_owned()))
    }

    /// By the numbers of PCI; `class` has base class, subclass and interface in its lower 24 bits.
    #[must_use]
    pub fn pci(vendor: u16, device: u16, class: Option<u32>) -> Self {
        Pci::new(vendor, device, class).into()
    }

    /// Whether the driver's alias means this device, or may mean it because a part is unknown.
    #[must_use]
    pub fn may_match(&self, alias: &str) -> bool {
        let glob = |alias: &str, text: &str| pattern::matches(alias.as_bytes(), text.as_bytes());
        if !self.0.starts_with("pci:") {
            return glob(alias, &self.0);
        }
        let (Some(known), true) = (parts(&self.0), alias.starts_with("pci:")) else { return glob(alias, &self.0) };
        match parts(alias) {
            Some(asked) => known.iter().zip(asked).all(|(known, asked)| *known == "*" || glob(asked, known)),
            None => glob(alias, &self.0),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn is_known(part: &str, digits: usize) -> bool {
    part == "*" || (part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')))
}

/// The parts of a PCI modalias or pattern. Numbers are in capitals and keys are not: a part ends where the next key begins.
fn parts(text: &str) -> Option<[&str; 7]> {
    let mut rest = text.strip_prefix("pci:")?;
    let mut parts = [""; 7];
    for (part, (key, _)) in parts.iter_mut().zip(PCI) {
        let after = rest.strip_prefix(key)?;
        let end = after.find(|c: char| c.is_ascii_lowercase()).unwrap_or(after.len());
        (*part, rest) = after.split_at_checked(end)?;
    }
    rest.is_empty().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: &str = "pci:v00008086d000010D3sv*sd*bc*sc*i*";
    const DELL: &str = "pci:v00001000d00000411sv00001028sd00001001bc*sc*i*";
    const NVME: &str = "pci:v*d*sv*sd*bc01sc08i02*";
    const EXACT: &str = "pci:v00001000d00000411sv00001028sd00001002bc01sc04i00";

    #[test]
    fn an_alias_matches_unless_what_is_known_speaks_against_it() {
        for (case, device, alias, expected) in [
            ("vendor and device", Device::pci(0x8086, 0x10d3, Some(0x02_00_00)), NIC, true),
            ("another device", Device::pci(0x8086, 0x10d4, Some(0x02_00_00)), NIC, false),
            ("another vendor", Device::pci(0x8087, 0x10d3, None), NIC, false),
            ("a class that fits", Device::pci(0x1b36, 0x0010, Some(0x01_08_02)), NVME, true),
            ("another class", Device::pci(0x1b36, 0x0010, Some(0x01_06_01)), NVME, false),
            ("another interface of the class", Device::pci(0x1b36, 0x0010, Some(0x01_08_01)), NVME, false),
            ("an unknown class may be this one", Device::pci(0x1b36, 0x0010, None), NVME, true),
            ("an unknown subsystem may be this one", Device::pci(0x1000, 0x0411, Some(0x01_04_00)), DELL, true),
            ("a known subsystem is another one", Device::of_modalias(EXACT).unwrap(), DELL, false),
            ("another bus", Device::pci(0x8086, 0x10d3, None), "usb:v8086p10D3d*", false),
            ("no modalias of PCI at all", Device::pci(0x8086, 0x10d3, None), "pci:nonsense", false),
            ("a pattern of one star", Device::pci(0x8086, 0x10d3, None), "*", true),
            ("USB by its text", Device::of_modalias("usb:v0BDAp8153d3000dc00").unwrap(), "usb:v0BDAp815[2-6]d*", true),
            ("USB by its text", Device::of_modalias("usb:v0BDAp8157d3000dc00").unwrap(), "usb:v0BDAp815[2-6]d*", false),
        ] {
            assert_eq!(device.may_match(alias), expected, "{case}: {device} {alias}");
        }
    }

    #[test]
    fn what_is_known_of_a_function_is_in_its_modalias() {
        let nic = Pci { vendor: 0x8086, device: 0x10d3, ..Pci::default() };
        for (pci, expected) in [
            (nic, NIC),
            (Pci { vendor: 0x1000, device: 0x0411, subsystem: Some((0x1028, 0x1001)), ..nic }, DELL),
            (Pci { class: Some(0x0200), ..nic }, "pci:v00008086d000010D3sv*sd*bc02sc00i*"),
            (Pci::new(0x1b36, 0x0010, Some(0x01_08_02)), "pci:v00001B36d00000010sv*sd*bc01sc08i02"),
        ] {
            assert_eq!(Device::from(pci).to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_a_modalias_is_refused() {
        for text in ["", "pci", "pci:", ":x", "pci:v8086", "pci:v0000808Gd*sv*sd*bc*sc*i*", "a b:c", "usb:a\nb", "p\u{e9}:x"] {
            assert_eq!(Device::of_modalias(text), None, "{text:?}");
        }
        assert_eq!(Device::of_modalias(&format!("acpi:{}", "A".repeat(600))), None);
        for device in [Device::pci(1, 2, None), Device::pci(0xffff, 0xffff, Some(0xff_ffff))] {
            assert_eq!(Device::of_modalias(&device.to_string()), Some(device));
        }
    }
}
