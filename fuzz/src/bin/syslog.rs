//! Any datagram becomes a message of bounded length, without control characters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let message = boots::syslog::parse(bytes);
    assert!(message.severity <= 7 && message.facility <= 23);
    assert!(message.text.chars().count() <= 8 * 1024);
    assert!(![&message.text, &message.tag].iter().any(|text| text.contains(['\n', '\r', '\x1b', '\0'])));
});
