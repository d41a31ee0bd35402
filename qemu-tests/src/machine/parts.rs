//! The parts of a machine: firmware, network cards and disks, by QEMU's models.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::output;

/// What disks have unless they have another.
pub const SECTOR: u32 = 512;

#[derive(Debug, Clone)]
pub enum Boot {
    /// SeaBIOS with the network card's iPXE.
    Bios,
    /// OVMF with its PXE client. The network card's ROM is left out.
    Uefi,
    /// Kernel and ramdisk from QEMU's command line. The firmware only starts them.
    Direct { firmware: Firmware, kernel: PathBuf, initrd: PathBuf, arguments: String },
    /// The machine's disks, without a boot from the network.
    Disks { firmware: Firmware },
    /// A medium in the machine's drive.
    Medium { firmware: Firmware, medium: Medium },
}

#[derive(Debug, Clone)]
pub enum Medium {
    Cd(PathBuf),
    /// A whole image, as on a USB stick.
    Stick(PathBuf),
    /// A folder as the files of a FAT disk.
    Folder(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    SeaBios,
    Ovmf,
    /// Secure Boot is on, and the only trusted key is Debian's test key.
    OvmfSecure,
}

impl Firmware {
    pub const ALL: [Self; 2] = [Self::SeaBios, Self::Ovmf];

    pub fn name(self) -> &'static str {
        match self {
            Self::SeaBios => "SeaBIOS",
            Self::Ovmf => "OVMF",
            Self::OvmfSecure => "OVMF with Secure Boot",
        }
    }
}

impl Boot {
    pub fn firmware(&self) -> Firmware {
        match self {
            Self::Bios => Firmware::SeaBios,
            Self::Uefi => Firmware::Ovmf,
            Self::Direct { firmware, .. } | Self::Disks { firmware } | Self::Medium { firmware, .. } => *firmware,
        }
    }

    /// Adds kernel arguments after those from boots.
    pub fn with_arguments(mut self, more: &str) -> Self {
        if let Self::Direct { arguments, .. } = &mut self
            && !more.is_empty()
        {
            *arguments = format!("{arguments} {more}");
        }
        self
    }
}

/// The other end of a network card's cable.
#[derive(Debug, Clone)]
pub enum Network {
    /// A tap of the segment.
    Tap(String),
    /// QEMU's user network, in which 10.0.2.2 is the host.
    User,
    /// A network in which only the DHCP server answers.
    Nowhere,
    /// A socket on which the other end, another machine, listens.
    Plug(PathBuf),
    /// The listening end.
    Socket(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicModel {
    Virtio,
    E1000,
    E1000e,
    Igb,
    Rtl8139,
    Vmxnet3,
    UsbNet,
}

impl NicModel {
    pub const ALL: [Self; 7] = [Self::Virtio, Self::E1000, Self::E1000e, Self::Igb, Self::Rtl8139, Self::Vmxnet3, Self::UsbNet];

    /// QEMU's name of the model.
    pub fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::Igb => "igb",
            Self::Rtl8139 => "rtl8139",
            Self::Vmxnet3 => "vmxnet3",
            Self::UsbNet => "usb-net",
        }
    }

    /// The models that this QEMU has.
    pub fn available() -> Result<Vec<Self>> {
        let listing = output(Command::new("qemu-system-x86_64").args(["-device", "help"]))?;
        let known = |model: &Self| listing.contains(&format!("name \"{}\"", model.device()));
        let found: Vec<Self> = Self::ALL.into_iter().filter(known).collect();
        if found.is_empty() {
            bail!("this QEMU lists no network card: {listing}");
        }
        Ok(found)
    }

    /// Whether it is a card of clouds, for which Debian's cloud kernel has drivers.
    pub fn is_cloud(self) -> bool {
        matches!(self, Self::Virtio)
    }

    pub fn is_usb(self) -> bool {
        self == Self::UsbNet
    }

    /// Whether QEMU has an iPXE ROM for the card.
    pub fn boots(self) -> bool {
        !self.is_usb() && self != Self::Igb
    }
}

#[derive(Debug, Clone)]
pub struct Nic {
    pub model: NicModel,
    pub mac: String,
    pub network: Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskModel {
    VirtioBlk,
    VirtioScsi,
    Ahci,
    Nvme,
    UsbStorage,
    /// On an old IDE controller, whose module the ramdisks for clouds lack.
    Piix,
}

impl DiskModel {
    /// Those that the ramdisks for real machines support.
    pub const ALL: [Self; 5] = [Self::VirtioBlk, Self::VirtioScsi, Self::Ahci, Self::Nvme, Self::UsbStorage];

    pub fn name(self) -> &'static str {
        match self {
            Self::VirtioBlk => "virtio-blk",
            Self::VirtioScsi => "virtio-scsi",
            Self::Ahci => "AHCI",
            Self::Nvme => "NVMe",
            Self::UsbStorage => "usb-storage",
            Self::Piix => "PIIX3",
        }
    }

    pub fn is_cloud(self) -> bool {
        matches!(self, Self::VirtioBlk | Self::VirtioScsi | Self::Nvme)
    }

    /// The name that udev's rules give to such a disk of QEMU below `/dev/disk/by-id`.
    pub fn by_id(self, serial: &str) -> String {
        match self {
            Self::VirtioBlk => format!("virtio-{serial}"),
            Self::VirtioScsi => format!("scsi-0QEMU_QEMU_HARDDISK_{serial}"),
            Self::Ahci | Self::Piix => format!("ata-QEMU_HARDDISK_{serial}"),
            Self::Nvme => format!("nvme-QEMU_NVMe_Ctrl_{serial}"),
            Self::UsbStorage => format!("usb-QEMU_QEMU_HARDDISK_{serial}-0:0"),
        }
    }
}

/// What is between the machine and the disk's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Between {
    Nothing,
    /// Writes of this sector of 512 bytes fail.
    BrokenSector(u64),
    /// Every write and flush is also kept in this file, in the format of dm-log-writes.
    WriteLog(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Disk {
    pub model: DiskModel,
    pub file: PathBuf,
    pub serial: String,
    /// The size of its sectors in bytes.
    pub sector: u32,
    pub between: Between,
}

impl Disk {
    pub fn new(model: DiskModel, file: PathBuf, serial: &str) -> Self {
        Self { model, file, serial: serial.to_owned(), sector: SECTOR, between: Between::Nothing }
    }

    pub fn virtio(file: &Path) -> Self {
        Self::new(DiskModel::VirtioBlk, file.to_owned(), "THIMBLE1")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Host,
    /// One nanosecond per instruction, so the times are the same on any machine, however busy.
    Instructions,
}

/// The parts of the machine.
#[derive(Debug, Clone)]
pub struct Parts {
    pub memory_mib: u32,
    pub processors: u8,
    /// The firmware boots from the first one.
    pub nics: Vec<Nic>,
    pub disks: Vec<Disk>,
    pub boot: Boot,
    pub clock: Clock,
    /// Empty slots for devices that are plugged in later.
    pub slots: u8,
    /// The real-time clock at power-on, if it differs from the host's. A flat battery means 1970.
    pub rtc: Option<&'static str>,
    /// A CD in a USB drive, like a BMC's virtual media. The firmware does not boot from it.
    pub cd: Option<PathBuf>,
    /// The socket of a TPM emulator.
    pub tpm: Option<PathBuf>,
    /// The first serial port, before the one that the lab reads: a pipe that takes no characters.
    pub dead_serial: Option<PathBuf>,
    /// UUID and serial number, as the firmware reports them.
    pub identity: Option<(&'static str, &'static str)>,
    /// Properties of the machine's built-in devices.
    pub globals: Vec<&'static str>,
    /// Further devices in QEMU's syntax.
    pub devices: Vec<&'static str>,
    /// Settings of OVMF, such as `IPv4PXESupport,string=no`.
    pub ovmf: Vec<&'static str>,
}

impl Parts {
    pub fn new(boot: Boot, memory_mib: u32, nics: Vec<Nic>) -> Self {
        Self {
            memory_mib,
            processors: 1,
            nics,
            disks: Vec::new(),
            boot,
            clock: Clock::Host,
            slots: 0,
            rtc: None,
            cd: None,
            tpm: None,
            dead_serial: None,
            identity: None,
            globals: Vec::new(),
            devices: Vec::new(),
            ovmf: Vec::new(),
        }
    }
}
