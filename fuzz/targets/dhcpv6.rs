//! Any bytes: DHCPv6 messages and router advertisements are read or not, and what was read encodes to the same again.
#![no_main]

use dhcp::router::Advertisement;
use dhcp::v6::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Advertisement::decode(bytes);
    // The header that every advertisement begins with, so that the fuzzer gets to the options at once.
    let _ = Advertisement::decode(&[&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], bytes].concat());
    if let Some(message) = Message::decode(bytes) {
        let options = &message.options;
        let _ = (options.status(), options.association(1), options.addresses(23), options.time_servers(), options.seconds(32));
        assert_eq!(Message::decode(&message.encode()).as_ref(), Some(&message));
    }
});
