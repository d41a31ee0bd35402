//! Any bytes: decoding DHCPv6 messages and router advertisements does not panic, and a message encodes to the same again.
#![no_main]

use dhcp::router::{Advertisement, is_solicitation};
use dhcp::v6::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = (Advertisement::decode(bytes), is_solicitation(bytes));
    // The header of every advertisement, so that the fuzzer reaches the options at once.
    let _ = Advertisement::decode(&[&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], bytes].concat());
    if let Some(message) = Message::decode(bytes) {
        let options = &message.options;
        let _ = (options.status(), options.association(1), options.addresses(23), options.time_servers(), options.seconds(32));
        assert_eq!(Message::decode(&message.encode()).as_ref(), Some(&message));
    }
});
