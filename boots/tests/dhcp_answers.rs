//! What each kind of client gets: the rules, packet by packet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;

use boots::dhcp::{Ignored, respond};
use boots::{BootInterface, BootState, Config};
use dhcp::v4::{MessageType, Op, Packet, code};
use support::{FORBIDDEN, KNOWN, config, machine};

const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn ask(kind: MessageType) -> Packet {
    Packet::request(kind, 42, KNOWN.bytes())
}

fn pxe(arch: u16) -> Packet {
    let mut packet = ask(MessageType::Discover);
    packet
        .options
        .set_text(code::VENDOR_CLASS, &format!("PXEClient:Arch:{arch:05}:UNDI:003001"))
        .set_u16(code::CLIENT_ARCH, arch);
    packet
}

fn with(mut packet: Packet, code: u8, value: &[u8]) -> Packet {
    packet.options.set(code, value);
    packet
}

/// What QEMU's ROM sends in its first DISCOVER, shortened: PXE extensions, HTTP, TFTP, DNS, bzImage.
const ROM_FEATURES: &[u8] = &[0xb1, 1, 1, 0x10, 1, 2, 0x13, 1, 1, 0x15, 1, 1, 0x17, 1, 1, 0x18, 1, 1];

/// A packet from the field, whose firmware sends its message type twice.
#[test]
fn an_option_of_fixed_length_that_comes_twice_is_read_once() {
    let case = include_str!("../../contracts/dhcp/tests/cases/request-type-option-twice.hex").trim();
    let digits: Vec<char> = case.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    let mut request = Packet::decode(&digits.chunks(2).map(byte).collect::<Vec<u8>>()).unwrap();
    request.set_mac(KNOWN.bytes());
    let reply = respond(&config(), &machine(KNOWN), &request).unwrap();
    assert_eq!((reply.message_type(), reply.boot_file()), (Some(MessageType::Offer), Some("ipxe.efi")));
}

#[test]
fn boot_file_follows_the_kind_of_client() {
    let script = "http://10.0.0.1:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe";
    let mut http = pxe(16);
    http.options.set_text(code::VENDOR_CLASS, "HTTPClient:Arch:00016:UNDI:003001");
    for (case, request, file) in [
        ("BIOS firmware gets undionly", pxe(0), Some("undionly.kpxe")),
        ("UEFI firmware gets ipxe.efi", pxe(7), Some("ipxe.efi")),
        ("ARM firmware gets its build", pxe(11), Some("snp-arm64.efi")),
        (
            "firmware that names its architecture in option 60 only",
            {
                let mut request = pxe(7);
                request.options.remove(code::CLIENT_ARCH);
                request
            },
            Some("ipxe.efi"),
        ),
        ("HTTP boot gets a URL", http, Some("http://10.0.0.1:7080/ipxe/binary/02:00:00:00:00:01/ipxe.efi")),
        ("an iPXE ROM by its features", with(pxe(0), code::IPXE, ROM_FEATURES), Some(script)),
        ("iPXE by user class", with(pxe(7), code::USER_CLASS, b"iPXE"), Some(script)),
        ("iPXE by user class with lengths", with(pxe(7), code::USER_CLASS, b"\x04iPXE"), Some(script)),
        ("smee's iPXE", with(pxe(7), code::USER_CLASS, b"Tinkerbell"), Some(script)),
        (
            "an iPXE without HTTP gets a better one",
            with(pxe(0), code::IPXE, &[0x15, 1, 1]),
            Some("tftp://10.0.0.1/02:00:00:00:00:01/undionly.kpxe"),
        ),
        ("an architecture without iPXE", pxe(33), None),
        ("plain DHCP client gets an address only", ask(MessageType::Discover), None),
    ] {
        let reply = respond(&config(), &machine(KNOWN), &request).unwrap();
        assert_eq!(reply.boot_file(), file, "{case}");
        assert_eq!((reply.op, reply.xid, reply.yiaddr), (Op::Reply, 42, OWN), "{case}");
        assert_eq!(reply.message_type(), Some(MessageType::Offer), "{case}");
    }
}

#[test]
fn an_ipxe_rom_can_be_chainloaded_as_smee_does() {
    let config = Config { chainload_own_ipxe: true, tftp_port: 6969, ..config() };
    let reply = respond(&config, &machine(KNOWN), &with(pxe(7), code::USER_CLASS, b"iPXE")).unwrap();
    assert_eq!(reply.boot_file(), Some("tftp://10.0.0.1:6969/02:00:00:00:00:01/ipxe.efi"));
    let reply = respond(&config, &machine(KNOWN), &with(pxe(7), code::USER_CLASS, b"Tinkerbell")).unwrap();
    assert!(reply.boot_file().unwrap().ends_with("auto.ipxe"), "which ends the chain");
}

#[test]
fn a_machine_that_may_not_netboot_gets_its_address_and_no_server() {
    let request = Packet { chaddr: ask(MessageType::Discover).chaddr, ..pxe(7) };
    let reply = respond(&config(), &machine(FORBIDDEN), &request).unwrap();
    assert_eq!((reply.yiaddr, reply.siaddr), (Ipv4Addr::new(10, 0, 0, 12), Ipv4Addr::UNSPECIFIED));
    assert_eq!(reply.boot_file(), Some("/netboot-not-allowed"));
    assert!(!reply.options.contains(code::VENDOR_SPECIFIC));
}

#[test]
fn an_own_script_url_goes_out_directly_until_the_machine_is_to_leave_for_its_disk() {
    let mut machine = machine(KNOWN);
    machine.ipxe.url = Some("http://elsewhere/boot.ipxe".to_owned());
    let request = with(pxe(7), code::USER_CLASS, b"iPXE");
    assert_eq!(respond(&config(), &machine, &request).unwrap().boot_file(), Some("http://elsewhere/boot.ipxe"));
    machine.boot = BootState::Local { reason: "installed".to_owned() };
    assert!(respond(&config(), &machine, &request).unwrap().boot_file().unwrap().ends_with("auto.ipxe"));
}

#[test]
fn a_url_too_long_for_the_header_travels_as_option() {
    let mut machine = machine(KNOWN);
    let url = format!("http://elsewhere/{}.ipxe", "x".repeat(150));
    machine.ipxe.url = Some(url.clone());
    let reply = respond(&config(), &machine, &with(pxe(7), code::USER_CLASS, b"iPXE")).unwrap();
    assert!(reply.file.is_empty());
    assert_eq!(Packet::decode(&reply.encode()).unwrap().boot_file(), Some(url.as_str()));
}

#[test]
fn a_hardware_names_another_program_or_another_server() {
    let mut machine = machine(KNOWN);
    machine.ipxe.binary = Some("custom.efi".to_owned());
    assert_eq!(respond(&config(), &machine, &pxe(7)).unwrap().boot_file(), Some("custom.efi"));
    machine.custom_boot =
        Some(boots::CustomBoot { tftp_server_name: "10.0.0.77".to_owned(), boot_file_name: "onie.bin".to_owned() });
    let reply = respond(&config(), &machine, &ask(MessageType::Discover)).unwrap();
    assert_eq!((reply.siaddr, reply.boot_file()), (Ipv4Addr::new(10, 0, 0, 77), Some("onie.bin")));
    assert_eq!(reply.options.text(code::TFTP_SERVER_NAME), Some("10.0.0.77"));
    assert_eq!(reply.options.get(code::BOOT_FILE_NAME), Some(&b"onie.bin\0"[..]), "old ROMs read on to the next NUL");
}

#[test]
fn the_reservation_comes_with_all_it_has() {
    let reply = respond(&config(), &machine(KNOWN), &pxe(0)).unwrap();
    let reply = Packet::decode(&reply.encode()).unwrap();
    let server = Ipv4Addr::new(10, 0, 0, 1);
    assert_eq!((reply.server_id(), reply.siaddr, reply.lease_time()), (Some(server), server, Some(7200)));
    assert_eq!((reply.prefix_len(), reply.broadcast_address()), (Some(24), Some(Ipv4Addr::new(127, 0, 0, 255))));
    assert_eq!((reply.routers(), reply.dns_servers()), (vec![Ipv4Addr::new(10, 0, 0, 254)], vec![Ipv4Addr::new(10, 0, 0, 53)]));
    assert_eq!((reply.hostname(), reply.domain_name()), (Some("m1"), Some("example.org")));
    assert_eq!(
        (reply.domain_search(), reply.ntp_servers()),
        (vec!["example.org".to_owned()], vec![Ipv4Addr::new(10, 0, 0, 123)])
    );
    let routes: Vec<_> = reply.classless_routes().iter().map(|route| (route.prefix, route.router)).collect();
    let default = Ipv4Addr::new(10, 0, 0, 254);
    assert_eq!(routes, [(16, Ipv4Addr::new(10, 0, 0, 2)), (0, default)], "a client with these ignores the routers (RFC 3442)");
    assert_eq!(reply.options.get(code::VENDOR_SPECIFIC), Some(&[6, 1, 8, 255][..]), "skip boot server discovery");
    let plain = respond(&config(), &machine(FORBIDDEN), &ask(MessageType::Discover)).unwrap();
    assert_eq!(plain.lease_time(), Some(86_400), "never a lease of no time");
    assert!(!plain.options.contains(code::VENDOR_SPECIFIC));
}

#[test]
fn requests_are_acknowledged_denied_or_left_to_others() {
    let other = Ipv4Addr::new(10, 0, 0, 66);
    let (many, all) = (Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::BROADCAST);
    let address = |code, address: Ipv4Addr| with(ask(MessageType::Request), code, &address.octets());
    let selecting = |server: Ipv4Addr| with(address(code::REQUESTED_IP, OWN), code::SERVER_ID, &server.octets());
    for (case, request, kind) in [
        ("it chose us", selecting(config().address), Ok(MessageType::Ack)),
        ("it chose another server", selecting(other), Err(Ignored::OtherServer(other))),
        ("a relay speaks for the server", Packet { giaddr: other, ..selecting(other) }, Ok(MessageType::Ack)),
        (
            "it chose another server behind the relay",
            Packet { giaddr: Ipv4Addr::new(10, 1, 0, 1), ..selecting(other) },
            Err(Ignored::OtherServer(other)),
        ),
        ("it remembers its address", address(code::REQUESTED_IP, OWN), Ok(MessageType::Ack)),
        ("it remembers a wrong address", address(code::REQUESTED_IP, other), Ok(MessageType::Nak)),
        ("it renews", Packet { ciaddr: OWN, ..ask(MessageType::Request) }, Ok(MessageType::Ack)),
        ("it renews a wrong address", Packet { ciaddr: other, ..ask(MessageType::Request) }, Ok(MessageType::Nak)),
        ("it names no address", ask(MessageType::Request), Ok(MessageType::Ack)),
        ("it gives its address back", ask(MessageType::Release), Err(Ignored::Kind(MessageType::Release))),
        ("it asks for settings only", Packet { ciaddr: OWN, ..ask(MessageType::Inform) }, Ok(MessageType::Ack)),
        (
            "it asks for settings of another network",
            Packet { ciaddr: other, ..ask(MessageType::Inform) },
            Err(Ignored::Elsewhere(other)),
        ),
        (
            "its address is taken",
            with(ask(MessageType::Decline), code::REQUESTED_IP, &OWN.octets()),
            Err(Ignored::Declined { address: OWN }),
        ),
        ("it is a server", Packet { op: Op::Reply, ..ask(MessageType::Request) }, Err(Ignored::Reply)),
        ("it speaks BOOTP", Packet { options: Default::default(), ..ask(MessageType::Request) }, Err(Ignored::Bootp)),
        ("it is not Ethernet", Packet { htype: 32, ..ask(MessageType::Request) }, Err(Ignored::NoMac)),
        ("it would be many stations", Packet { chaddr: [0xff; 16], ..ask(MessageType::Request) }, Err(Ignored::NoMac)),
        ("it would be many hosts", Packet { ciaddr: many, ..ask(MessageType::Request) }, Err(Ignored::OfMany(many))),
        ("its relay would be all", Packet { giaddr: all, ..ask(MessageType::Request) }, Err(Ignored::OfMany(all))),
    ] {
        let answer = respond(&config(), &machine(KNOWN), &request);
        assert_eq!(answer.as_ref().map(|reply| reply.message_type().unwrap()), kind.as_ref().copied(), "{case}");
        if kind == Ok(MessageType::Nak) {
            let nak = answer.unwrap();
            assert_eq!(
                (nak.yiaddr, nak.message()),
                (Ipv4Addr::UNSPECIFIED, Some("10.0.0.66 is not yours, 127.0.0.1 is")),
                "{case}"
            );
        }
    }
}

/// RFC 2131 section 4.3.5.
#[test]
fn a_client_that_asks_for_settings_gets_no_lease() {
    let reply = respond(&config(), &machine(KNOWN), &Packet { ciaddr: OWN, ..ask(MessageType::Inform) }).unwrap();
    assert_eq!((reply.ciaddr, reply.yiaddr, reply.lease_time()), (OWN, Ipv4Addr::UNSPECIFIED, None));
    assert_eq!((reply.dns_servers(), reply.server_id()), (vec![Ipv4Addr::new(10, 0, 0, 53)], Some(config().address)));
}

/// RFC 5107: a relay that stands for the server hears renewals, too.
#[test]
fn a_relay_may_choose_the_address_of_the_server() {
    let (relay, chosen) = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 254));
    let by_relay = |packet: Packet| with(Packet { giaddr: relay, ..packet }, code::RELAY_AGENT, &[1, 1, 9, 11, 4, 10, 1, 0, 254]);
    let offer = respond(&config(), &machine(KNOWN), &by_relay(pxe(7))).unwrap();
    assert_eq!((offer.server_id(), offer.siaddr), (Some(chosen), config().address), "files come from here");
    let request = by_relay(with(ask(MessageType::Request), code::SERVER_ID, &chosen.octets()));
    let ack = respond(&config(), &machine(KNOWN), &request).unwrap();
    assert_eq!((ack.message_type(), ack.server_id()), (Some(MessageType::Ack), Some(chosen)));
    let direct = with(ask(MessageType::Discover), code::RELAY_AGENT, &[11, 4, 10, 1, 0, 254]);
    let reply = respond(&config(), &machine(KNOWN), &direct).unwrap();
    assert_eq!(reply.server_id(), Some(config().address), "the choice is for a relay only");
}

#[test]
fn a_machine_without_reservation_gets_silence() {
    let machine = BootInterface { reservation: None, ..machine(KNOWN) };
    assert_eq!(respond(&config(), &machine, &pxe(0)), Err(Ignored::NoReservation));
}

#[test]
fn a_relay_gets_a_nak_to_broadcast() {
    let request = with(ask(MessageType::Request), code::REQUESTED_IP, &[10, 0, 0, 66]);
    for (giaddr, flags) in [(Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(10, 1, 0, 1), 0x8000)] {
        let reply = respond(&config(), &machine(KNOWN), &Packet { giaddr, ..request.clone() }).unwrap();
        assert_eq!((reply.message_type(), reply.flags), (Some(MessageType::Nak), flags), "{giaddr}");
    }
}

#[test]
fn a_relayed_request_takes_its_marks_back() {
    let request = with(Packet { giaddr: Ipv4Addr::new(10, 1, 0, 1), flags: 0x8000, ..pxe(0) }, code::RELAY_AGENT, &[1, 1, 9]);
    let reply = respond(&config(), &machine(KNOWN), &request).unwrap();
    assert_eq!((reply.giaddr, reply.flags), (request.giaddr, request.flags));
    assert_eq!(reply.options.get(code::RELAY_AGENT), Some(&[1, 1, 9][..]));
}
