//! What DHCPv6 answers to whom. The packets of UEFI firmware are captured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv6Addr;
use std::path::Path;

use boots::dhcp6::{Facts, Grant, Ignored, Mode, Network, Networks, Place, Request, Subnet, grant, respond};
use boots::{BootInterface, BootState, Config, Reservation6};
use dhcp::v6::{self, Message, Options};
use model::{Mac, Object};
use support::{KNOWN, config, machine};

const DUID: &[u8] = &[0, 4, 7, 7, 7];
const CLIENT: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

fn six(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Where clients of this host reach it.
fn seen() -> Config {
    config().reached_at(six("fd00:77::1"))
}

fn reserved() -> BootInterface {
    let reservation = Reservation6 {
        address: six("fd00:77::20"),
        lease_time: Some(1000),
        domain_name: Some("lab.test".to_owned()),
        name_servers: vec![six("fd00::53")],
        time_servers: vec![six("fd00::123")],
    };
    BootInterface { reservation6: Some(reservation), ..machine(KNOWN) }
}

fn network(mode: Mode) -> Network {
    Network {
        subnet: "fd00:77::/64".parse().unwrap(),
        mode,
        name_servers: vec![six("fd00:77::53")],
        time_servers: Vec::new(),
        domain: None,
        lease_time: 600,
        advertised: None,
    }
}

fn packet(name: &str) -> Request {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/packets/{name}.hex"));
    let digits: Vec<char> = std::fs::read_to_string(path).unwrap().trim().chars().collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect();
    Request::decode(&bytes, six("fe80::ff:fe00:1")).unwrap()
}

fn asks(kind: u8, options: Options) -> Request {
    let message = Message { kind, transaction: [1, 2, 3], options: options.with(v6::CLIENT_ID, CLIENT) };
    Request { message, relays: Vec::new(), client: six("fe80::1") }
}

/// One association that names these addresses, with all that a client may ask for.
fn wants(addresses: &[&str]) -> Options {
    let addresses = addresses.iter().fold(Options::default(), |options, address| {
        options.with(v6::IA_ADDRESS, [&six(address).octets()[..], &[0; 8]].concat())
    });
    let asked: Vec<u8> = [23_u16, 24, 31, 56, 59].iter().flat_map(|code| code.to_be_bytes()).collect();
    Options::default().with(v6::IA_NA, [&[0, 0, 0, 9], &[0; 8][..], &addresses.encode()].concat()).with(v6::OPTION_REQUEST, asked)
}

fn answer(request: &Request, machine: Option<&BootInterface>, networks: &[&Network]) -> Result<Message, Ignored> {
    let seen = seen();
    let on_link = [Subnet::of(six("fd00:77::"), 64)];
    let granted = grant(&seen, &Place { networks, on_link: &on_link }, machine, request, |_| false);
    let facts =
        Facts { config: &seen, duid: DUID, grant: granted.as_ref().map_err(|ignored| *ignored), machine, on_link: &on_link };
    respond(&facts, request)
}

fn url(message: &Message) -> Option<&str> {
    message.options.get(v6::BOOT_FILE_URL).map(|url| std::str::from_utf8(url).unwrap())
}

/// The address with its seconds, and the status of the association.
fn leased(message: &Message, id: u32) -> (Vec<(String, u32)>, u16) {
    let association = message.options.association(id).unwrap();
    (association.addresses.iter().map(|given| (given.address.to_string(), given.valid)).collect(), association.status)
}

#[test]
fn a_machine_is_known_by_its_relay_its_address_or_its_identifier() {
    let by_duid = asks(v6::SOLICIT, Options::default());
    assert_eq!(by_duid.mac(), Some(KNOWN));
    let by_address = Request { client: six("fe80::5054:ff:fe77:5"), ..by_duid.clone() };
    assert_eq!(by_address.mac(), Some(Mac::new([0x52, 0x54, 0, 0x77, 0, 5])), "the card that asks, whatever the identifier says");
    let seen_by_relay = Options::default().with(v6::CLIENT_LINK_LAYER, [0, 1, 2, 0, 0, 0, 0, 0x42]);
    let relay = v6::Relay { hops: 0, link: six("fd00:78::1"), peer: six("fe80::5054:ff:fe77:5"), options: seen_by_relay };
    let by_relay = Request { relays: vec![relay], ..by_address };
    assert_eq!((by_relay.mac(), by_relay.link()), (Some(Mac::new([2, 0, 0, 0, 0, 0x42])), Some(six("fd00:78::1"))));
    let of_firmware = packet("ovmf-http6-solicit");
    assert_eq!(of_firmware.mac(), Some(KNOWN), "its identifier is a UUID");
    let nameless = Request { client: six("fe80::1"), ..of_firmware };
    assert_eq!(nameless.mac(), None);
}

#[test]
fn firmware_gets_its_program_and_ipxe_its_script() {
    let ipxe = wants(&[]).with(v6::USER_CLASS, *b"\0\x04iPXE").with(v6::CLIENT_ARCH, [0, 7]);
    let class = [&[0, 0, 1, 0x57, 0, 9], &b"PXEClient"[..]].concat();
    let ipxe = asks(v6::SOLICIT, ipxe.with(v6::VENDOR_CLASS, class));
    let http = packet("ovmf-http6-solicit");
    let pxe = packet("ovmf-pxe6-solicit");
    let of_class = |class: &str, arch: u8, mac: [u8; 6]| {
        let identifier = [&[0, 3, 0, 1][..], &mac].concat();
        let named = [&[0, 0, 0, 0, 0, u8::try_from(class.len()).unwrap()], class.as_bytes()].concat();
        let options = wants(&[]).with(v6::CLIENT_ARCH, [0, arch]).with(v6::VENDOR_CLASS, named).with(v6::CLIENT_ID, identifier);
        Request {
            message: Message { kind: v6::SOLICIT, transaction: [1, 2, 3], options },
            relays: Vec::new(),
            client: six("fe80::1"),
        }
    };
    let u_boot = of_class("U-Boot.armv8", 22, KNOWN.bytes());
    let raspberry = of_class("PXEClient:Arch:00000:UNDI:002001", 0, [0xdc, 0xa6, 0x32, 0, 0, 1]);
    let local = BootInterface { boot: BootState::Local { reason: "installed".to_owned() }, ..reserved() };
    let forbidden = BootInterface { netboot_allowed: false, ..reserved() };
    let mut uki = reserved();
    uki.ipxe.binary = Some("thimble.efi".to_owned());
    for (case, request, machine, expected) in [
        ("HTTP boot", &http, &reserved(), Some("http://[fd00:77::1]:7080/ipxe/binary/02:00:00:00:00:01/ipxe.efi")),
        ("PXE", &pxe, &reserved(), Some("tftp://[fd00:77::1]/02:00:00:00:00:01/ipxe.efi")),
        ("a program of its own", &http, &uki, Some("http://[fd00:77::1]:7080/ipxe/binary/02:00:00:00:00:01/thimble.efi")),
        (
            "to the disk by HTTP",
            &http,
            &local,
            Some("http://[fd00:77::1]:7080/ipxe/binary/02:00:00:00:00:01/boot-the-local-disk.efi"),
        ),
        ("to the disk by PXE", &pxe, &local, Some("tftp://[fd00:77::1]/02:00:00:00:00:01/boot-the-local-disk.efi")),
        ("U-Boot", &u_boot, &reserved(), Some("tftp://[fd00:77::1]/02:00:00:00:00:01/boot.scr.uimg")),
        ("U-Boot to the disk", &u_boot, &local, None),
        ("Raspberry Pi", &raspberry, &reserved(), Some("tftp://[fd00:77::1]/")),
        ("no network boot", &pxe, &forbidden, Some("tftp://[fd00:77::1]/02:00:00:00:00:01/netboot-not-allowed")),
        ("iPXE", &ipxe, &reserved(), Some("http://[fd00:77::1]:7080/ipxe/script/02:00:00:00:00:01/auto.ipxe")),
        ("an operating system", &asks(v6::SOLICIT, wants(&[])), &reserved(), None),
        ("the address configuration of firmware", &packet("ovmf-pxe6-solicit-address-only"), &reserved(), None),
    ] {
        let offer = answer(request, Some(machine), &[]).unwrap();
        assert_eq!(url(&offer), expected, "{case}");
        assert_eq!(offer.kind, v6::ADVERTISE, "{case}");
        let class = offer.options.get(v6::VENDOR_CLASS).map(|class| class.ends_with(b"HTTPClient"));
        assert_eq!(class, (request == &http).then_some(true), "{case}: firmware takes no URL without its class");
        assert_eq!(offer.options.get(60), None, "{case}: EDK2 reads parameters as the size of the file");
    }
}

#[test]
fn a_reservation_says_what_the_hardware_says() {
    let offer = answer(&asks(v6::SOLICIT, wants(&[])), Some(&reserved()), &[]).unwrap();
    assert_eq!(leased(&offer, 9), (vec![("fd00:77::20".to_owned(), 1000)], 0));
    let association = offer.options.association(9).unwrap();
    assert_eq!((association.renew, association.rebind), (500, 800));
    assert_eq!(offer.options.get(v6::PREFERENCE), Some(&[255][..]));
    assert_eq!((offer.options.get(v6::SERVER_ID), offer.options.get(v6::CLIENT_ID)), (Some(DUID), Some(CLIENT)));
    assert_eq!(offer.options.addresses(v6::DNS_SERVERS), [six("fd00::53")]);
    assert_eq!(dhcp::domain_names(offer.options.get(v6::DOMAIN_LIST).unwrap()), ["lab.test"]);
    assert_eq!(offer.options.time_servers(), [six("fd00::123"); 2], "as NTP and as SNTP servers");
}

#[test]
fn each_message_has_its_answer() {
    let ours = |options: Options| options.with(v6::SERVER_ID, DUID);
    let others = |options: Options| options.with(v6::SERVER_ID, [0, 9]);
    let own = "fd00:77::20";
    for (case, request, kind, addresses, status) in [
        ("a REQUEST", asks(v6::REQUEST, ours(wants(&[own]))), v6::REPLY, vec![(own, 1000)], 0),
        ("a REQUEST for another address", asks(v6::REQUEST, ours(wants(&["fd00:77::99"]))), v6::REPLY, vec![(own, 1000)], 0),
        ("a rapid commit", asks(v6::SOLICIT, wants(&[]).with(v6::RAPID_COMMIT, [])), v6::REPLY, vec![(own, 1000)], 0),
        ("a RENEW", asks(v6::RENEW, ours(wants(&[own]))), v6::REPLY, vec![(own, 1000)], 0),
        ("a REBIND", asks(v6::REBIND, wants(&[own])), v6::REPLY, vec![(own, 1000)], 0),
    ] {
        let reply = answer(&request, Some(&reserved()), &[]).unwrap();
        let addresses: Vec<(String, u32)> =
            addresses.iter().map(|(address, seconds)| ((*address).to_owned(), *seconds)).collect();
        assert_eq!((reply.kind, leased(&reply, 9)), (kind, (addresses, status)), "{case}");
        assert_eq!(reply.options.get(v6::RAPID_COMMIT).is_some(), case == "a rapid commit");
    }
    for (case, request, expected) in [
        ("a REQUEST to another server", asks(v6::REQUEST, others(wants(&[]))), Ignored::OtherServer),
        ("a RELEASE to another server", asks(v6::RELEASE, others(wants(&[own]))), Ignored::OtherServer),
        ("a SOLICIT that names a server", asks(v6::SOLICIT, ours(wants(&[]))), Ignored::NamesServer),
        ("a SOLICIT for a prefix only", asks(v6::SOLICIT, Options::default()), Ignored::NoAssociation),
        ("a REBIND of a foreign address", asks(v6::REBIND, wants(&["fd00:99::1"])), Ignored::NotOurs),
        ("a CONFIRM of nothing", asks(v6::CONFIRM, wants(&[])), Ignored::NotOurs),
        ("an answer", asks(v6::REPLY, ours(wants(&[own]))), Ignored::NotARequest),
    ] {
        assert_eq!(answer(&request, Some(&reserved()), &[]), Err(expected), "{case}");
    }
    for (address, status) in [(own, 0), ("fd00:99::1", v6::NOT_ON_LINK)] {
        let reply = answer(&asks(v6::CONFIRM, wants(&[address])), Some(&reserved()), &[]).unwrap();
        assert_eq!((reply.kind, reply.options.status()), (v6::REPLY, status), "{address}");
    }
    let nameless = Request {
        message: Message { options: wants(&[]), ..asks(v6::SOLICIT, wants(&[])).message },
        ..packet("ovmf-http6-solicit")
    };
    assert_eq!(answer(&nameless, Some(&reserved()), &[]), Err(Ignored::NoIdentifier));
}

/// EDK2 hangs for half a minute without it.
#[test]
fn a_release_gets_a_reply_even_from_a_machine_that_is_not_known_any_more() {
    for (case, machine) in [("known", Some(reserved())), ("unknown", None)] {
        let mut release = packet("ovmf-http6-release");
        release.message.options.0.retain(|(kind, _)| *kind != v6::SERVER_ID);
        release.message.options = release.message.options.with(v6::SERVER_ID, DUID);
        let reply = answer(&release, machine.as_ref(), &[]).unwrap();
        assert_eq!((reply.kind, reply.options.status()), (v6::REPLY, 0), "{case}");
    }
}

#[test]
fn old_addresses_of_a_machine_end_when_it_renews_them() {
    let renewal = wants(&["fd00:77::99", "fd00:77::20"]).with(v6::SERVER_ID, DUID);
    let reply = answer(&asks(v6::RENEW, renewal), Some(&reserved()), &[]).unwrap();
    let bytes = reply.options.get(v6::IA_NA).unwrap();
    let old = [&six("fd00:77::99").octets()[..], &[0; 8]].concat();
    assert!(bytes.windows(24).any(|window| window == old), "the old address with no time left");
    let gone = answer(&asks(v6::RENEW, wants(&["fd00:77::99"]).with(v6::SERVER_ID, DUID)), None, &[]).unwrap();
    assert_eq!(leased(&gone, 9), (vec![], v6::NO_BINDING), "its Hardware is gone");
}

#[test]
fn a_machine_has_one_address() {
    let second = Options::default().with(v6::IA_NA, [&[0, 0, 0, 8], &[0; 8][..]].concat());
    let both = Options([second.0, wants(&[]).0].concat());
    let offer = answer(&asks(v6::SOLICIT, both), Some(&reserved()), &[]).unwrap();
    assert_eq!(leased(&offer, 8).0.len(), 1);
    assert_eq!(leased(&offer, 9), (vec![], v6::NO_ADDRESSES));
}

#[test]
fn each_mode_answers_whom_it_says() {
    let info = asks(v6::INFORMATION_REQUEST, wants(&[]));
    let solicit = asks(v6::SOLICIT, wants(&[]));
    let four = machine(KNOWN);
    let disabled = BootInterface { dhcp_disabled: true, ..machine(KNOWN) };
    let mut elsewhere = reserved();
    elsewhere.reservation6.as_mut().unwrap().address = six("fd00:99::20");
    let made = "fd00:77::ff:fe00:1";
    let networks = [Mode::Reservation, Mode::Stateless, Mode::Pool, Mode::Off].map(network);
    let [reservation, stateless, pool, off] = networks.each_ref();
    type Answered<'a> = Result<Option<&'a str>, Ignored>;
    type Row<'a> = (&'a str, &'a Request, Option<&'a BootInterface>, Option<&'a Network>, Answered<'a>);
    let rows: &[Row] = &[
        ("no settings, unknown", &solicit, None, None, Err(Ignored::Unknown)),
        ("no settings, no IPv6 address", &solicit, Some(&four), None, Err(Ignored::NoReservation)),
        ("no settings, information only", &info, None, None, Err(Ignored::Unknown)),
        ("no settings, a reservation", &info, Some(&reserved()), None, Ok(None)),
        ("reservation, unknown", &solicit, None, Some(reservation), Err(Ignored::Unknown)),
        ("stateless, no address", &solicit, Some(&four), Some(stateless), Err(Ignored::Stateless)),
        ("stateless, information", &info, None, Some(stateless), Ok(None)),
        ("stateless, a reservation", &solicit, Some(&reserved()), Some(stateless), Ok(Some("fd00:77::20"))),
        ("pool, unknown", &solicit, None, Some(pool), Ok(Some(made))),
        ("pool, known", &solicit, Some(&four), Some(pool), Ok(Some(made))),
        ("pool, a reservation", &solicit, Some(&reserved()), Some(pool), Ok(Some("fd00:77::20"))),
        ("pool, a reservation of another network", &solicit, Some(&elsewhere), Some(pool), Ok(Some(made))),
        ("stateless, the same", &solicit, Some(&elsewhere), Some(stateless), Err(Ignored::Stateless)),
        ("reservation, the same", &solicit, Some(&elsewhere), Some(reservation), Ok(Some("fd00:99::20"))),
        ("pool, disabled", &solicit, Some(&disabled), Some(pool), Err(Ignored::Disabled)),
        ("off", &solicit, Some(&four), Some(off), Err(Ignored::Off)),
    ];
    for (case, request, machine, network, expected) in rows {
        let networks: Vec<&Network> = network.iter().copied().collect();
        let found = answer(request, *machine, &networks);
        let address = |message: &Message| message.options.association(9).map(|given| given.addresses[0].address.to_string());
        let expected = expected.map(|address| address.map(str::to_owned));
        assert_eq!(found.as_ref().map(address).map_err(|ignored| *ignored), expected, "{case}");
    }
    let reply = answer(&info, None, &[stateless]).unwrap();
    assert_eq!(reply.options.addresses(v6::DNS_SERVERS), [six("fd00:77::53")]);
    assert_eq!(reply.options.seconds(v6::INFORMATION_REFRESH), Some(600));
}

#[test]
fn an_address_of_a_pool_stays_the_same_and_avoids_other_hosts() {
    let pool = network(Mode::Pool);
    let of = |request: &Request, used: &[Ipv6Addr]| -> Option<Ipv6Addr> {
        let found: Result<Grant, Ignored> =
            grant(&config(), &Place { networks: &[&pool], on_link: &[] }, None, request, |address| used.contains(&address));
        found.ok().and_then(|grant| grant.address)
    };
    let mut uuid = packet("ovmf-pxe6-solicit");
    uuid.client = six("fe80::1");
    let first = of(&uuid, &[]).unwrap();
    assert!(pool.subnet.contains(first) && of(&uuid, &[]) == Some(first), "{first}");
    assert_eq!(v6::eui64_mac(first), None, "it does not look like that of a MAC");
    let second = of(&uuid, &[first]).unwrap();
    assert!(second != first && pool.subnet.contains(second));
    let known = asks(v6::SOLICIT, wants(&[]));
    let made = of(&known, &[]).unwrap();
    assert_eq!(v6::eui64_mac(made), Some(KNOWN.bytes()));
    assert_ne!(of(&known, &[made]), Some(made));
}

#[test]
fn an_interface_has_an_ipv4_and_an_ipv6_entry_with_the_same_mac() {
    let yaml = "
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1}
spec:
  interfaces:
    - dhcp: {mac: '02:00:00:00:00:01', ip: {address: 'fd00:77::20', netmask: 'ffff:ffff:ffff:ffff::', family: 6}}
    - dhcp: {mac: '02:00:00:00:00:01', hostname: m1, ip: {address: 10.0.0.9, netmask: 255.255.255.0}}
      netboot: {allowPXE: true}
";
    let objects = model::parse_documents(yaml, "lab.yaml").unwrap();
    let Some(Object::Hardware(hardware)) = objects.first() else { panic!("no Hardware") };
    let boot = || BootState::Install { workflow: None };
    let machine = BootInterface::from_hardware(hardware, KNOWN, boot()).unwrap();
    assert_eq!(machine.reservation6.as_ref().map(|own| own.address), Some(six("fd00:77::20")));
    assert_eq!(machine.reservation.as_ref().map(|own| own.address.to_string()).as_deref(), Some("10.0.0.9"));
    assert!(machine.netboot_allowed);
    assert_eq!(hardware.spec.macs().count(), 1);
    let at = BootInterface::from_hardware_at(hardware, six("fd00:77::20").into(), boot());
    assert_eq!(at, Some(machine));
}

#[test]
fn urls_and_arguments_have_the_address_that_the_machine_uses() {
    let mut config = Config { http_port: 8080, ..config() };
    config.arguments.grpc_authority = Some("10.0.0.1:42113".to_owned());
    config.arguments.syslog_host = Some("10.0.0.1".to_owned());
    config.arguments.insecure_registries = vec!["10.0.0.1:8080".to_owned(), "10.0.0.10:1".to_owned()];
    let seen = config.reached_at(six("fd00::1"));
    assert_eq!(seen.http_url("x"), "http://[fd00::1]:8080/x");
    assert_eq!(seen.arguments.grpc_authority.as_deref(), Some("[fd00::1]:42113"));
    assert_eq!(seen.arguments.syslog_host.as_deref(), Some("fd00::1"));
    assert_eq!(seen.arguments.insecure_registries, ["10.0.0.1:8080", "10.0.0.10:1", "[fd00::1]:8080"]);
    let named = Config {
        arguments: cmdline::Arguments { grpc_authority: Some("prov.example:1".to_owned()), ..Default::default() },
        ..config
    };
    assert_eq!(named.reached_at(six("fd00::1")).arguments.grpc_authority.as_deref(), Some("prov.example:1"), "a name stays");
    let only_six = Config { address: [0; 4].into(), address6: Some(six("fd00::9")), ..named };
    assert_eq!(only_six.http_url("x"), "http://[fd00::9]:8080/x");
}

#[test]
fn networks_are_those_of_the_link_or_of_the_relay() {
    let own = six("fd00:77::1");
    let link = boots::dhcp6::Link { addresses: vec![(own, Subnet::of(own, 64))], ..Default::default() };
    let networks = Networks { listed: vec![network(Mode::Pool)], only_listed: false };
    for (relay, count) in
        [(None, 1), (Some(six("fd00:77::fe")), 1), (Some(six("fd00:78::fe")), 0), (Some(Ipv6Addr::UNSPECIFIED), 0)]
    {
        assert_eq!(networks.on(&link, relay).count(), count, "{relay:?}");
    }
}
