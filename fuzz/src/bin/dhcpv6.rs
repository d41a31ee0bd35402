//! Any bytes: decoding DHCPv6 messages and router advertisements does not panic, and a message encodes to the same again. The
//! server decides on all of them, and its replies can be read.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use boots::dhcp6::{Facts, Mode, Network, Place, Request, Subnet, grant, respond};
use boots::{BootInterface, Config, Reservation6};
use dhcp::router::{Advertisement, is_solicitation};
use dhcp::v6::{self, Message};
use libfuzzer_sys::fuzz_target;
use model::Mac;

const DUID: &[u8] = &[0, 4, 7];
const OWN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config::new(Ipv4Addr::LOCALHOST, "/nowhere".into(), "/nowhere".into()).reached_at(OWN));

fuzz_target!(|bytes: &[u8]| {
    let _ = (Advertisement::decode(bytes), is_solicitation(bytes));
    // The header of every advertisement, so that the fuzzer reaches the options at once.
    let _ = Advertisement::decode(&[&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], bytes].concat());
    if let Some(message) = Message::decode(bytes) {
        let options = &message.options;
        let _ = (options.status(), options.association(1), options.addresses(23), options.time_servers(), options.seconds(32));
        assert_eq!(Message::decode(&message.encode()).as_ref(), Some(&message));
    }
    served(bytes);
    // With what every request has, so that the fuzzer reaches the decisions at once.
    if let Some((kind, rest)) = bytes.split_first() {
        served(&[&[kind % 12, 0, 0, 0, 0, 1, 0, 4, 0, 3, 0, 1], rest].concat());
        served(&[&[kind % 12, 0, 0, 0, 0, 1, 0, 4, 0, 3, 0, 1, 0, 2, 0, 3], DUID, rest].concat());
    }
});

fn served(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes, OWN) else { return };
    let _ = (request.kind_of_client().to_string(), request.mac(), request.link());
    let reservation6 = Reservation6 {
        address: OWN,
        lease_time: None,
        domain_name: Some("lab.test".to_owned()),
        name_servers: vec![OWN],
        time_servers: vec![OWN],
    };
    let known = BootInterface { reservation6: Some(reservation6), ..BootInterface::unknown(Mac::new([2, 0, 0, 0, 0, 1])) };
    let subnet = Subnet::of(OWN, 64);
    for mode in [Mode::Pool, Mode::Stateless] {
        let network = Network {
            subnet,
            mode,
            name_servers: vec![OWN],
            time_servers: Vec::new(),
            domain: None,
            lease_time: 60,
            advertised: None,
        };
        let networks = [&network];
        let place = Place { networks: &networks, on_link: &[subnet] };
        for machine in [None, Some(&known)] {
            let granted = grant(&CONFIG, &place, machine, &request, |_| false);
            let grant = granted.as_ref().map_err(|ignored| *ignored);
            let facts = Facts { config: &CONFIG, duid: DUID, grant, machine, on_link: &[subnet] };
            let Ok(reply) = respond(&facts, &request) else { continue };
            let sent = v6::wrap(&request.relays, &reply);
            assert!(sent.len() < bytes.len() + 4096, "no amplification");
            assert_eq!(reply.transaction, request.message.transaction);
            assert_eq!(Message::decode(&reply.encode()), Some(reply));
        }
    }
}
