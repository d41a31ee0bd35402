//! Any bytes from a packet socket: the reader does not panic, and its result lies within the packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid1::network::datagram;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The header has the right lengths and checksum, so that the fuzzer reaches UDP at once.
    let mut packet = datagram::write(std::net::Ipv4Addr::new(10, 0, 0, 1), bytes);
    check(&packet);
    if let Some(port) = packet.get_mut(22..24) {
        port.copy_from_slice(&68_u16.to_be_bytes());
    }
    check(&packet);
    assert!(datagram::read(&packet, false).is_ok_and(|read| read.payload == bytes) || bytes.len() > 65507);
});

fn check(packet: &[u8]) {
    for summed in [true, false] {
        if let Ok(read) = datagram::read(packet, summed) {
            assert!(read.payload.len() + 28 <= packet.len());
        }
    }
}
