//! Any bytes: decoding does not panic, nor does any reader. A decoded packet encodes to the same again.
#![no_main]

use boots::dhcp::{Client, Ignored};
use dhcp::v4::{Packet, code};
use libfuzzer_sys::fuzz_target;
use pid1::network::Lease;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&framed(bytes));
    among_good_ones(bytes);
});

/// The options of an ordinary offer.
const GOOD: &[&[u8]] = &[
    &[53, 1, 2],
    &[54, 4, 10, 0, 0, 1],
    &[51, 4, 0, 0, 14, 16],
    &[1, 4, 255, 255, 255, 0],
    &[26, 2, 5, 220],
    &[3, 4, 10, 0, 0, 1],
    &[6, 4, 10, 0, 0, 1],
    &[119, 5, 3, b'l', b'a', b'b', 0],
];

/// The bytes stand as options between good ones, complete first and cut off last. They must not hide a good option.
fn among_good_ones(bytes: &[u8]) {
    let mut packet = Packet::default().encode();
    packet.truncate(240);
    let mut rest = bytes;
    for good in GOOD {
        if let Some((&[code, length], behind)) = rest.split_first_chunk::<2>() {
            let value = behind.get(..usize::from(length % 32)).unwrap_or(behind);
            let is_option = !matches!(code, code::PAD | code::END | code::OVERLOAD);
            if is_option && let Ok(length) = u8::try_from(value.len()) {
                packet.extend([code, length]);
                packet.extend_from_slice(value);
            }
            rest = behind.get(value.len()..).unwrap_or_default();
        }
        packet.extend_from_slice(good);
    }
    packet.extend_from_slice(rest);
    let Ok((packet, faults)) = Packet::decode_with_faults(&packet) else { panic!("the header is good") };
    assert!(faults.iter().all(|fault| fault.to_string().len() < 200));
    assert!(packet.message_type().is_some() && packet.server_id().is_some() && packet.lease_time().is_some());
    assert!(packet.prefix_len().is_some() && packet.mtu().is_some());
    assert!(!packet.routers().is_empty() && !packet.dns_servers().is_empty() && !packet.domain_search().is_empty());
}

/// The bytes are the option area after a good header, and their beginning is in the overloaded fields. So no seeds are
/// needed to get past the magic cookie.
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
    let _ = (packet.remote_link(), packet.server_id_override(), packet.relay_option(1));
    if let Ok((lease, notes)) = Lease::read(&packet) {
        let file = lease.resolv_conf("eth0");
        assert!(file.lines().all(|line| ["# from", "search ", "nameserver "].iter().any(|begin| line.starts_with(begin))));
        assert!(notes.iter().all(|note| !note.chars().any(char::is_control) && note.len() < 1500), "{notes:?}");
    }
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
