//! The client's conversations, with time as an argument.

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const LEASED: IpAddr = IpAddr::V4(ADDRESS);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The only packet among the actions, and where it goes.
fn sent(mut actions: Vec<Action>) -> (Packet, Ipv4Addr) {
    actions.retain(|action| !matches!(action, Action::Probe(_)));
    match <[Action; 1]>::try_from(actions) {
        Ok([Action::Send { packet, to }]) => (*packet, to),
        other => panic!("expected one packet, got {other:?}"),
    }
}

fn answer(request: &Packet, kind: MessageType, server: Ipv4Addr) -> Packet {
    let mut reply = request.reply(kind);
    reply.yiaddr = ADDRESS;
    reply.options.set_ip(code::SERVER_ID, server).set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
    reply.options.set_u32(code::LEASE_TIME, 800);
    reply
}

fn selecting(now: Instant) -> (Client, Packet) {
    let mut client = Client::new(MAC, None, 1, now);
    let (discover, _) = sent(client.tick(now));
    (client, discover)
}

fn requesting(now: Instant) -> (Client, Packet) {
    let (mut client, discover) = selecting(now);
    let (request, _) = sent(client.receive(&answer(&discover, MessageType::Offer, SERVER), now));
    (client, request)
}

fn bound(now: Instant) -> Client {
    let (mut client, request) = requesting(now);
    let actions = client.receive(&answer(&request, MessageType::Ack, SERVER), now);
    assert!(matches!(&actions[..], [Action::Configure(lease)] if lease.address == LEASED));
    client
}

#[test]
fn an_address_that_somebody_has_is_declined_and_not_asked_for_at_once() {
    let now = Instant::now();
    let (mut requesting, request) = requesting(now);
    let (decline, to) = sent(requesting.taken(now));
    assert_eq!(
        (decline.message_type(), decline.requested_ip(), to),
        (Some(MessageType::Decline), Some(ADDRESS), Ipv4Addr::BROADCAST)
    );
    assert_eq!(decline.server_id(), Some(SERVER));
    assert!(requesting.receive(&answer(&request, MessageType::Ack, SERVER), now).is_empty(), "too late");
    assert!(requesting.tick(now + secs(9)).is_empty());
    assert_eq!(sent(requesting.tick(now + secs(10))).0.message_type(), Some(MessageType::Discover));

    let mut bound = bound(now);
    let actions = bound.taken(now);
    assert!(matches!(&actions[..], [Action::Withdraw(lease), Action::Send { .. }] if lease.address == LEASED));
    assert!(bound.taken(now).is_empty());
}

#[test]
fn discover_offer_request_ack_makes_a_lease() {
    let now = Instant::now();
    let (_, discover) = selecting(now);
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert!(discover.wants_broadcast());
    assert_eq!(discover.client_id(), Some(&[1, 2, 0, 0, 0, 0, 1][..]));

    let (_, request) = requesting(now);
    assert_eq!(request.message_type(), Some(MessageType::Request));
    assert_eq!((request.requested_ip(), request.server_id()), (Some(ADDRESS), Some(SERVER)));
    assert_eq!((request.xid, request.ciaddr), (discover.xid, Ipv4Addr::UNSPECIFIED));

    let client = bound(now);
    assert_eq!(client.due(), Some(now + secs(400)));
}

#[test]
fn discover_is_repeated_after_1_2_4_8_and_then_every_16_seconds_more_or_less() {
    let start = Instant::now();
    let mut client = Client::new(MAC, None, 7, start);
    let mut now = start;
    for nominal in [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0] {
        let (packet, to) = sent(client.tick(now));
        assert_eq!((packet.message_type(), to), (Some(MessageType::Discover), Ipv4Addr::BROADCAST));
        assert_eq!(u64::from(packet.secs), (now - start).as_secs(), "secs shows how long no server has answered");
        let pause = (client.due().unwrap() - now).as_secs_f64();
        assert!((nominal * 0.75..=nominal * 1.25).contains(&pause), "{pause} s instead of about {nominal} s");
        assert_eq!(client.tick(now), [], "nothing is sent before its time");
        now = client.due().unwrap();
    }
}

#[test]
fn what_is_not_an_answer_to_us_is_ignored() {
    let now = Instant::now();
    type Change = fn(&mut Packet);
    let cases: [(&str, Change); 6] = [
        ("another transaction", |packet| packet.xid ^= 1),
        ("another machine", |packet| packet.set_mac([2, 0, 0, 0, 0, 9])),
        ("a request, not a reply", |packet| packet.op = Op::Request),
        ("no server", |packet| drop(packet.options.remove(code::SERVER_ID))),
        ("no address", |packet| packet.yiaddr = Ipv4Addr::UNSPECIFIED),
        ("an ACK without a request", |packet| _ = packet.options.set_u8(code::MESSAGE_TYPE, MessageType::Ack.byte())),
    ];
    for (case, change) in cases {
        let (mut client, discover) = selecting(now);
        let mut offer = answer(&discover, MessageType::Offer, SERVER);
        change(&mut offer);
        assert_eq!(client.receive(&offer, now), [], "{case}");
    }
}

#[test]
fn only_the_server_that_was_asked_can_grant_or_refuse() {
    let now = Instant::now();
    for kind in [MessageType::Ack, MessageType::Nak] {
        let (mut client, request) = requesting(now);
        assert_eq!(client.receive(&answer(&request, kind, OTHER), now), [], "{kind}");
        assert!(matches!(client.phase, Phase::Requesting { .. }));
    }
}

#[test]
fn a_refused_request_starts_over_after_a_pause_with_a_new_transaction() {
    let now = Instant::now();
    let (mut client, request) = requesting(now);
    assert_eq!(client.receive(&answer(&request, MessageType::Nak, SERVER), now), []);
    assert_eq!(client.tick(now), []);
    let (discover, _) = sent(client.tick(now + AFTER_NAK));
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert_ne!(discover.xid, request.xid);
}

#[test]
fn a_request_without_answer_is_given_up_after_four_times() {
    let mut now = Instant::now();
    let (mut client, _) = requesting(now);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        now = client.due().unwrap();
        kinds.push(sent(client.tick(now)).0.message_type().unwrap());
    }
    use MessageType::{Discover, Request};
    assert_eq!(kinds, [Request, Request, Request, Discover]);
}

#[test]
fn a_lease_is_renewed_with_its_server_then_with_anyone_then_given_up() {
    let start = Instant::now();
    let mut client = bound(start);
    let mut seen = Vec::new();
    loop {
        let now = client.due().unwrap();
        let actions = client.tick(now);
        if let [Action::Withdraw(lease)] = &actions[..] {
            assert_eq!((lease.address, (now - start).as_secs()), (LEASED, 800));
            break;
        }
        let (request, to) = sent(actions);
        assert_eq!((request.ciaddr, request.requested_ip(), request.server_id()), (ADDRESS, None, None));
        seen.push(((now - start).as_secs(), to));
    }
    let any = Ipv4Addr::BROADCAST;
    assert_eq!(seen, [(400, SERVER), (550, SERVER), (625, SERVER), (685, SERVER), (700, any), (760, any)]);
    let (discover, _) = sent(client.tick(client.due().unwrap()));
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
}

#[test]
fn a_renewal_counts_from_the_moment_it_is_granted() {
    let start = Instant::now();
    let mut client = bound(start);
    let now = client.due().unwrap();
    let (request, _) = sent(client.tick(now));
    let actions = client.receive(&answer(&request, MessageType::Ack, OTHER), now);
    assert!(matches!(&actions[..], [Action::Configure(_)]));
    assert_eq!(client.due(), Some(now + secs(400)));
}

#[test]
fn another_address_at_renewal_replaces_the_old_one() {
    let mut client = bound(Instant::now());
    let now = client.due().unwrap();
    let (request, _) = sent(client.tick(now));
    let mut ack = answer(&request, MessageType::Ack, SERVER);
    ack.yiaddr = Ipv4Addr::new(10, 0, 0, 77);
    let actions = client.receive(&ack, now);
    assert!(
        matches!(&actions[..], [Action::Withdraw(old), Action::Configure(new)] if old.address == LEASED && new.address == ack.yiaddr)
    );
}

#[test]
fn a_refused_renewal_gives_the_address_up_at_once() {
    let mut client = bound(Instant::now());
    let now = client.due().unwrap();
    let (request, _) = sent(client.tick(now));
    let actions = client.receive(&answer(&request, MessageType::Nak, SERVER), now);
    assert!(matches!(&actions[..], [Action::Withdraw(_)]));
    assert_eq!(sent(client.tick(now)).0.message_type(), Some(MessageType::Discover));
}

#[test]
fn a_returned_carrier_asks_at_once_whether_the_address_is_still_ours() {
    let start = Instant::now();
    let mut client = bound(start);
    client.carrier_returned(start + secs(10));
    let (request, to) = sent(client.tick(start + secs(10)));
    assert_eq!((request.ciaddr, to), (ADDRESS, SERVER));
}

#[test]
fn machines_switched_on_together_use_transactions_of_their_own() {
    let now = Instant::now();
    let xid = |last| Client::new([2, 0, 0, 0, 0, last], None, 1, now).xid;
    let mut xids: Vec<u32> = (0..=255).map(xid).collect();
    xids.sort_unstable();
    xids.dedup();
    assert_eq!(xids.len(), 256);
}

#[test]
fn a_lease_that_leads_nowhere_is_given_up_for_another_servers_but_only_once() {
    let now = Instant::now();
    let mut client = bound(now);
    assert!(client.leave_server(now).is_some());
    let (discover, _) = sent(client.tick(now));
    assert_eq!(client.receive(&answer(&discover, MessageType::Offer, SERVER), now), [], "not this one again");
    let (request, _) = sent(client.receive(&answer(&discover, MessageType::Offer, OTHER), now));
    assert_eq!(request.server_id(), Some(OTHER));
    client.receive(&answer(&request, MessageType::Ack, OTHER), now);
    assert!(client.leave_server(now).is_some());
    let (discover, _) = sent(client.tick(now));
    client.receive(&answer(&discover, MessageType::Offer, OTHER), now);
    let (request, _) = sent(client.tick(client.due().unwrap().max(now + secs(3))));
    client.receive(&answer(&request, MessageType::Ack, OTHER), now);
    assert_eq!(client.leave_server(now), None, "better than none");
}
