//! Which drivers go into the ramdisk. Rules go by a module's folder and by the buses of its aliases, so the new drivers
//! of a new kernel need no edit. Only modules that no device asks for are named.

use devices::catalogue::Catalogue;
use devices::module::ModuleName;
use std::collections::{BTreeMap, BTreeSet};

/// Drivers that belong together: a piece of the base ramdisk, or a pack of its own.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub about: &'static str,
    rules: &'static [Rule],
}

#[derive(Debug)]
enum Rule {
    /// Modules of these folders that serve a device of these buses.
    Bus(&'static [&'static str], &'static [&'static str]),
    /// Like `Bus`, and only modules that stand on one of these transports.
    Transport(&'static [&'static str], &'static [&'static str]),
    /// Everything in these folders.
    Folder(&'static [&'static str]),
    /// Modules with these names. If a kernel lacks one, it is built in or does not exist in this version.
    Named(&'static [&'static str]),
}

use Rule::{Bus, Folder, Named, Transport};

const fn family(name: &'static str, about: &'static str, rules: &'static [Rule]) -> Family {
    Family { name, about, rules }
}

/// A module belongs to the first family that takes it.
const FAMILIES: &[Family] = &[
    family(
        "core",
        "containers, VLAN, EFI partitions, compressed memory, the power button",
        &[
            Named(&["overlay", "loop", "zram", "lzo_rle", "8021q"]),
            Named(&["vfat", "nls_ascii", "nls_cp437", "nls_iso8859_1", "nls_utf8"]),
            Named(&["efivarfs", "efi_pstore", "button", "evdev", "sd_mod", "softdog", "wdat_wdt"]),
        ],
    ),
    family("bonding", "link aggregation", &[Named(&["bonding"])]),
    family(
        "virtio",
        "virtual machines: virtio",
        &[
            Bus(&["drivers/block", "drivers/scsi", "drivers/char/hw_random"], &["virtio"]),
            Named(&["virtio_pci", "virtio_net", "virtio_console"]),
        ],
    ),
    family("vmware", "virtual machines: VMware", &[Folder(&["drivers/net/vmxnet3"]), Named(&["vmw_pvscsi"])]),
    family(
        "hyperv",
        "virtual machines: Hyper-V and Azure",
        &[Bus(&["drivers/net/hyperv", "drivers/scsi", "drivers/hv", "drivers/pci"], &["vmbus"]), Named(&["mana"])],
    ),
    family("xen", "virtual machines: Xen", &[Bus(&["drivers/net", "drivers/block", "drivers/scsi"], &["xen"])]),
    family(
        "converged",
        "converged and programmable network cards",
        &[Bus(
            &[
                "drivers/net/ethernet/brocade",
                "drivers/net/ethernet/cavium",
                "drivers/net/ethernet/chelsio",
                "drivers/net/ethernet/netronome",
                "drivers/net/ethernet/qlogic",
                "drivers/net/ethernet/sfc",
            ],
            &["pci"],
        )],
    ),
    family(
        "ethernet",
        "network cards",
        &[
            Bus(&["drivers/net/ethernet", "drivers/net/fjes"], &["pci", "acpi", "auxiliary"]),
            Bus(&["drivers/net/phy"], &["mdio"]),
            Named(&["mlx4_en"]), // mlx4_core asks for it by name
        ],
    ),
    family("usb-net", "network adapters on USB", &[Bus(&["drivers/net/usb"], &["usb"])]),
    family(
        "infiniband",
        "RDMA and InfiniBand",
        &[Bus(&["drivers/infiniband/hw"], &["pci", "auxiliary"]), Named(&["ib_ipoib", "ib_umad", "ib_uverbs"])],
    ),
    family(
        "san",
        "Fibre Channel, FCoE and iSCSI adapters",
        &[Transport(&["drivers/scsi"], &["scsi_transport_fc", "scsi_transport_iscsi", "libfc", "libiscsi"])],
    ),
    family("fabrics", "disks over a network", &[Named(&["iscsi_tcp", "iscsi_ibft", "nvme_tcp", "nvme_rdma", "nvme_fc", "nbd"])]),
    family(
        "storage",
        "disk controllers: SATA, SAS, RAID, NVMe, eMMC, UFS",
        &[
            Bus(&["drivers/scsi", "drivers/message/fusion", "drivers/ata", "drivers/nvme/host"], &["pci"]),
            Bus(&["drivers/block", "drivers/pci/controller"], &["pci"]),
            Bus(&["drivers/mmc", "drivers/ufs", "drivers/misc/cardreader"], &["pci", "acpi", "mmc"]),
            Bus(&["drivers/pinctrl/intel"], &["acpi"]), // eMMC slots need them
            Named(&["sr_mod", "sg", "ext4", "isofs"]),
        ],
    ),
    family("usb", "USB hosts and disks", &[Bus(&["drivers/usb/host", "drivers/usb/storage"], &["pci", "usb"])]),
    family(
        "board",
        "watchdogs, TPM, IPMI",
        &[
            Bus(&["drivers/watchdog", "drivers/char/tpm"], &["pci", "acpi", "pnp"]),
            Named(&["iTCO_wdt", "lpc_ich", "i2c_i801", "ipmi_si", "ipmi_devintf", "ipmi_ssif"]),
        ],
    ),
    family(
        "raid",
        "software RAID and device mapper",
        &[
            Named(&["md_mod", "linear", "raid0", "raid1", "raid10", "raid456"]),
            Named(&["dm_mod", "dm_crypt", "dm_mirror", "dm_multipath", "dm_raid", "dm_snapshot", "dm_thin_pool"]),
            // dm_crypt asks the kernel for these by the names of its ciphers.
            Named(&["xts", "ecb", "cbc", "essiv", "algif_skcipher", "aesni_intel", "aes_ce_blk"]),
            Folder(&["drivers/scsi/device_handler"]),
        ],
    ),
    family(
        "filesystems",
        "file systems of installed systems and of media",
        &[Named(&["xfs", "btrfs", "f2fs", "exfat", "squashfs", "erofs", "udf"])],
    ),
];

/// A set of families for a kind of machine. The others can be packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Virtual machines, for a cloud kernel.
    #[default]
    Cloud,
    /// Real machines, for a standard kernel.
    Metal,
    /// Real machines that start from virtual media, which must be small. Only network cards have their drivers in it, and the
    /// machine fetches packs for the rest.
    Media,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Metal => "metal",
            Self::Media => "media",
        }
    }

    pub fn families(self) -> &'static [&'static str] {
        match self {
            Self::Cloud => &["core", "virtio", "vmware"],
            Self::Metal => &["core", "bonding", "virtio", "vmware", "ethernet", "usb-net", "storage", "usb", "board"],
            Self::Media => &["core", "bonding", "virtio", "vmware", "ethernet", "usb-net", "usb"],
        }
    }
}

/// Containers need it. Everything else may be built in or absent.
pub const REQUIRED: &[&str] = &["overlay"];
/// Loaded first and always, because no device asks for it.
pub const LOAD: &[&str] = &["overlay"];

pub fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter()
}

/// The modules of each family in this kernel, without what they need.
pub fn sorted(catalogue: &Catalogue<'_>) -> BTreeMap<&'static str, Vec<ModuleName>> {
    let mut buses: BTreeMap<ModuleName, BTreeSet<&str>> = BTreeMap::new();
    for (alias, module) in catalogue.aliases() {
        buses.entry(module).or_default().insert(alias.split_once(':').map_or(alias, |(bus, _)| bus));
    }
    let mut taken = BTreeSet::new();
    let mut sorted: BTreeMap<&'static str, Vec<ModuleName>> = BTreeMap::new();
    for family in FAMILIES {
        for rule in family.rules {
            for name in rule.modules(catalogue, &buses) {
                if taken.insert(name.clone()) {
                    sorted.entry(family.name).or_default().push(name);
                }
            }
        }
    }
    sorted
}

impl Rule {
    fn modules(&self, catalogue: &Catalogue<'_>, buses: &BTreeMap<ModuleName, BTreeSet<&str>>) -> Vec<ModuleName> {
        let below = |path: &str, folders: &[&str]| {
            let path = path.strip_prefix("kernel/").unwrap_or(path);
            // A folder, or the beginning of a file's name in one.
            folders.iter().any(|folder| path.starts_with(folder))
        };
        let on = |name: &ModuleName, wanted: &[&str]| {
            buses.get(name).is_some_and(|buses| wanted.iter().any(|bus| buses.contains(bus)))
        };
        let chosen = catalogue.modules().filter(|(name, path)| match self {
            Bus(folders, buses) => below(path, folders) && on(name, buses),
            Transport(folders, transports) => {
                let stands = || catalogue.needs(name).any(|needed| transports.contains(&needed.as_str()));
                below(path, folders) && on(name, &["pci"]) && stands()
            }
            Folder(folders) => below(path, folders),
            Named(names) => names.contains(&name.as_str()),
        });
        chosen.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests;
