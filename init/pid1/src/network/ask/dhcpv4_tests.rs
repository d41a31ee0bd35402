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

/// The only packet among the actions, and its destination.
fn sent(mut actions: Vec<Action>) -> (Packet, Ipv4Addr) {
    actions.retain(|action| !matches!(action, Action::Probe(_) | Action::Say(_)));
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

fn heard(packet: &Packet) -> Answer {
    Answer { packet: packet.clone(), faults: Vec::new(), from: packet.server_id().unwrap_or(SERVER) }
}

/// The lines for the console.
fn lines(actions: &[Action]) -> Vec<&str> {
    actions.iter().filter_map(|action| if let Action::Say(line) = action { Some(line.as_str()) } else { None }).collect()
}

fn selecting(now: Instant) -> (Client, Packet) {
    let mut client = Client::new(MAC, None, Random::Fixed(1), now);
    let (discover, _) = sent(client.tick(now));
    (client, discover)
}

fn requesting(now: Instant) -> (Client, Packet) {
    let (mut client, discover) = selecting(now);
    let (request, _) = sent(client.receive(&heard(&answer(&discover, MessageType::Offer, SERVER)), now));
    (client, request)
}

fn bound(now: Instant) -> Client {
    let (mut client, request) = requesting(now);
    let actions = client.receive(&heard(&answer(&request, MessageType::Ack, SERVER)), now);
    assert!(matches!(&actions[..], [Action::Configure(lease)] if lease.address == LEASED));
    client
}

#[test]
fn an_address_that_another_host_has_is_declined_and_not_asked_for_at_once() {
    let now = Instant::now();
    let (mut requesting, request) = requesting(now);
    let (decline, to) = sent(requesting.taken(now));
    assert_eq!(
        (decline.message_type(), decline.requested_ip(), to),
        (Some(MessageType::Decline), Some(ADDRESS), Ipv4Addr::BROADCAST)
    );
    assert_eq!(decline.server_id(), Some(SERVER));
    assert!(requesting.receive(&heard(&answer(&request, MessageType::Ack, SERVER)), now).is_empty(), "too late");
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
    let mut client = Client::new(MAC, None, Random::Fixed(7), start);
    let mut now = start;
    for nominal in [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0] {
        let (packet, to) = sent(client.tick(now));
        assert_eq!((packet.message_type(), to), (Some(MessageType::Discover), Ipv4Addr::BROADCAST));
        assert_eq!(u64::from(packet.secs), (now - start).as_secs(), "secs shows how long no server has answered");
        let pause = (client.due().unwrap() - now).as_secs_f64();
        assert!((nominal * 0.75..=nominal * 1.25).contains(&pause), "{pause} s instead of about {nominal} s");
        assert_eq!(client.tick(now), [], "no packet is sent before its time");
        now = client.due().unwrap();
    }
}

#[test]
fn answers_to_other_clients_are_ignored() {
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
        let actions = client.receive(&heard(&offer), now);
        assert!(actions.iter().all(|action| matches!(action, Action::Say(_))), "{case}: {actions:?}");
    }
}

#[test]
fn only_the_server_that_was_asked_can_grant_or_refuse() {
    let now = Instant::now();
    for kind in [MessageType::Ack, MessageType::Nak] {
        let (mut client, request) = requesting(now);
        assert_eq!(client.receive(&heard(&answer(&request, kind, OTHER)), now), [], "{kind}");
        assert!(matches!(client.phase, Phase::Requesting { .. }));
    }
}

#[test]
fn a_refused_request_starts_over_after_a_pause_with_a_new_transaction() {
    let now = Instant::now();
    let (mut client, request) = requesting(now);
    let actions = client.receive(&heard(&answer(&request, MessageType::Nak, SERVER)), now);
    assert!(matches!(&actions[..], [Action::Say(_)]));
    assert_eq!(client.tick(now), []);
    let (discover, _) = sent(client.tick(now + AFTER_NAK));
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert_ne!(discover.xid, request.xid);
}

#[test]
fn a_request_without_an_answer_ends_after_four_times() {
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
fn a_lease_is_renewed_with_its_server_then_with_any_server_then_dropped() {
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
    let actions = client.receive(&heard(&answer(&request, MessageType::Ack, OTHER)), now);
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
    let actions = client.receive(&heard(&ack), now);
    assert!(
        matches!(&actions[..], [Action::Withdraw(old), Action::Configure(new)] if old.address == LEASED && new.address == ack.yiaddr)
    );
}

#[test]
fn a_refused_renewal_drops_the_address_at_once() {
    let mut client = bound(Instant::now());
    let now = client.due().unwrap();
    let (request, _) = sent(client.tick(now));
    let actions = client.receive(&heard(&answer(&request, MessageType::Nak, SERVER)), now);
    assert!(matches!(&actions[..], [Action::Say(_), Action::Withdraw(_)]));
    assert_eq!(sent(client.tick(now)).0.message_type(), Some(MessageType::Discover));
}

/// A client whose carrier returned, and its question.
fn verifying(now: Instant) -> (Client, Packet) {
    let mut client = bound(now);
    client.carrier_returned(now);
    let (request, to) = sent(client.tick(now));
    assert_eq!(to, Ipv4Addr::BROADCAST);
    (client, request)
}

#[test]
fn a_returned_carrier_asks_every_server_whether_the_lease_is_valid_here() {
    let now = Instant::now() + secs(10);
    let (mut client, request) = verifying(now);
    assert_eq!((request.message_type(), request.ciaddr), (Some(MessageType::Request), Ipv4Addr::UNSPECIFIED));
    assert_eq!((request.requested_ip(), request.server_id()), (Some(ADDRESS), None), "INIT-REBOOT of RFC 2131, 4.3.2");
    let actions = client.receive(&heard(&answer(&request, MessageType::Ack, OTHER)), now);
    assert!(matches!(&actions[..], [Action::Probe(ADDRESS), Action::Configure(lease)] if lease.server == Some(OTHER)));
    assert_eq!(client.due(), Some(now + secs(400)));
}

#[test]
fn a_lease_that_is_due_for_renewal_is_verified_first() {
    let start = Instant::now();
    for age in [500, 750] {
        let mut client = bound(start);
        let mut now = start + secs(age);
        client.carrier_returned(now);
        let (request, to) = sent(client.tick(now));
        assert_eq!((request.requested_ip(), to), (Some(ADDRESS), Ipv4Addr::BROADCAST), "{age} s old");
        while matches!(client.phase, Phase::Verifying { .. }) {
            now = client.due().unwrap();
            client.tick(now);
        }
        assert!(now < start + secs(age + 40), "it must be renewed by then");
        assert!(client.tick(now).iter().any(|action| matches!(action, Action::Send { packet, .. } if packet.ciaddr == ADDRESS)));
    }
    let mut client = bound(start);
    client.carrier_returned(start + secs(800));
    assert!(matches!(&client.tick(start + secs(800))[..], [Action::Withdraw(_)]), "the lease has ended meanwhile");
}

#[test]
fn a_lease_without_end_is_verified_too() {
    let now = Instant::now();
    let (mut client, request) = requesting(now);
    let mut ack = answer(&request, MessageType::Ack, SERVER);
    ack.options.set_u32(code::LEASE_TIME, u32::MAX);
    client.receive(&heard(&ack), now);
    assert_eq!(client.due(), None);
    client.carrier_returned(now);
    assert_eq!(sent(client.tick(now)).0.requested_ip(), Some(ADDRESS));
}

#[test]
fn a_lease_that_is_refused_after_a_gap_is_dropped() {
    let now = Instant::now();
    let nak = |request: &Packet, server| heard(&answer(request, MessageType::Nak, server));
    let (mut client, request) = verifying(now);
    let actions = client.receive(&nak(&request, SERVER), now);
    assert!(matches!(&actions[..], [Action::Say(_), Action::Withdraw(_)]), "a refusal by its server counts at once");
    assert_eq!(lines(&actions), ["the DHCP server at 10.0.0.1 refuses 10.0.0.5"]);
    assert_eq!(sent(client.tick(now)).0.message_type(), Some(MessageType::Discover));

    let (mut client, request) = verifying(now);
    client.receive(&nak(&request, OTHER), now);
    let actions = client.receive(&heard(&answer(&request, MessageType::Ack, SERVER)), now);
    assert!(matches!(&actions[..], [Action::Probe(_), Action::Configure(_)]), "its server's answer wins");

    let (mut client, request) = verifying(now);
    client.receive(&nak(&request, OTHER), now);
    assert!(client.due().unwrap() <= now + secs(1));
    assert!(matches!(&client.tick(now + secs(1))[..], [Action::Withdraw(_)]), "its server did not answer");
}

#[test]
fn an_offer_of_another_network_after_a_gap_replaces_the_lease() {
    let start = Instant::now();
    let (mut client, _) = verifying(start);
    let mut now;
    let discover = loop {
        now = client.due().unwrap();
        let mut packets = client.tick(now).into_iter().filter_map(|action| match action {
            Action::Send { packet, .. } => Some(*packet),
            _ => None,
        });
        if let Some(discover) = packets.next_back().filter(|packet| packet.message_type() == Some(MessageType::Discover)) {
            break discover;
        }
    };
    assert!(now - start < secs(5), "it took {:?}", now - start);
    let same = answer(&discover, MessageType::Offer, OTHER);
    assert_eq!(client.receive(&heard(&same), now), [], "an offer of the same network is not better");
    let mut other = same;
    other.yiaddr = Ipv4Addr::new(192, 168, 7, 50);
    let actions = client.receive(&heard(&other), now);
    let [Action::Say(line), Action::Withdraw(old), Action::Probe(_), Action::Send { packet, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(line, "DHCP server 10.0.0.2 of another network offers 192.168.7.50, so 10.0.0.5 is dropped");
    assert_eq!((old.address, packet.server_id(), packet.requested_ip()), (LEASED, Some(OTHER), Some(other.yiaddr)));
}

#[test]
fn a_lease_is_kept_while_it_is_valid_if_no_server_answers_after_a_gap() {
    let start = Instant::now();
    let mut client = bound(start);
    client.carrier_returned(start + secs(10));
    let (mut said, mut last) = (Vec::new(), start);
    while let Phase::Verifying { .. } | Phase::Selecting = client.phase {
        last = client.due().unwrap();
        let actions = client.tick(last);
        assert!(!actions.iter().any(|action| matches!(action, Action::Withdraw(_))), "{actions:?}");
        said.extend(lines(&actions).into_iter().map(str::to_owned));
    }
    let [line] = &said[..] else { panic!("{said:?}") };
    assert!(
        line.starts_with("no DHCP server has answered since the carrier returned; keeping 10.0.0.5, leased for 78"),
        "{line}"
    );
    assert!(last - start > secs(100), "a switch may need a minute: {:?}", last - start);
    assert_eq!(client.due(), Some(start + secs(400)), "renewed as before");
    assert_eq!(sent(client.tick(start + secs(400))).1, SERVER);
}

#[test]
fn a_question_that_a_gap_interrupts_is_asked_afresh() {
    let now = Instant::now();
    let (mut client, request) = requesting(now);
    client.carrier_returned(now + secs(1));
    let (discover, _) = sent(client.tick(now + secs(1)));
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert_ne!(discover.xid, request.xid);
}

#[test]
fn an_answer_that_cannot_be_used_is_named_with_its_reason() {
    let now = Instant::now();
    type Change = fn(&mut Packet);
    let cases: [(&str, Change, &str); 4] = [
        (
            "no server",
            |packet| drop(packet.options.remove(code::SERVER_ID)),
            "an offer from 10.0.0.1 has no server identifier (option 54)",
        ),
        (
            "no address",
            |packet| packet.yiaddr = Ipv4Addr::UNSPECIFIED,
            "an offer from 10.0.0.1 gives 0.0.0.0, which is not an address for a machine",
        ),
        (
            "no type",
            |packet| drop(packet.options.remove(code::MESSAGE_TYPE)),
            "an answer from 10.0.0.1 has no message type (option 53)",
        ),
        (
            "another transaction",
            |packet| packet.xid = 7,
            "an answer from 10.0.0.1 is for another question (transaction 00000007)",
        ),
    ];
    for (case, change, why) in cases {
        let (mut client, discover) = selecting(now);
        assert_eq!(client.unusable(), None);
        let mut offer = answer(&discover, MessageType::Offer, SERVER);
        change(&mut offer);
        client.receive(&heard(&offer), now);
        assert_eq!(client.unusable(), Some(why), "{case}");
        client.receive(&heard(&answer(&discover, MessageType::Offer, SERVER)), now);
        assert_eq!(client.unusable(), None, "{case}: a good one follows");
    }
    let (mut client, request) = requesting(now);
    let mut nak = answer(&request, MessageType::Nak, SERVER);
    nak.options.set_text(code::MESSAGE, "not\nhere");
    assert_eq!(lines(&client.receive(&heard(&nak), now)), ["the DHCP server at 10.0.0.1 refuses 10.0.0.5: not\\nhere"]);
    let (mut client, _) = requesting(now);
    let said: Vec<Action> = (0..4).flat_map(|_| client.tick(client.due().unwrap())).collect();
    assert_eq!(lines(&said), ["DHCP server 10.0.0.1 has offered 10.0.0.5, and does not answer the request for it"]);
}

#[test]
fn an_acknowledgement_needs_no_server_identifier() {
    let now = Instant::now();
    let (mut client, request) = requesting(now);
    let mut ack = answer(&request, MessageType::Ack, SERVER);
    ack.options.remove(code::SERVER_ID);
    let actions = client.receive(&heard(&ack), now);
    assert!(matches!(&actions[..], [Action::Configure(lease)] if lease.server == Some(SERVER)), "{actions:?}");
}

#[test]
fn every_omitted_part_of_an_answer_is_named_once() {
    let now = Instant::now();
    let (mut client, request) = requesting(now);
    let mut bytes = answer(&request, MessageType::Ack, SERVER).encode();
    let end = bytes.iter().rposition(|byte| *byte == 255).unwrap();
    bytes.splice(end.., [54, 4, 10, 0, 0, 9, 15, 3, b'a', b'.', b'.', 43, 64, 1]);
    let (packet, faults) = Packet::decode_with_faults(&bytes).unwrap();
    let actions = client.receive(&Answer { packet, faults, from: SERVER }, now);
    assert_eq!(
        lines(&actions),
        [
            "DHCP answer from 10.0.0.1: option 43 (vendor options) is cut off, 1 of its 64 bytes are there: left out",
            "DHCP answer from 10.0.0.1: option 54 (server identifier) came 2 times: its first good value counts",
        ],
    );
    assert!(matches!(actions.last(), Some(Action::Configure(lease)) if lease.search == ["a"]));
}

#[test]
fn a_lease_that_does_not_reach_the_server_is_replaced_by_another_servers_only_once() {
    let now = Instant::now();
    let mut client = bound(now);
    assert!(client.leave_server(now).is_some());
    let (discover, _) = sent(client.tick(now));
    assert_eq!(
        client.receive(&heard(&answer(&discover, MessageType::Offer, SERVER)), now),
        [],
        "the same offer must not be accepted again"
    );
    let (request, _) = sent(client.receive(&heard(&answer(&discover, MessageType::Offer, OTHER)), now));
    assert_eq!(request.server_id(), Some(OTHER));
    client.receive(&heard(&answer(&request, MessageType::Ack, OTHER)), now);
    assert!(client.leave_server(now).is_some());
    let (discover, _) = sent(client.tick(now));
    client.receive(&heard(&answer(&discover, MessageType::Offer, OTHER)), now);
    let (request, _) = sent(client.tick(client.due().unwrap().max(now + secs(3))));
    client.receive(&heard(&answer(&request, MessageType::Ack, OTHER)), now);
    assert_eq!(client.leave_server(now), None, "a bad lease is better than none");
}
