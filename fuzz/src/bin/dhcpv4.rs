//! Any bytes: decoding survives, every reader survives, and what was decoded encodes to the same again.
#![no_main]

use boots::dhcp::{Client, Ignored};
use dhcp::v4::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&framed(bytes));
});

/// The bytes as option area behind a good header, with their beginning as overloaded fields: no seeds are needed to get
/// past the magic cookie.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut packet = Packet::default().encode();
    packet.truncate(240);
    for (to, from) in packet.iter_mut().skip(44).take(192).zip(bytes) {
        *to = *from;
    }
    packet.extend_from_slice(bytes);
    packet
}

fn check(bytes: &[u8]) {
    let Ok(packet) = Packet::decode(bytes) else { return };
    let _ = (packet.message_type(), packet.requested_ip(), packet.server_id(), packet.lease_time(), packet.mac());
    let _ = (packet.renewal_time(), packet.rebinding_time(), packet.prefix_len(), packet.routers(), packet.dns_servers());
    let _ = (packet.ntp_servers(), packet.broadcast_address(), packet.hostname(), packet.domain_name(), packet.mtu());
    let _ = (packet.domain_search(), packet.classless_routes(), packet.client_id(), packet.message());
    let _ = (packet.client_archs(), packet.client_uuid(), packet.ipxe(19), packet.boot_file(), packet.parameter_list());
    let _ = (Client::of(&packet).to_string(), Ignored::check(&packet));
    assert_eq!(Packet::decode(&packet.encode()).as_ref(), Ok(&packet));
    if let Ok(small) = packet.encode_within(packet.max_payload()) {
        assert!(small.len() <= packet.max_payload());
        assert_eq!(Packet::decode(&small).as_ref(), Ok(&packet));
    }
    let mut canonical = packet.clone();
    canonical.options.set_classless_routes(&packet.classless_routes());
    canonical.options.set_domain_search(&packet.domain_search());
    assert_eq!(canonical.domain_search(), {
        let mut again = canonical.clone();
        again.options.set_domain_search(&canonical.domain_search());
        again.domain_search()
    });
}
