//! Any bytes as a name server's answer: reading does not panic, and no answer points to the machine itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid1::network::dns::{Family, Question, Rejected};

fuzz_target!(|bytes: &[u8]| {
    for family in [Family::V4, Family::V6] {
        let Some(question) = Question::new(7, "tink.lab", family) else { panic!("tink.lab is not a name") };
        let _ = (question.read(bytes), question.is_cut_short(bytes));
        // The header and question of an answer, so that the fuzzer reaches the records at once.
        let asked = question.as_bytes();
        let head = [&asked[..2], &[0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0], &asked[12..]].concat();
        match question.read(&[&head[..], bytes].concat()) {
            Ok(address) => assert!(!address.is_unspecified() && !address.is_loopback()),
            Err(why) => assert_ne!(why, Rejected::NotOurs),
        }
    }
});
