use dhcp::v4::{MessageType, code};

use super::*;
use crate::dhcp::network::Subnet;

const NOW: u64 = 1_800_000_000;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn pool(first: u8, last: u8) -> Pool {
    Pool {
        subnet: Subnet::of(ip(0), 24),
        first: ip(first),
        last: ip(last),
        router: None,
        name_servers: Vec::new(),
        domain: None,
        lease_time: 3600,
    }
}

fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac::new([2, 0, a, b, c, d])
}

fn who(number: u32) -> Who {
    Who { mac: mac(number), id: None }
}

fn with_id(number: u32, id: &[u8]) -> Who {
    let mut packet = Packet::request(MessageType::Discover, 1, mac(number).bytes());
    packet.options.set(code::CLIENT_ID, id);
    Who::of(mac(number), &packet)
}

/// DISCOVER, OFFER, REQUEST, ACK.
fn lease(leases: &mut Leases, pool: &Pool, who: &Who, now: u64) -> Option<Ipv4Addr> {
    let address = leases.candidate(pool, who, None, now)?.address;
    leases.hold(who, address, now);
    leases.check(pool, who, address, now).ok()?;
    leases.bind(pool, who, address, now);
    Some(address)
}

#[test]
fn a_machine_has_one_address_in_firmware_ipxe_and_its_system() {
    let (mut leases, pool) = (Leases::default(), pool(10, 200));
    let firmware = lease(&mut leases, &pool, &who(1), NOW).unwrap();
    let ipxe = lease(&mut leases, &pool, &with_id(1, &[1, 2, 0, 0, 0, 0, 1]), NOW + 5).unwrap();
    let system = lease(&mut leases, &pool, &with_id(1, b"\xff0000"), NOW + 60).unwrap();
    assert_eq!((firmware, firmware), (ipxe, system));
    assert_eq!(lease(&mut leases, &pool, &who(1), NOW + 90), Some(firmware), "it boots again");
    let container = lease(&mut leases, &pool, &with_id(1, b"\xff0001"), NOW + 90).unwrap();
    assert_ne!(container, firmware, "another client behind the same MAC");
    assert_eq!(lease(&mut leases, &pool, &with_id(1, b"\xff0000"), NOW + 99), Some(firmware));
    let clone = lease(&mut leases, &pool, &with_id(2, b"\xff0000"), NOW).unwrap();
    assert!(clone != firmware && clone != container, "a copy of the system, with its client identifier, on another machine");
}

#[test]
fn an_expired_lease_returns_to_its_client_and_then_serves_others() {
    let (mut leases, pool) = (Leases::default(), pool(10, 11));
    let first = lease(&mut leases, &pool, &who(1), NOW).unwrap();
    let second = lease(&mut leases, &pool, &who(2), NOW + 10).unwrap();
    assert_eq!(lease(&mut leases, &pool, &who(3), NOW + 20), None, "all are leased");
    assert_eq!(leases.active(&pool, NOW + 20), 2);
    assert_eq!(lease(&mut leases, &pool, &who(2), NOW + 30), Some(second), "a renewal needs no free address");
    assert_eq!(lease(&mut leases, &pool, &who(3), NOW + 3600), Some(first), "the one that ended first");
    assert_eq!(lease(&mut leases, &pool, &who(1), NOW + 3601), None);
    assert!(leases.release(&who(1), second, NOW + 3601).is_none(), "it is not its own");
    assert!(leases.release(&who(2), second, NOW + 3601).is_some());
    assert_eq!(lease(&mut leases, &pool, &who(1), NOW + 3602), Some(second));
}

#[test]
fn requests_are_checked_against_leases_and_not_against_offers() {
    let (mut leases, pool) = (Leases::default(), Pool { router: Some(ip(12)), ..pool(10, 20) });
    leases.hold(&who(1), ip(10), NOW);
    assert_eq!(leases.check(&pool, &who(1), ip(10), NOW), Ok(false), "as offered");
    assert_eq!(leases.check(&pool, &who(2), ip(10), NOW), Ok(true), "an offer is not a lease");
    leases.bind(&pool, &who(1), ip(10), NOW);
    for (case, client, address, answer) in [
        ("its own", who(1), ip(10), Ok(false)),
        ("of another client", who(2), ip(10), Err(Denied::Taken(ip(10)))),
        ("free", who(2), ip(11), Ok(true)),
        ("the router's", who(2), ip(12), Err(Denied::Taken(ip(12)))),
        ("outside", who(2), ip(21), Err(Denied::Outside(ip(21)))),
    ] {
        assert_eq!(leases.check(&pool, &client, address, NOW + 1), answer, "{case}");
    }
    assert_eq!(leases.check(&pool, &who(2), ip(10), NOW + 3600), Ok(true), "it has expired");
}

#[test]
fn an_address_that_another_host_uses_is_left_alone() {
    let (mut leases, pool) = (Leases::default(), pool(10, 11));
    let address = lease(&mut leases, &pool, &who(1), NOW).unwrap();
    assert!(leases.decline(&who(2), address, NOW).is_none(), "only the client that has it can decline it");
    assert_eq!(leases.decline(&who(1), address, NOW).unwrap().state, State::Declined);
    let other = lease(&mut leases, &pool, &who(1), NOW + 1).unwrap();
    assert_ne!(address, other);
    assert_eq!(lease(&mut leases, &pool, &who(2), NOW + 1), None);
    assert_eq!(lease(&mut leases, &pool, &who(2), NOW + ASIDE), Some(address), "later it is tried again");
    leases.set_aside(other, NOW + 100_000);
    assert_eq!(lease(&mut leases, &pool, &who(1), NOW + 4300), Some(address), "even its own, which a reservation now has");
}

#[test]
fn a_client_that_moves_gives_its_old_address_back() {
    let (mut leases, pool) = (Leases::default(), pool(10, 20));
    leases.bind(&pool, &who(1), ip(10), NOW);
    let changed = leases.bind(&pool, &who(1), ip(15), NOW + 5);
    let states: Vec<_> = changed.iter().map(|lease| (lease.address, lease.state)).collect();
    assert_eq!(states, [(ip(10), State::Released), (ip(15), State::Bound)]);
    assert_eq!(leases.active(&pool, NOW + 5), 1);
    assert_eq!(leases.candidate(&pool, &who(2), Some(ip(10)), NOW + 6), Some(Candidate { address: ip(10), is_new: true }));
}

/// Offers to invented MACs cost no memory, and do not stop a client that goes on to a REQUEST.
#[test]
fn a_flood_of_spoofed_discovers_uses_nothing_up() {
    let (mut leases, pool) = (Leases::default(), pool(10, 109));
    let honest = who(7);
    let offered = leases.candidate(&pool, &honest, None, NOW).unwrap().address;
    leases.hold(&honest, offered, NOW);
    for number in 0..10_000 {
        let spoofed = who(1_000 + number);
        let address = leases.candidate(&pool, &spoofed, None, NOW + 1).expect("an offer is not a lease").address;
        leases.hold(&spoofed, address, NOW + 1);
    }
    assert!(leases.holds.len() <= HOLDS && leases.by_address.is_empty() && leases.by_mac.is_empty());
    assert!(leases.check(&pool, &honest, offered, NOW + 4).is_ok(), "it takes the offer, although it is held for another");
    assert!(leases.has_record(&honest, offered) && !leases.has_record(&who(999_999), offered));
    for number in 0..OFFERS {
        leases.hold(&who(100_000 + u32::try_from(number).unwrap()), offered, NOW + 1);
    }
    assert!(!leases.has_record(&honest, offered), "offers cost no more memory than so many");
    assert_eq!((leases.offers.known.len(), leases.offers.order.len()), (OFFERS, OFFERS));
    leases.bind(&pool, &honest, offered, NOW + 4);
    assert_eq!(lease(&mut leases, &pool, &who(8), NOW + 4).map(|address| pool.contains(address)), Some(true));
}

#[test]
fn a_full_pool_of_the_longest_range_is_not_searched_for_each_request() {
    let mut leases = Leases::default();
    let pool = Pool {
        subnet: Subnet::of(Ipv4Addr::new(10, 0, 0, 0), 8),
        first: [10, 0, 0, 1].into(),
        last: [10, 0, 255, 255].into(),
        ..pool(1, 1)
    };
    for place in 0..pool.len() {
        leases.bind(&pool, &who(place), pool.at(place), NOW);
    }
    assert_eq!(leases.active(&pool, NOW), 65_535);
    for number in 0..20_000 {
        assert_eq!(leases.candidate(&pool, &who(1_000_000 + number), None, NOW), None);
    }
    assert_eq!(leases.candidate(&pool, &who(5), None, NOW).map(|found| found.address), Some(pool.at(5)));
}

#[test]
fn a_pool_whose_addresses_all_had_a_lease_is_not_searched_for_each_request() {
    let mut leases = Leases::default();
    let pool = Pool {
        subnet: Subnet::of(Ipv4Addr::new(10, 0, 0, 0), 8),
        first: [10, 0, 0, 1].into(),
        last: [10, 0, 255, 255].into(),
        ..pool(1, 1)
    };
    for place in 0..pool.len() {
        leases.bind(&pool, &who(place), pool.at(place), NOW + u64::from(place));
    }
    let (later, started) = (NOW + 1_000_000, std::time::Instant::now());
    for number in 0..20_000 {
        let address = lease(&mut leases, &pool, &who(1_000_000 + number), later);
        assert_eq!(address, Some(pool.at(number)), "the one that ended first");
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    assert_eq!(leases.active(&pool, later), 20_000);
}

#[test]
fn what_is_held_or_set_aside_comes_last_or_never() {
    let (mut leases, pool) = (Leases::default(), pool(10, 13));
    leases.bind(&pool, &who(1), ip(10), NOW - 9000);
    leases.bind(&pool, &who(2), ip(11), NOW - 8000);
    leases.set_aside(ip(10), NOW + 60);
    leases.hold(&who(3), ip(12), NOW);
    let next = |leases: &mut Leases, now| leases.candidate(&pool, &who(9), None, now).map(|found| found.address);
    assert_eq!(next(&mut leases, NOW), Some(ip(13)), "no client had it");
    leases.bind(&pool, &who(4), ip(13), NOW);
    assert_eq!(next(&mut leases, NOW), Some(ip(11)), "its lease has ended");
    leases.bind(&pool, &who(5), ip(11), NOW);
    assert_eq!(next(&mut leases, NOW), Some(ip(12)), "it is offered to another client");
    leases.bind(&pool, &who(3), ip(12), NOW);
    assert_eq!(next(&mut leases, NOW), None);
    assert_eq!(next(&mut leases, NOW + 60), Some(ip(10)), "it is no longer set aside");
}
