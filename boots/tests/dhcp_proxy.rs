//! boots beside another DHCP server: packets that firmware sent to dnsmasq, and what boots answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use boots::dhcp::{Ignored, Mode, Modes, Port, respond_as_proxy};
use boots::{BootInterface, Config, Milestone};
use dhcp::v4::{MessageType, Op, Packet, code};
use support::{FORBIDDEN, Fixed, Host, KNOWN, LIMIT, STRANGER, config, machine};
use tokio::net::UdpSocket;

const OVMF: &str = include_str!("packets/ovmf-pxe4-discover.hex");
const OVMF_REQUEST: &str = include_str!("packets/ovmf-pxe4-dnsmasq-proxy-request.hex");
const OVMF_4011: &str = include_str!("packets/ovmf-pxe4-dnsmasq-proxy-request-4011.hex");
const OVMF_HTTP: &str = include_str!("packets/ovmf-http4-discover.hex");
const AAVMF: &str = include_str!("packets/aavmf-pxe4-discover.hex");
const ROM: &str = include_str!("packets/seabios-ipxe-discover.hex");
const CHAINED: &str = include_str!("packets/ovmf-pxe4-ipxe-discover.hex");

/// The packet, sent by the machine KNOWN.
fn captured(hex: &str) -> Packet {
    let digits: Vec<char> = hex.trim().chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    let mut packet = Packet::decode(&digits.chunks(2).map(byte).collect::<Vec<u8>>()).unwrap();
    packet.set_mac(KNOWN.bytes());
    packet
}

#[test]
fn firmware_is_offered_a_file_and_no_address() {
    let script = "http://10.0.0.1:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe";
    for (case, hex, class, file) in [
        ("OVMF", OVMF, "PXEClient", "ipxe.efi"),
        ("AAVMF", AAVMF, "PXEClient", "snp-arm64.efi"),
        ("OVMF by HTTP", OVMF_HTTP, "HTTPClient", "http://10.0.0.1:7080/ipxe/binary/02:00:00:00:00:01/ipxe.efi"),
        ("iPXE in the ROM", ROM, "PXEClient", script),
        ("iPXE after OVMF", CHAINED, "PXEClient", script),
    ] {
        let request = captured(hex);
        let offer = respond_as_proxy(&config(), &machine(KNOWN), &request, Port::Dhcp).unwrap();
        assert_eq!((offer.op, offer.message_type(), offer.xid), (Op::Reply, Some(MessageType::Offer), request.xid), "{case}");
        assert_eq!((offer.yiaddr, offer.siaddr), (Ipv4Addr::UNSPECIFIED, config().address), "{case}");
        // U-Boot reads the header only, and old ROMs want option 67 with a NUL.
        assert_eq!((offer.file.as_str(), offer.server_id()), (Some(file), Some(config().address)), "{case}");
        assert_eq!(offer.options.get(code::BOOT_FILE_NAME).unwrap(), [file.as_bytes(), &[0]].concat(), "{case}");
        assert_eq!(offer.vendor_class(), class.as_bytes(), "{case}");
        assert_eq!(offer.client_uuid(), request.client_uuid(), "{case}");
        // EDK2 looks for a menu at port 4011, unless it is told not to.
        let direct = (class == "PXEClient").then_some(&[6, 1, 8, 255][..]);
        assert_eq!(offer.options.get(code::VENDOR_SPECIFIC), direct, "{case}");
        for address_option in [code::SUBNET_MASK, code::ROUTERS, code::LEASE_TIME, code::DNS_SERVERS, code::HOSTNAME] {
            assert!(!offer.options.contains(address_option), "{case}: {address_option}");
        }
    }
}

#[test]
fn port_4011_acknowledges_without_an_address() {
    let request = captured(OVMF_4011);
    let ack = respond_as_proxy(&config(), &machine(KNOWN), &request, Port::Pxe).unwrap();
    assert_eq!((ack.message_type(), ack.ciaddr, ack.yiaddr), (Some(MessageType::Ack), request.ciaddr, Ipv4Addr::UNSPECIFIED));
    assert_eq!((ack.boot_file(), ack.siaddr), (Some("ipxe.efi"), config().address));
    let mut chosen = request;
    chosen.options.set(code::VENDOR_SPECIFIC, [71, 4, 0x80, 0, 0, 0, 255]);
    let ack = respond_as_proxy(&config(), &machine(KNOWN), &chosen, Port::Pxe).unwrap();
    assert_eq!(ack.options.get(code::VENDOR_SPECIFIC), Some(&[71, 4, 0x80, 0, 0, 0, 6, 1, 8, 255][..]), "the item returns");
}

/// Options 66 and 67 of a Hardware that has no address, for a client that boots could not serve by itself.
#[test]
fn the_boot_file_of_a_hardware_needs_no_address() {
    let text = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: switch}
spec:
  interfaces:
    - dhcp: {mac: "02:00:00:00:00:01", tftp_server_name: 10.0.0.77, boot_file_name: onie.bin}
"#;
    let Some(model::Object::Hardware(hardware)) = model::parse_documents(text, "switch.yaml").unwrap().pop() else { panic!() };
    let machine = BootInterface::from_hardware(&hardware, KNOWN, boots::BootState::Install { workflow: None }).unwrap();
    assert_eq!(machine.reservation, None);
    let mut unknown = captured(OVMF);
    unknown.options.set_u16(code::CLIENT_ARCH, 0x7777).set_text(code::VENDOR_CLASS, "PXEClient:Arch:30583:UNDI:003016");
    for request in [captured(OVMF), unknown] {
        let offer = respond_as_proxy(&config(), &machine, &request, Port::Dhcp).unwrap();
        assert_eq!((offer.siaddr, offer.boot_file()), (Ipv4Addr::new(10, 0, 0, 77), Some("onie.bin")));
        assert_eq!((offer.yiaddr, offer.options.text(code::TFTP_SERVER_NAME)), (Ipv4Addr::UNSPECIFIED, Some("10.0.0.77")));
    }
}

#[test]
fn what_belongs_to_the_other_server_is_left_to_it() {
    let disabled = BootInterface { reservation: None, dhcp_disabled: true, ..machine(KNOWN) };
    let plain = || Packet::request(MessageType::Discover, 1, KNOWN.bytes());
    for (case, machine, request, port, ignored) in [
        ("a REQUEST to it", machine(KNOWN), captured(OVMF_REQUEST), Port::Dhcp, Ignored::AddressServer(MessageType::Request)),
        ("an operating system", machine(KNOWN), plain(), Port::Dhcp, Ignored::WantsAddress),
        ("a DISCOVER on port 4011", machine(KNOWN), captured(OVMF), Port::Pxe, Ignored::AddressServer(MessageType::Discover)),
        ("a machine without DHCP", disabled, captured(OVMF), Port::Dhcp, Ignored::NoReservation),
        ("its own answer", machine(KNOWN), Packet { op: Op::Reply, ..captured(OVMF) }, Port::Dhcp, Ignored::Reply),
    ] {
        assert_eq!(respond_as_proxy(&config(), &machine, &request, port), Err(ignored), "{case}");
    }
    let refused = respond_as_proxy(&config(), &machine(FORBIDDEN), &captured(OVMF), Port::Dhcp).unwrap();
    assert_eq!(refused.boot_file(), Some("/netboot-not-allowed"), "as smee answers it");
}

async fn proxy(mode: Mode, machines: Vec<BootInterface>) -> (Host, UdpSocket) {
    let edit = |config| Config { modes: Modes { networks: Vec::new(), otherwise: mode }, ..config };
    let host = Host::on(Arc::new(Fixed(machines)), edit).await;
    (host, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
}

async fn answer(client: &UdpSocket) -> Packet {
    let mut buffer = [0; 1500];
    let length = tokio::time::timeout(LIMIT, client.recv(&mut buffer)).await.expect("no answer in time").unwrap();
    Packet::decode(&buffer[..length]).unwrap()
}

#[tokio::test]
async fn a_proxy_answers_on_both_ports_and_is_silent_towards_strangers() {
    let (mut host, client) = proxy(Mode::Proxy, vec![machine(KNOWN)]).await;
    let mut stranger = captured(OVMF);
    stranger.set_mac(STRANGER.bytes());
    for (packet, to) in [(&stranger, host.dhcp), (&captured(OVMF_REQUEST), host.dhcp), (&captured(OVMF), host.dhcp)] {
        client.send_to(&packet.encode(), to).await.unwrap();
    }
    let offer = answer(&client).await;
    assert_eq!((offer.message_type(), offer.mac()), (Some(MessageType::Offer), Some(KNOWN.bytes())));
    client.send_to(&captured(OVMF_4011).encode(), host.pxe).await.unwrap();
    assert_eq!(answer(&client).await.message_type(), Some(MessageType::Ack));
    let offered =
        host.milestone(Milestone::Offered { address: Ipv4Addr::UNSPECIFIED.into(), boot_file: "ipxe.efi".to_owned() }).await;
    assert_eq!((offered.mac, offered.address), (Some(KNOWN), None));
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_machine_boots_with_auto_proxy() {
    let (host, client) = proxy(Mode::AutoProxy, Vec::new()).await;
    client.send_to(&captured(ROM).encode(), host.dhcp).await.unwrap();
    assert!(answer(&client).await.boot_file().unwrap().ends_with("/ipxe/script/02:00:00:00:00:01/auto.ipxe"));
    client.send_to(&Packet::request(MessageType::Discover, 1, STRANGER.bytes()).encode(), host.dhcp).await.unwrap();
    let none = tokio::time::timeout(Duration::from_millis(200), client.recv(&mut [0; 1500])).await;
    assert!(none.is_err(), "a client that wants an address gets none from a proxy");
    host.stop().await;
}

#[tokio::test]
async fn a_network_that_is_off_hears_nothing() {
    let (host, client) = proxy(Mode::Reservation, vec![machine(KNOWN)]).await;
    client.send_to(&captured(OVMF).encode(), host.dhcp).await.unwrap();
    answer(&client).await;
    host.stop().await;
    let networks = vec![boots::dhcp::Network { subnet: None, interface: Some("lo".to_owned()), mode: Mode::Off, address: None }];
    let edit = |config| Config { modes: Modes { networks, otherwise: Mode::Reservation }, ..config };
    let host = Host::on(Arc::new(Fixed(vec![machine(KNOWN)])), edit).await;
    client.send_to(&captured(OVMF).encode(), host.dhcp).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), client.recv(&mut [0; 1500])).await.is_err());
    host.stop().await;
}

/// Old UEFI takes another server's offer and asks only port 4011: boots has seen no DISCOVER of it.
#[tokio::test]
async fn firmware_that_asks_only_port_4011_gets_its_boot_file() {
    let (host, client) = proxy(Mode::Proxy, vec![machine(KNOWN)]).await;
    client.send_to(&captured(OVMF_4011).encode(), host.pxe).await.unwrap();
    let ack = answer(&client).await;
    assert_eq!((ack.message_type(), ack.boot_file()), (Some(MessageType::Ack), Some("ipxe.efi")));
    let mut stranger = captured(OVMF_4011);
    stranger.set_mac(STRANGER.bytes());
    client.send_to(&stranger.encode(), host.pxe).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), client.recv(&mut [0; 1500])).await.is_err(), "no machine of ours");
    host.stop().await;
}
