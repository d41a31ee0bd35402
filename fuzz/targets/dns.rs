//! Any bytes as a name server's answer: read or not, and never taken for an address that leads to ourselves.
#![no_main]

#[allow(dead_code)]
#[path = "../../init/pid1/src/network/dns.rs"]
mod dns;

use dns::{Family, Question, Rejected};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for family in [Family::V4, Family::V6] {
        let Some(question) = Question::new(7, "tink.lab", family) else { panic!("a name that is none") };
        let _ = question.read(bytes);
        // The header and question of an answer to it, so that the fuzzer gets to the records at once.
        let asked = question.as_bytes();
        let head = [&asked[..2], &[0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0], &asked[12..]].concat();
        match question.read(&[&head[..], bytes].concat()) {
            Ok(address) => assert!(!address.is_unspecified() && !address.is_loopback()),
            Err(why) => assert_ne!(why, Rejected::NotOurs),
        }
    }
});
