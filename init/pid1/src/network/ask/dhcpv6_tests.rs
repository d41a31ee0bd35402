use super::*;
use dhcp::v6::Address;

const HOST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x50);
const DNS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn client(mode: Mode, now: Instant) -> Client {
    Client::new(mode, MAC, Random::Fixed(1), now)
}

/// The message that the client sends when it is due.
fn sends(client: &mut Client) -> (Message, Instant) {
    let at = client.due();
    (Message::decode(&client.tick(at).unwrap()).unwrap(), at)
}

fn answer(to: &Message, kind: u8, preference: u8, addresses: &[(u32, u32)]) -> Vec<u8> {
    let address = |(preferred, valid): &(u32, u32)| Address { address: HOST, preferred: *preferred, valid: *valid };
    let association = Association { id: 7, renew: 0, rebind: 0, addresses: addresses.iter().map(address).collect(), status: 0 };
    let mut options = Options::default()
        .with(v6::CLIENT_ID, to.options.get(v6::CLIENT_ID).unwrap())
        .with(v6::SERVER_ID, [9, preference])
        .with(v6::PREFERENCE, [preference])
        .with(v6::DNS_SERVERS, DNS.octets())
        .with(v6::DOMAIN_LIST, *b"\x03lab\0");
    if !addresses.is_empty() {
        options = options.with(v6::IA_NA, association.encode());
    }
    Message { kind, transaction: to.transaction, options }.encode()
}

#[test]
fn an_address_is_solicited_requested_kept_and_dropped() {
    let mut client = client(Mode::Stateful, Instant::now());
    let (solicit, now) = sends(&mut client);
    assert_eq!((solicit.kind, solicit.options.association(7).unwrap().addresses.len()), (v6::SOLICIT, 0));
    for preference in [1, 5, 3] {
        assert!(!client.receive(&answer(&solicit, v6::ADVERTISE, preference, &[(1000, 2000)]), now));
    }
    assert!(client.tick(now).is_none(), "other servers may still offer");
    let (request, now) = sends(&mut client);
    assert_eq!((request.kind, request.options.get(v6::SERVER_ID)), (v6::REQUEST, Some(&[9, 5][..])));
    assert!(client.receive(&answer(&request, v6::REPLY, 5, &[(1000, 2000)]), now));
    let granted = client.granted().unwrap();
    assert_eq!(
        (granted.address, granted.dns.as_slice(), granted.search.as_slice()),
        (Some(HOST), &[DNS][..], &["lab".into()][..])
    );

    let (renew, at) = sends(&mut client);
    assert_eq!((renew.kind, at - now), (v6::RENEW, Duration::from_secs(500)));
    let mut last = renew;
    while client.granted().is_some() {
        let (message, at) = sends(&mut client);
        assert!(at <= now + Duration::from_secs(2000));
        last = message;
    }
    assert_eq!(last.kind, v6::SOLICIT, "after a failed rebinding it starts again");
}

#[test]
fn a_renewal_counts_from_its_reply() {
    let mut client = client(Mode::Stateful, Instant::now());
    let (solicit, now) = sends(&mut client);
    client.receive(&answer(&solicit, v6::ADVERTISE, 255, &[(1000, 2000)]), now);
    let (request, at) = sends(&mut client);
    assert_eq!(at, now, "no offer is better than one of the highest preference");
    client.receive(&answer(&request, v6::REPLY, 255, &[(1000, 2000)]), now);
    let (renew, now) = sends(&mut client);
    assert!(client.receive(&answer(&renew, v6::REPLY, 255, &[(1000, 2000)]), now));
    assert_eq!(client.due() - now, Duration::from_secs(500));
}

#[test]
fn names_alone_are_asked_for_and_refreshed() {
    let mut client = client(Mode::Stateless, Instant::now());
    let (request, now) = sends(&mut client);
    assert_eq!((request.kind, request.options.get(v6::IA_NA)), (v6::INFORMATION_REQUEST, None));
    assert!(client.receive(&answer(&request, v6::REPLY, 0, &[]), now));
    let granted = client.granted().unwrap();
    assert_eq!((granted.address, granted.dns.as_slice()), (None, &[DNS][..]));
    assert_eq!(client.due() - now, REFRESH);
    assert_eq!(sends(&mut client).0.kind, v6::INFORMATION_REQUEST);
}

#[test]
fn a_silent_server_is_asked_at_growing_intervals() {
    let mut client = client(Mode::Stateful, Instant::now());
    let (_, mut last) = sends(&mut client);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let (_, at) = sends(&mut client);
        pauses.push(at - last);
        last = at;
    }
    assert!(pauses.iter().take(4).is_sorted() && *pauses.last().unwrap() <= LONGEST_WAIT * 5 / 4, "{pauses:?}");
}

#[test]
fn answers_to_other_clients_are_ignored() {
    let now = Instant::now();
    let mut client = client(Mode::Stateful, now);
    let (solicit, _) = sends(&mut client);
    let other = Message { transaction: [0xff; 3], ..solicit.clone() };
    for (case, bytes) in [
        ("another transaction", answer(&other, v6::ADVERTISE, 255, &[(1, 2)])),
        ("no address", answer(&solicit, v6::ADVERTISE, 255, &[])),
        ("an address without time", answer(&solicit, v6::ADVERTISE, 255, &[(0, 0)])),
        ("a reply to no rapid commit", answer(&solicit, v6::REPLY, 255, &[(1, 2)])),
        ("nonsense", vec![2, 0]),
    ] {
        assert!(!client.receive(&bytes, now) && client.tick(now).is_none(), "{case}");
    }
}

#[test]
fn the_servers_times_are_used_if_they_are_in_order() {
    let association = |renew, rebind| Association { id: 1, renew, rebind, addresses: Vec::new(), status: 0 };
    for (case, association, preferred, valid, expected) in [
        ("as sent", association(10, 20), 30, 40, Some((10, 20, 40))),
        ("none sent", association(0, 0), 100, 200, Some((50, 80, 200))),
        ("out of order", association(30, 20), 100, 200, Some((50, 80, 200))),
        ("for ever", association(0, 0), u32::MAX, u32::MAX, None),
    ] {
        let found = times(&association, preferred, valid);
        let seconds = found.map(|times| (times.renew.as_secs(), times.rebind.as_secs(), times.expire.as_secs()));
        assert_eq!(seconds, expected, "{case}");
    }
}
