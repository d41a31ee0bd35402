//! The table of firmware: one row each, with what it is known by and what it wants. Pure.
//!
//! Rules come first, because they see more than an architecture: a Raspberry Pi says that it is a PC. Then the first
//! architecture of option 93 that has a row counts. `tests/firmware_table.rs` has a packet for every row.

use dhcp::v4::{Packet, code};

use crate::ipxe::Arch;

/// Where the facts of a row come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Packets of this firmware.
    Captured,
    /// The named documents; its packet in the tests is constructed from them.
    Documented(&'static str),
}

/// What a firmware boots, and the form in which it reads that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// An address, not a boot.
    Address,
    /// The name of a program, which it loads by TFTP.
    Program(&'static str),
    /// The URL of a program.
    Url(&'static str),
    /// The URL of a script.
    Script,
    /// A full iPXE, because it cannot fetch a script.
    FullIpxe,
    /// A PXE menu with this entry. Then it asks for its files by TFTP.
    Menu(&'static str),
    /// The name of a script of U-Boot.
    BootScript,
    /// The URL of a configuration in PXELINUX's form.
    Configuration,
    /// The URL of an installer.
    Installer,
    /// No program is known.
    Unknown,
}

/// How a firmware is recognised.
#[derive(Clone, Copy)]
enum Sign {
    Rule(fn(&Asked) -> bool),
    /// Option 60 begins with `PXEClient`, and the architecture is one of these.
    Pxe(&'static [u16]),
    /// The same with `HTTPClient`.
    Http(&'static [u16]),
}

pub struct Firmware {
    /// As logs and the history of a machine show it.
    pub name: &'static str,
    pub evidence: Evidence,
    pub wants: Wants,
    sign: Sign,
}

/// What the signs look at.
struct Asked<'a> {
    packet: &'a Packet,
    class: &'a [u8],
    archs: &'a [Arch],
    mac: [u8; 6],
}

/// iPXE's numbers in option 175: its features are from the first to the last.
const FEATURE_FIRST: u8 = 0x10;
const FEATURE_LAST: u8 = 0x2f;
const FEATURE_HTTP: u8 = 19;
const FEATURE_HTTPS: u8 = 20;

/// The vendors' parts of the Raspberry Pi's addresses. The first one is that of the Raspberry Pi 3 and older.
const RASPBERRY_PI_3: [u8; 3] = [0xb8, 0x27, 0xeb];
const RASPBERRY_PI: [[u8; 3]; 7] = [
    RASPBERRY_PI_3,
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
];
/// All its boot ROMs use one transaction.
const RASPBERRY_PI_XID: u32 = 0x26f3_0339;
/// PXELINUX's configuration and path prefix (RFC 5071).
const CONFIGURATION_OPTIONS: [u8; 2] = [209, 210];

use Evidence::{Captured, Documented};
use Wants::{Program, Url};

const IANA: Evidence = Documented("RFC 4578 and IANA's list of architectures");
const PI: Evidence = Documented("the boot-net pages of the Raspberry Pi documentation, and smee");

const fn pxe(name: &'static str, archs: &'static [u16], program: &'static str, evidence: Evidence) -> Firmware {
    Firmware { name, evidence, wants: Program(program), sign: Sign::Pxe(archs) }
}

const fn http(name: &'static str, archs: &'static [u16], program: &'static str, evidence: Evidence) -> Firmware {
    Firmware { name, evidence, wants: Url(program), sign: Sign::Http(archs) }
}

const fn rule(name: &'static str, wants: Wants, evidence: Evidence, is: fn(&Asked) -> bool) -> Firmware {
    Firmware { name, evidence, wants, sign: Sign::Rule(is) }
}

static TABLE: &[Firmware] = &[
    rule("Tinkerbell iPXE", Wants::Script, Documented("smee's embedded script"), |asked| {
        asked.packet.has_user_class(b"Tinkerbell")
    }),
    rule("iPXE without HTTP", Wants::FullIpxe, Documented("VirtualBox's and NIC vendors' ROMs"), |asked| {
        is_ipxe(asked.packet) && lists_features(asked.packet) && asked.packet.ipxe(FEATURE_HTTP).is_none()
    }),
    rule("iPXE", Wants::Script, Captured, |asked| is_ipxe(asked.packet)),
    // The ROM of the 3B compares three blanks more.
    rule("Raspberry Pi 3", Wants::Menu("Raspberry Pi Boot   "), PI, |asked| {
        asked.mac.starts_with(&RASPBERRY_PI_3) && is_raspberry_pi(asked)
    }),
    rule("Raspberry Pi", Wants::Menu("Raspberry Pi Boot"), PI, is_raspberry_pi),
    rule("ONIE", Wants::Installer, Documented("ONIE's design specification"), |asked| {
        asked.class.starts_with(b"onie_vendor:") || asked.packet.has_user_class(b"onie_dhcp_user_class")
    }),
    rule("U-Boot", Wants::BootScript, Captured, |asked| {
        asked.class.starts_with(b"U-Boot") || asked.archs.iter().any(|arch| (21..=24).contains(&arch.0))
    }),
    rule("Petitboot", Wants::Configuration, Documented("petitboot's discover/network.c"), |asked| {
        let parameters = asked.packet.parameter_list();
        let is_firmware = asked.class.starts_with(b"PXEClient") || asked.class.starts_with(b"HTTPClient");
        !is_firmware && CONFIGURATION_OPTIONS.iter().all(|code| parameters.contains(code))
    }),
    rule("DHCP client", Wants::Address, Captured, |asked| {
        !asked.class.starts_with(b"PXEClient") && !asked.class.starts_with(b"HTTPClient")
    }),
    // As smee: PC-98, Itanium and the like are answered as PCs.
    pxe("BIOS PXE firmware", &[0, 1, 2, 3, 4, 5], "undionly.kpxe", Documented("PXE 2.1")),
    pxe("UEFI PXE firmware", &[7, 9, 8], "ipxe.efi", Captured),
    pxe("UEFI PXE firmware (ia32)", &[6], "ipxe-i386.efi", IANA),
    pxe("UEFI PXE firmware (arm64)", &[11], "snp-arm64.efi", Captured),
    pxe("UEFI PXE firmware (arm32)", &[10], "snp-arm32.efi", IANA),
    pxe("UEFI PXE firmware (riscv64)", &[27], "ipxe-riscv64.efi", Captured),
    pxe("UEFI PXE firmware (riscv32)", &[25], "ipxe-riscv32.efi", IANA),
    pxe("UEFI PXE firmware (loongarch64)", &[39], "ipxe-loong64.efi", IANA),
    http("UEFI HTTP boot firmware", &[16, 17], "ipxe.efi", Captured),
    http("UEFI HTTP boot firmware (ia32)", &[15], "ipxe-i386.efi", IANA),
    http("UEFI HTTP boot firmware (arm64)", &[19], "snp-arm64.efi", Captured),
    http("UEFI HTTP boot firmware (arm32)", &[18], "snp-arm32.efi", IANA),
    http("UEFI HTTP boot firmware (riscv64)", &[28], "ipxe-riscv64.efi", IANA),
    http("UEFI HTTP boot firmware (riscv32)", &[26], "ipxe-riscv32.efi", IANA),
    http("UEFI HTTP boot firmware (loongarch64)", &[40], "ipxe-loong64.efi", IANA),
    http("BIOS HTTP boot firmware", &[20], "undionly.kpxe", IANA),
];

/// For what no row fits.
static UNKNOWN: Firmware = rule("firmware of an unknown architecture", Wants::Unknown, IANA, |_| true);

/// All rows, in the order in which they are tried.
pub fn table() -> impl Iterator<Item = &'static Firmware> {
    TABLE.iter().chain([&UNKNOWN])
}

/// Whether a boot file is one that boots names to firmware by itself.
pub(crate) fn is_sent(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let is_program = |firmware: &Firmware| matches!(firmware.wants, Program(program) | Url(program) if program == name);
    name == crate::ipxe::SCRIPT || name == super::BOOT_SCRIPT || TABLE.iter().any(is_program)
}

/// The row of a request.
pub(super) fn row(packet: &Packet, archs: &[Arch]) -> &'static Firmware {
    let asked = Asked { packet, class: packet.vendor_class(), archs, mac: packet.mac().unwrap_or_default() };
    let is_meant = |firmware: &&Firmware| match firmware.sign {
        Sign::Rule(is) => is(&asked),
        Sign::Pxe(_) | Sign::Http(_) => false,
    };
    let (is_pxe, is_http) = (asked.class.starts_with(b"PXEClient"), asked.class.starts_with(b"HTTPClient"));
    let of_arch = |arch: &Arch| {
        TABLE.iter().find(|firmware| match firmware.sign {
            Sign::Rule(_) => false,
            Sign::Pxe(archs) => is_pxe && archs.contains(&arch.0),
            Sign::Http(archs) => is_http && archs.contains(&arch.0),
        })
    };
    TABLE.iter().find(is_meant).or_else(|| archs.iter().find_map(of_arch)).unwrap_or(&UNKNOWN)
}

/// The program for the first known architecture, whichever way it travels.
pub(super) fn program(archs: &[Arch]) -> Option<&'static str> {
    archs.iter().find_map(|arch| {
        TABLE.iter().find_map(|firmware| match (firmware.sign, firmware.wants) {
            (Sign::Pxe(archs) | Sign::Http(archs), Program(name) | Url(name)) => archs.contains(&arch.0).then_some(name),
            _ => None,
        })
    })
}

/// Whether an iPXE speaks HTTPS, if it lists its features.
pub(super) fn speaks_https(packet: &Packet) -> Option<bool> {
    lists_features(packet).then(|| packet.ipxe(FEATURE_HTTPS).is_some())
}

fn is_ipxe(packet: &Packet) -> bool {
    packet.has_user_class(b"iPXE") || packet.options.contains(code::IPXE)
}

/// An iPXE that lists features but not HTTP cannot fetch a script. One that lists none says nothing.
fn lists_features(packet: &Packet) -> bool {
    (FEATURE_FIRST..=FEATURE_LAST).any(|feature| packet.ipxe(feature).is_some())
}

/// Its ROM, which says that it is a PC's BIOS. Early ones leave option 60 out of their REQUESTs. With UEFI on it, a Pi names
/// its true architecture and is like any other.
fn is_raspberry_pi(asked: &Asked) -> bool {
    let is_rom = asked.archs.iter().all(|arch| matches!(arch.0, 0 | 41));
    let asks_to_boot = asked.class.starts_with(b"PXEClient")
        || asked.packet.options.contains(code::CLIENT_ARCH)
        || asked.packet.xid == RASPBERRY_PI_XID;
    let names_itself = asked.archs.iter().any(|arch| arch.0 == 41);
    let has_its_mac = RASPBERRY_PI.iter().any(|vendor| asked.mac.starts_with(vendor));
    is_rom && asks_to_boot && (names_itself || has_its_mac)
}
