use std::net::IpAddr;
use std::sync::Arc;

use dhcp::v4::code;
use futures_util::future::BoxFuture;
use model::Hardware;

use super::*;
use crate::BootInterface;
use crate::dhcp::network::Subnet;
use crate::machine::{HardwareFuture, SourceFuture, with_addresses};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last])
}

/// One machine has this address reserved.
struct Reserved(Mac, Ipv4Addr);

impl MachineSource for Reserved {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let found = (address == self.1).then(|| BootInterface::unknown(self.0));
        Box::pin(async { Ok(found) })
    }

    fn hardware_with(&self, _: Mac) -> HardwareFuture<'_> {
        Box::pin(async { Err(SourceError::Other("asked for Hardware".into())) })
    }

    fn booted(&self, _: Mac, _: String) -> BoxFuture<'_, Result<bool, SourceError>> {
        Box::pin(async { Ok(true) })
    }
}

fn pool() -> Pool {
    Pool {
        subnet: Subnet::of(ip(0), 24),
        first: ip(10),
        last: ip(13),
        router: None,
        name_servers: Vec::new(),
        domain: None,
        lease_time: 3600,
    }
}

fn pools() -> Pools {
    Pools::in_memory()
}

fn request(mac: Mac, address: Ipv4Addr, is_selecting: bool) -> Packet {
    let mut packet = Packet::request(MessageType::Request, 1, mac.bytes());
    packet.options.set_ip(code::REQUESTED_IP, address);
    if is_selecting {
        packet.options.set_ip(code::SERVER_ID, SERVER);
    }
    packet
}

async fn decide(pools: &Pools, client: Mac, request: &Packet) -> Result<Verdict, NoLease> {
    pools.decide(&pool(), request, (client, true), &Reserved(mac(99), ip(12)), |address| address == ip(13)).await
}

/// The same for a machine without Hardware.
async fn decide_unknown(pools: &Pools, client: Mac, request: &Packet) -> Result<Verdict, NoLease> {
    pools.decide(&pool(), request, (client, false), &Reserved(mac(99), ip(12)), |address| address == ip(13)).await
}

#[tokio::test]
async fn an_unknown_machine_gets_only_what_it_was_offered() {
    let pools = pools();
    let renewing = |ciaddr| Packet { ciaddr, ..Packet::request(MessageType::Request, 1, mac(1).bytes()) };
    for (case, packet) in [("INIT-REBOOT", request(mac(1), ip(10), false)), ("it renews", renewing(ip(10)))] {
        assert!(matches!(decide_unknown(&pools, mac(1), &packet).await, Err(NoLease::NoRecord(_))), "{case}: silence");
    }
    let nak = Verdict::Nak("192.0.2.10 was not offered to this machine".to_owned());
    assert_eq!(decide_unknown(&pools, mac(1), &request(mac(1), ip(10), true)).await.unwrap(), nak);
    assert_eq!(pools.leases().active(&pool(), now()), 0, "nothing was taken");
    let discover = Packet::request(MessageType::Discover, 1, mac(1).bytes());
    let Ok(Verdict::Lease(address)) = decide_unknown(&pools, mac(1), &discover).await else { panic!("no offer") };
    for packet in [request(mac(1), address, true), renewing(address), request(mac(1), address, false)] {
        assert_eq!(decide_unknown(&pools, mac(1), &packet).await.unwrap(), Verdict::Lease(address));
    }
    // A client that was switched off for longer than its lease has a record.
    let released = pools.leases().release(&Who::of(mac(1), &discover), address, now());
    assert!(released.is_some());
    assert_eq!(decide_unknown(&pools, mac(1), &request(mac(1), address, false)).await.unwrap(), Verdict::Lease(address));
}

/// All addresses but the last are reserved.
struct AllBut(Ipv4Addr);

impl MachineSource for AllBut {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let found = (address != self.0).then(|| BootInterface::unknown(mac(99)));
        Box::pin(async { Ok(found) })
    }
}

#[tokio::test]
async fn one_discover_gets_past_any_number_of_reservations() {
    let large = Pool { subnet: Subnet::of(ip(0), 16), last: Ipv4Addr::new(192, 0, 9, 250), ..pool() };
    for free in [ip(10), ip(200), large.last] {
        let (pools, discover) = (pools(), Packet::request(MessageType::Discover, 1, mac(1).bytes()));
        let offered = pools.decide(&large, &discover, (mac(1), false), &AllBut(free), |_| false).await;
        assert_eq!(offered.unwrap(), Verdict::Lease(free));
    }
    let (pools, discover) = (pools(), Packet::request(MessageType::Discover, 1, mac(1).bytes()));
    let none = pools.decide(&large, &discover, (mac(1), false), &AllBut(SERVER), |_| false).await;
    assert!(matches!(none, Err(NoLease::Exhausted(..))), "all are reserved");
}

/// RFC 2131 section 4.3.2: SELECTING, INIT-REBOOT, RENEWING.
#[tokio::test]
async fn requests_get_their_lease_a_nak_or_silence() {
    let (pools, other) = (pools(), Ipv4Addr::new(10, 0, 0, 5));
    let renewing = |mac: Mac, ciaddr| Packet { ciaddr, ..Packet::request(MessageType::Request, 1, mac.bytes()) };
    let lease = |last| Some(Verdict::Lease(ip(last)));
    let nak = |text: &str| Some(Verdict::Nak(text.to_owned()));
    for (case, client, packet, expected) in [
        ("it takes an address", mac(1), request(mac(1), ip(10), true), lease(10)),
        ("INIT-REBOOT with its lease", mac(1), request(mac(1), ip(10), false), lease(10)),
        ("it renews", mac(1), renewing(mac(1), ip(10)), lease(10)),
        ("INIT-REBOOT with a lease of another", mac(2), request(mac(2), ip(10), false), nak("192.0.2.10 is of another client")),
        ("it takes what another has", mac(2), request(mac(2), ip(10), true), nak("192.0.2.10 is of another client")),
        (
            "INIT-REBOOT from another network",
            mac(2),
            request(mac(2), other, false),
            nak("10.0.0.5 is not of the network 192.0.2.0/24"),
        ),
        ("a lease that was lost, of an address that is free", mac(2), renewing(mac(2), ip(11)), lease(11)),
        ("a reserved address", mac(3), request(mac(3), ip(12), true), nak("192.0.2.12 is reserved for another machine")),
        ("the address of this host", mac(3), request(mac(3), ip(13), true), nak("192.0.2.13 is reserved for another machine")),
        ("outside the range, chosen here", mac(3), request(mac(3), ip(200), true), nak("192.0.2.200 is not of the range")),
        (
            "outside the range, but it has a lease",
            mac(1),
            request(mac(1), ip(200), false),
            nak("192.0.2.200 is not of the range"),
        ),
        ("outside the range: perhaps of another server", mac(3), request(mac(3), ip(200), false), None),
        ("it renews an address of another network", mac(3), renewing(mac(3), other), None),
        (
            "it asks for it through a relay",
            mac(3),
            Packet { giaddr: SERVER, ..renewing(mac(3), other) },
            nak("10.0.0.5 is not of the network 192.0.2.0/24"),
        ),
        ("no address", mac(3), Packet::request(MessageType::Request, 1, mac(3).bytes()), None),
    ] {
        assert_eq!(decide(&pools, client, &packet).await.ok(), expected, "{case}");
    }
    assert_eq!((pools.mac_at(ip(10)), pools.mac_at(ip(12))), (Some(mac(1)), None));
}

#[tokio::test]
async fn an_offer_leaves_out_what_is_reserved_and_ends_with_the_pool() {
    let pools = pools();
    for number in 1..=2 {
        let discover = Packet::request(MessageType::Discover, 1, mac(number).bytes());
        let Ok(Verdict::Lease(address)) = decide(&pools, mac(number), &discover).await else { panic!("no offer") };
        assert!([ip(10), ip(11)].contains(&address), "{address}");
        assert_eq!(decide(&pools, mac(number), &discover).await.unwrap(), Verdict::Lease(address), "the same again");
        let taken = decide(&pools, mac(number), &request(mac(number), address, true)).await.unwrap();
        assert_eq!(taken, Verdict::Lease(address));
    }
    let discover = Packet::request(MessageType::Discover, 1, mac(3).bytes());
    assert!(matches!(decide(&pools, mac(3), &discover).await, Err(NoLease::Exhausted(..))));
}

#[tokio::test]
async fn only_the_client_of_an_address_gives_it_back_or_declines_it() {
    let pools = pools();
    decide(&pools, mac(1), &request(mac(1), ip(10), true)).await.unwrap();
    let release = |mac: Mac| Packet { ciaddr: ip(10), ..Packet::request(MessageType::Release, 1, mac.bytes()) };
    assert_eq!(pools.give_back(&release(mac(2)), mac(2)).await, None);
    assert_eq!(pools.give_back(&release(mac(1)), mac(1)).await.unwrap(), "gave its address back: 192.0.2.10");
    assert_eq!(decide(&pools, mac(2), &request(mac(2), ip(10), true)).await.unwrap(), Verdict::Lease(ip(10)));
    let mut decline = Packet::request(MessageType::Decline, 1, mac(2).bytes());
    decline.options.set_ip(code::REQUESTED_IP, ip(10));
    assert_eq!(pools.give_back(&decline, mac(1)).await, None);
    assert!(pools.give_back(&decline, mac(2)).await.unwrap().starts_with("DECLINED its address"));
    assert!(matches!(decide(&pools, mac(2), &request(mac(2), ip(10), false)).await.unwrap(), Verdict::Nak(_)));
}

#[tokio::test]
async fn what_the_source_knows_reaches_it_through_the_leases() {
    let source = with_addresses(Arc::new(Reserved(mac(99), ip(12))), vec![Arc::new(pools())]);
    assert!(source.booted(mac(1), "Debian".to_owned()).await.unwrap());
    assert!(source.hardware_with(mac(1)).await.is_err(), "the source was not asked");
}

/// Who asks for metadata at an address of the pool is the machine that has the lease.
#[tokio::test]
async fn a_machine_with_a_lease_is_known_by_its_address() {
    let pools = Arc::new(pools());
    let source = with_addresses(Arc::new(Reserved(mac(99), ip(12))), vec![pools.clone()]);
    assert!(matches!(source.hardware_at(ip(10).into()).await, Ok(None)), "nobody has it");
    let discover = Packet::request(MessageType::Discover, 1, mac(1).bytes());
    let Ok(Verdict::Lease(address)) = decide(&pools, mac(1), &discover).await else { panic!("no offer") };
    assert!(matches!(source.hardware_at(address.into()).await, Ok(None)), "an offer is not a lease");
    decide(&pools, mac(1), &request(mac(1), address, true)).await.unwrap();
    let mapped = address.to_ipv6_mapped();
    for address in [IpAddr::V4(address), IpAddr::V6(mapped)] {
        let asked = source.hardware_at(address).await.unwrap_err();
        assert_eq!(asked.to_string(), "asked for Hardware", "by the MAC of the lease");
    }
    assert!(matches!(source.hardware_at(ip(50).into()).await, Ok(None)));
}

/// Every MAC is that of one Hardware.
struct Named(Arc<Hardware>);

impl MachineSource for Named {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn machine_at(&self, _: IpAddr) -> SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn hardware_with(&self, _: Mac) -> HardwareFuture<'_> {
        let hardware = Arc::clone(&self.0);
        Box::pin(async { Ok(Some(hardware)) })
    }
}

/// Anybody on the network of a pool can have the MAC of a machine that belongs to another network.
#[tokio::test]
async fn a_lease_shows_no_machine_that_has_an_address_of_its_own() {
    let pools = Arc::new(pools());
    let discover = Packet::request(MessageType::Discover, 1, mac(1).bytes());
    let Ok(Verdict::Lease(address)) = decide(&pools, mac(1), &discover).await else { panic!("no offer") };
    decide(&pools, mac(1), &request(mac(1), address, true)).await.unwrap();
    for (ip_of_hardware, is_shown) in [("", true), (", ip: {address: 10.9.0.1}", false)] {
        let text = format!(
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m}}\nspec:\n  interfaces: \
             [{{dhcp: {{mac: '02:00:00:00:00:01'{ip_of_hardware}}}}}]\n"
        );
        let Some(model::Object::Hardware(hardware)) = model::parse_documents(&text, "m.yaml").unwrap().pop() else {
            panic!("no Hardware")
        };
        let source = with_addresses(Arc::new(Named(Arc::from(hardware))), vec![pools.clone()]);
        let shown = source.hardware_at(address.into()).await.unwrap();
        assert_eq!(shown.is_some(), is_shown, "{ip_of_hardware}");
    }
}
