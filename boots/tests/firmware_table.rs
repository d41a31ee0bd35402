//! Every row of the table of firmware with its packet: how it is recognised, and what it gets.
//!
//! The packets are in `tests/packets`. Those that begin with `made-` are constructed from documentation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use boots::dhcp::firmware::{Evidence, table};
use boots::dhcp::{Client, respond};
use boots::{BootInterface, BootState, Config};
use dhcp::v4::{Packet, code};
use model::Mac;
use support::{KNOWN, config, machine};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Take the file, look for no other server.
const DIRECTLY: &str = "060108ff";
/// A menu with the local disk as its only entry, as it was captured on its way to OVMF and SeaBIOS.
const LOCAL: &str = "06010709080000054c6f63616c0a0400505845ff";

fn packet(name: &str) -> Packet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/packets/{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Packet::decode(&bytes(text.trim())).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// The machine of the lab with the address of this packet.
fn asks(packet: &Packet) -> BootInterface {
    BootInterface { mac: Mac::new(packet.mac().unwrap()), ..machine(KNOWN) }
}

fn local(machine: BootInterface) -> BootInterface {
    BootInterface { boot: BootState::Local { reason: "installed".to_owned() }, ..machine }
}

/// Packet, row, boot file, and options 60 and 43.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const SCRIPT: &str = "http://10.0.0.1:7080/ipxe/script/MAC/auto.ipxe";
const UEFI: &str = "UEFI PXE firmware";

const ROWS: &[Row] = &[
    ("made-tinkerbell-ipxe-discover", "Tinkerbell iPXE", SCRIPT, "PXEClient", DIRECTLY),
    ("made-ipxe-without-http-discover", "iPXE without HTTP", "tftp://10.0.0.1/MAC/undionly.kpxe", "PXEClient", DIRECTLY),
    ("seabios-ipxe-discover", "iPXE", SCRIPT, "PXEClient", DIRECTLY),
    ("seabios-ipxe-dnsmasq-proxy-menu-discover", "iPXE", SCRIPT, "PXEClient", DIRECTLY),
    ("ovmf-pxe4-ipxe-discover", "iPXE", SCRIPT, "PXEClient", DIRECTLY),
    ("made-ipxe-with-https-discover", "iPXE", SCRIPT, "PXEClient", DIRECTLY),
    ("made-from-documentation-raspberrypi3-discover", "Raspberry Pi 3", "snp-arm64.efi", "PXEClient", PI_3_MENU),
    ("request-rpi3", "Raspberry Pi 3", "snp-arm64.efi", "PXEClient", PI_3_MENU),
    ("made-raspberrypi4-discover", "Raspberry Pi", "snp-arm64.efi", "PXEClient", PI_MENU),
    ("made-raspberrypi5-discover", "Raspberry Pi", "snp-arm64.efi", "PXEClient", PI_MENU),
    ("made-raspberrypi4-uefi-discover", "UEFI PXE firmware (arm64)", "snp-arm64.efi", "PXEClient", DIRECTLY),
    ("made-raspberrypi4-linux-discover", "DHCP client", "", "", ""),
    ("made-onie-discover", "ONIE", "", "", ""),
    ("uboot-arm64-discover", "U-Boot", "boot.scr.uimg", "", ""),
    ("request-uboot-arm64", "U-Boot", "boot.scr.uimg", "", ""),
    ("made-uboot-http-discover", "U-Boot", "boot.scr.uimg", "", ""),
    ("uboot-arm64-discover-2", "UEFI PXE firmware (arm64)", "snp-arm64.efi", "PXEClient", DIRECTLY),
    ("made-petitboot-discover", "Petitboot", "", "", ""),
    ("made-bios-pxe-discover", "BIOS PXE firmware", "undionly.kpxe", "PXEClient", DIRECTLY),
    ("ovmf-pxe4-discover", UEFI, "ipxe.efi", "PXEClient", DIRECTLY),
    ("made-uefi-x64-as-9-pxe-discover", UEFI, "ipxe.efi", "PXEClient", DIRECTLY),
    ("made-uefi-ia32-pxe-discover", "UEFI PXE firmware (ia32)", "ipxe-i386.efi", "PXEClient", DIRECTLY),
    ("aavmf-pxe4-discover", "UEFI PXE firmware (arm64)", "snp-arm64.efi", "PXEClient", DIRECTLY),
    ("made-uefi-arm32-pxe-discover", "UEFI PXE firmware (arm32)", "snp-arm32.efi", "PXEClient", DIRECTLY),
    ("request-arch-riscv64", "UEFI PXE firmware (riscv64)", "ipxe-riscv64.efi", "PXEClient", DIRECTLY),
    ("made-uefi-riscv32-pxe-discover", "UEFI PXE firmware (riscv32)", "ipxe-riscv32.efi", "PXEClient", DIRECTLY),
    ("made-uefi-loongarch64-pxe-discover", "UEFI PXE firmware (loongarch64)", "ipxe-loong64.efi", "PXEClient", DIRECTLY),
    ("ovmf-http4-discover", "UEFI HTTP boot firmware", "URL/ipxe.efi", "HTTPClient", ""),
    ("made-uefi-ia32-http-discover", "UEFI HTTP boot firmware (ia32)", "URL/ipxe-i386.efi", "HTTPClient", ""),
    ("aavmf-http4-discover", "UEFI HTTP boot firmware (arm64)", "URL/snp-arm64.efi", "HTTPClient", ""),
    ("request-httpclient-arm64", "UEFI HTTP boot firmware (arm64)", "URL/snp-arm64.efi", "HTTPClient", ""),
    ("made-uefi-arm32-http-discover", "UEFI HTTP boot firmware (arm32)", "URL/snp-arm32.efi", "HTTPClient", ""),
    ("made-uefi-riscv64-http-discover", "UEFI HTTP boot firmware (riscv64)", "URL/ipxe-riscv64.efi", "HTTPClient", ""),
    ("made-uefi-riscv32-http-discover", "UEFI HTTP boot firmware (riscv32)", "URL/ipxe-riscv32.efi", "HTTPClient", ""),
    ("made-uefi-loongarch64-http-discover", "UEFI HTTP boot firmware (loongarch64)", "URL/ipxe-loong64.efi", "HTTPClient", ""),
    ("made-bios-http-discover", "BIOS HTTP boot firmware", "URL/undionly.kpxe", "HTTPClient", ""),
    ("made-unknown-architecture-discover", "firmware of an unknown architecture", "", "PXEClient", LOCAL),
];

/// With three blanks more.
const PI_3_MENU: &str = "0601030a0400505845091700001452617370626572727920506920426f6f74202020ff";
/// The bytes of `made-from-documentation-raspberrypi3-offer`.
const PI_MENU: &str = "0601030a0400505845091400001152617370626572727920506920426f6f74ff";

#[test]
fn each_firmware_is_recognised_by_its_packet_and_gets_what_it_can_boot() {
    for (name, row, file, class, control) in ROWS {
        let request = packet(name);
        assert_eq!(Client::of(&request).firmware.name, *row, "{name}");
        let machine = asks(&request);
        let reply = respond(&config(), &machine, &request).unwrap();
        let mac = machine.mac.to_string();
        let file = file.replace("MAC", &mac).replace("URL", &format!("http://10.0.0.1:7080/ipxe/binary/{mac}"));
        assert_eq!(reply.boot_file().unwrap_or_default(), file, "{name}");
        assert_eq!(reply.options.text(code::VENDOR_CLASS).unwrap_or_default(), *class, "{name}");
        assert_eq!(reply.options.get(code::VENDOR_SPECIFIC).unwrap_or_default(), bytes(control), "{name}");
        let server = if *row == "firmware of an unknown architecture" { Ipv4Addr::UNSPECIFIED } else { SERVER };
        assert_eq!(reply.siaddr, server, "{name}");
        // EDK2 reads "60 without 43" as an invitation to ask on port 4011.
        let both = reply.options.contains(code::VENDOR_SPECIFIC) == (*class == "PXEClient");
        assert!(both, "{name}");
    }
}

#[test]
fn every_row_of_the_table_has_a_packet_and_a_line_in_the_manual() {
    let tested: BTreeSet<&str> = ROWS.iter().map(|(_, row, ..)| *row).collect();
    let rows: BTreeSet<&str> = table().map(|firmware| firmware.name).collect();
    assert_eq!(tested, rows);
    let manual = include_str!("../../docs/booting.md");
    for firmware in table() {
        let evidence = match firmware.evidence {
            Evidence::Captured => "captured",
            Evidence::Documented(_) => "documented",
        };
        let line = manual.lines().find(|line| line.starts_with(&format!("| {} |", firmware.name)));
        assert!(line.is_some_and(|line| line.ends_with(&format!("| {evidence} |"))), "{}: {line:?}", firmware.name);
        // A captured row has a packet that was not constructed.
        let is_captured = ROWS.iter().any(|(name, row, ..)| *row == firmware.name && !name.starts_with("made-"));
        assert!(is_captured || firmware.evidence != Evidence::Captured || firmware.name == "DHCP client", "{}", firmware.name);
    }
}

#[test]
fn the_menu_of_the_raspberry_pi_is_that_of_the_documentation() {
    let offer = packet("made-from-documentation-raspberrypi3-offer");
    assert_eq!(offer.options.get(code::VENDOR_SPECIFIC), Some(&bytes(PI_MENU)[..]));
    let request = packet("made-raspberrypi4-discover");
    let reply = respond(&config(), &asks(&request), &request).unwrap();
    assert_eq!(reply.options.text(code::TFTP_SERVER_NAME), Some("10.0.0.1"), "later models read option 66");
    assert!(!reply.options.contains(code::BOOT_FILE_NAME));
}

/// An early Raspberry Pi 4 leaves option 60 out of its REQUEST.
#[test]
fn a_raspberry_pi_is_known_by_its_transaction_too() {
    let request = packet("made-raspberrypi4-early-request");
    assert_eq!(Client::of(&request).firmware.name, "Raspberry Pi");
}

#[test]
fn the_answer_has_the_file_where_each_firmware_looks_for_it() {
    for (name, option) in [
        ("ovmf-pxe4-discover", Some(&b"ipxe.efi\0"[..])), // old ROMs read on to the next NUL
        ("made-bios-pxe-discover", Some(b"undionly.kpxe\0")),
        ("uboot-arm64-discover", None),
        ("made-raspberrypi4-discover", None),
    ] {
        let request = packet(name);
        let reply = respond(&config(), &asks(&request), &request).unwrap();
        assert!(!reply.file.is_empty(), "{name}: the header");
        assert_eq!(reply.options.get(code::BOOT_FILE_NAME), option, "{name}");
    }
}

#[test]
fn the_uuid_comes_back_only_to_firmware_that_sent_one() {
    for (name, sends) in [("ovmf-pxe4-discover", true), ("uboot-arm64-discover", false), ("request-arch-riscv64", false)] {
        let request = packet(name);
        let reply = respond(&config(), &asks(&request), &request).unwrap();
        assert_eq!(request.options.contains(code::CLIENT_UUID), sends, "{name}");
        assert_eq!(reply.options.get(code::CLIENT_UUID), request.options.get(code::CLIENT_UUID), "{name}");
    }
}

#[test]
fn an_ipxe_does_not_wait_for_an_answer_of_another_server() {
    let request = packet("seabios-ipxe-discover");
    let reply = respond(&config(), &asks(&request), &request).unwrap();
    assert_eq!(reply.options.get(code::IPXE), Some(&[0xb0, 1, 1][..]));
}

#[test]
fn a_switch_and_a_power_machine_get_the_address_of_what_they_read() {
    for (name, code, url) in [
        ("made-onie-discover", 114, "http://10.0.0.1:7080/onie-installer"),
        ("made-petitboot-discover", 209, "http://10.0.0.1:7080/pxelinux.cfg/01-02-00-00-00-00-01"),
    ] {
        let request = packet(name);
        let reply = respond(&config(), &asks(&request), &request).unwrap();
        assert_eq!(reply.options.text(code), Some(url), "{name}");
        let reply = respond(&config(), &local(asks(&request)), &request).unwrap();
        assert_eq!(reply.options.text(code), None, "{name}: it is installed");
    }
}

/// Firmware that gets no file waits for a minute, and once for each of its protocols.
#[test]
fn firmware_whose_machine_boots_its_disk_is_sent_on_at_once() {
    let captured = packet("ovmf-pxe4-local-boot-menu-offer");
    assert_eq!(captured.options.get(code::VENDOR_SPECIFIC), Some(&bytes(LOCAL)[..]));
    for (name, file, control) in [
        ("made-bios-pxe-discover", "", LOCAL),
        ("ovmf-pxe4-discover", "", LOCAL),
        ("ovmf-pxe4-request", "", LOCAL),
        ("aavmf-pxe4-discover", "", LOCAL),
        ("ovmf-http4-discover", "http://10.0.0.1:7080/ipxe/binary/52:54:00:77:00:20/boot-the-local-disk.efi", ""),
        ("uboot-arm64-discover", "", ""),
        ("seabios-ipxe-discover", "http://10.0.0.1:7080/ipxe/script/52:54:00:77:00:10/auto.ipxe", DIRECTLY),
    ] {
        let mut request = packet(name);
        request.options.remove(code::SERVER_ID);
        request.options.remove(code::REQUESTED_IP);
        let reply = respond(&config(), &local(asks(&request)), &request).unwrap();
        assert_eq!(reply.boot_file().unwrap_or_default(), file, "{name}");
        assert_eq!(reply.options.get(code::VENDOR_SPECIFIC).unwrap_or_default(), bytes(control), "{name}");
    }
}

#[test]
fn an_unknown_architecture_has_a_line_that_says_what_to_do() {
    let complaint = Client::of(&packet("made-unknown-architecture-discover")).complaint().unwrap();
    assert!(complaint.contains("architecture 33 (option 93)") && complaint.contains("netboot.ipxe.binary"), "{complaint}");
    let mut machine = asks(&packet("made-unknown-architecture-discover"));
    machine.ipxe.binary = Some("mips.efi".to_owned());
    let reply = respond(&config(), &machine, &packet("made-unknown-architecture-discover")).unwrap();
    assert_eq!(reply.boot_file(), Some("mips.efi"));
    assert_eq!(Client::of(&packet("ovmf-pxe4-discover")).complaint(), None);
}

#[test]
fn the_url_of_a_script_says_whether_ipxe_has_https_if_the_hardware_needs_it() {
    let own = |name: &str| format!("http://10.0.0.1:7080/ipxe/script/{}/auto.ipxe", Mac::new(packet(name).mac().unwrap()));
    let (with, without) = ("made-ipxe-with-https-discover", "seabios-ipxe-discover");
    let silent = "made-tinkerbell-ipxe-discover"; // its list of features is taken out below
    for (name, url, base, file) in [
        (with, Some("https://a/x.ipxe"), None, "https://a/x.ipxe".to_owned()),
        (without, Some("https://a/x.ipxe"), None, own(without) + "?https=0"),
        (without, Some("HTTPS://a/x.ipxe"), None, own(without) + "?https=0"),
        (without, Some("http://a/x.ipxe"), None, "http://a/x.ipxe".to_owned()),
        (with, None, Some("https://mirror/osie"), own(with) + "?https=1"),
        (without, None, Some("https://mirror/osie"), own(without) + "?https=0"),
        (silent, None, Some("https://mirror/osie"), own(silent)),
        (silent, Some("https://a/x.ipxe"), None, own(silent)),
        (with, None, Some("http://mirror/osie"), own(with)),
    ] {
        let mut request = packet(name);
        if name == silent {
            request.options.remove(code::IPXE);
        }
        let mut machine = asks(&request);
        machine.ipxe.url = url.map(str::to_owned);
        machine.osie.base_url = base.map(str::to_owned);
        let reply = respond(&Config { ..config() }, &machine, &request).unwrap();
        assert_eq!(reply.boot_file(), Some(file.as_str()), "{name} {url:?} {base:?}");
    }
}

/// A script names https only where option 175.20 says that iPXE can.
#[test]
fn only_an_ipxe_with_https_gets_the_url_of_its_script_with_https() {
    let own = |name: &str| Mac::new(packet(name).mac().unwrap());
    let (with, without) = ("made-ipxe-with-https-discover", "seabios-ipxe-discover");
    for (name, https_port, start) in [
        (with, Some(7443), "https://10.0.0.1:7443"),
        (with, None, "http://10.0.0.1:7080"),
        (without, Some(7443), "http://10.0.0.1:7080"),
        ("made-tinkerbell-ipxe-discover", Some(7443), "https://10.0.0.1:7443"),
    ] {
        let request = packet(name);
        let reply = respond(&Config { https_port, ..config() }, &asks(&request), &request).unwrap();
        let expected = format!("{start}/ipxe/script/{}/auto.ipxe", own(name));
        assert_eq!(reply.boot_file(), Some(expected.as_str()), "{name} {https_port:?}");
    }
    let request = packet("ovmf-http4-discover");
    let reply = respond(&Config { https_port: Some(7443), ..config() }, &asks(&request), &request).unwrap();
    assert!(reply.boot_file().unwrap().starts_with("http://"), "firmware has its own trust, and boots does not know it");
}
