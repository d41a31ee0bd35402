//! Where a disk is attached, in the words of udev's path_id: `pci-0000:00:1f.2-ata-1`.

/// One device on the way from the root of sysfs to the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The last part of its path: `0000:00:1f.2`.
    pub name: String,
    /// The subsystem, such as `pci`. Empty for a folder that is not a device.
    pub subsystem: String,
    /// What distinguishes devices of this kind: see [`Attribute`].
    pub attribute: Option<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `host5`: the lowest number of a host on the same parent. Numbers of hosts grow over time, and their places stay.
    FirstHost(u32),
    /// `ata3`: the number of the port at its controller.
    AtaPort(String),
    /// NVMe namespace.
    Namespace(String),
    /// `rport-0:0-1`: the port's name, `0x...`.
    FibreChannel(String),
    /// `end_device-0:0`: its place in the fabric.
    Sas(SasPlace),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SasPlace {
    /// The address of a port that has several phys.
    Wide {
        address: String,
    },
    Phy {
        phy: String,
    },
    Expander {
        expander: String,
        phy: String,
    },
}

/// The disk's path, and the older form for ATA. None if no device above it has a lasting place.
pub fn paths(steps: &[Step]) -> Vec<String> {
    let mut builder = Builder::default();
    let mut rest = steps;
    while let Some((step, above)) = rest.split_last() {
        rest = builder.take(step, above);
    }
    if !(builder.has_parent && builder.has_transport) {
        return Vec::new();
    }
    let join = |parts: &[String]| parts.iter().rev().map(String::as_str).collect::<Vec<_>>().join("-");
    let path = join(&builder.parts);
    let compatible = builder.compatible.map(|part| {
        let mut parts = builder.parts.clone();
        if let Some(place) = parts.iter_mut().find(|other| other.starts_with("ata-")) {
            *place = part;
        }
        join(&parts)
    });
    std::iter::once(path).chain(compatible).collect()
}

#[derive(Default)]
struct Builder {
    /// From the disk upwards.
    parts: Vec<String>,
    compatible: Option<String>,
    has_parent: bool,
    has_transport: bool,
}

impl Builder {
    /// Returns the steps that come next.
    fn take<'a>(&mut self, step: &Step, above: &'a [Step]) -> &'a [Step] {
        match (step.subsystem.as_str(), &step.attribute) {
            ("scsi", _) if let Some(address) = Address::parse(&step.name) => return self.scsi(&address, above),
            ("block", Some(Attribute::Namespace(nsid))) => {
                self.part(format!("nvme-{nsid}"));
                self.has_transport = true;
                return above;
            }
            ("usb", _) => {
                if let Some((_, port)) = step.name.split_once('-') {
                    self.part(format!("usb-0:{port}"));
                    self.has_transport = true;
                }
                return skip(above, "usb");
            }
            ("pci", _) => {
                self.part(format!("pci-{}", step.name));
                self.has_parent = true;
                return skip(above, "pci");
            }
            ("virtio", _) => {
                self.has_transport = true;
                return skip(above, "virtio");
            }
            ("platform", _) => {
                self.part(format!("platform-{}", step.name));
                (self.has_parent, self.has_transport) = (true, true);
                return skip(above, "platform");
            }
            ("acpi" | "xen", _) => {
                self.part(format!("{}-{}", step.subsystem, step.name));
                self.has_parent = true;
            }
            _ => {}
        }
        above
    }

    fn part(&mut self, part: String) {
        self.parts.push(part);
    }

    fn scsi<'a>(&mut self, address: &Address, above: &'a [Step]) -> &'a [Step] {
        self.has_transport = true;
        let found = |wanted: fn(&Attribute) -> bool| {
            above.iter().rev().filter_map(|step| step.attribute.as_ref()).find(|one| wanted(one))
        };
        let lun = address.lun_name();
        if let Some(Attribute::FibreChannel(port)) = found(|one| matches!(one, Attribute::FibreChannel(_))) {
            self.part(format!("fc-{port}-{lun}"));
        } else if let Some(Attribute::Sas(place)) = found(|one| matches!(one, Attribute::Sas(_))) {
            self.part(match place {
                SasPlace::Wide { address } => format!("sas-{address}-{lun}"),
                SasPlace::Phy { phy } => format!("sas-phy{phy}-{lun}"),
                SasPlace::Expander { expander, phy } => format!("sas-exp{expander}-phy{phy}-{lun}"),
            });
        } else if let Some(Attribute::AtaPort(port)) = found(|one| matches!(one, Attribute::AtaPort(_))) {
            let behind = if address.bus == 0 { format!("{}", address.target) } else { format!("{}.0", address.bus) };
            self.part(format!("ata-{port}.{behind}"));
            self.compatible = Some(format!("ata-{port}"));
        } else {
            let first = match found(|one| matches!(one, Attribute::FirstHost(_))) {
                Some(Attribute::FirstHost(first)) => *first,
                _ => address.host,
            };
            let host = address.host.saturating_sub(first);
            self.part(format!("scsi-{host}:{}:{}:{}", address.bus, address.target, address.lun));
        }
        let host = above.iter().rposition(|step| step.name.starts_with("host") && step.subsystem == "scsi");
        above.get(..host.unwrap_or(above.len())).unwrap_or_default()
    }
}

/// Bridges and hubs above a device of the same bus do not appear in the path.
fn skip<'a>(above: &'a [Step], subsystem: &str) -> &'a [Step] {
    let length = above.iter().rposition(|step| step.subsystem != subsystem).map_or(0, |last| last + 1);
    above.get(..length).unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
pub struct Address {
    host: u32,
    bus: u32,
    pub target: u32,
    pub lun: u64,
}

impl Address {
    /// `0:0:3:2`
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(':');
        let mut number = || parts.next()?.parse().ok();
        let (host, bus, target) = (number()?, number()?, number()?);
        let lun = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { host, bus, target, lun })
    }

    fn lun_name(&self) -> String {
        match self.lun {
            lun @ 0..256 => format!("lun-{lun}"),
            lun => format!("lun-0x{:04x}{:04x}00000000", lun & 0xffff, lun >> 16 & 0xffff),
        }
    }
}
