//! Any bytes: what a switch says of itself is one line of a log and one of a file, whatever it is.
#![no_main]

#[allow(dead_code)]
#[path = "../../init/pid1/src/network/lldp.rs"]
mod lldp;

use libfuzzer_sys::fuzz_target;
use lldp::Neighbour;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The three fields that every frame begins with, so that the fuzzer gets to the others at once.
    let (names, rest) = bytes.split_at(bytes.len().min(8));
    let names = [&[2, 9, 4], names, &[0; 8]].concat();
    check(&[&names[..11], &[4, 3, 5, b'p', b'1', 6, 2, 0, 120], rest].concat());
});

fn check(frame: &[u8]) {
    let Some(neighbour) = Neighbour::decode(frame) else { return };
    let (told, line) = (neighbour.to_string(), neighbour.line("eth0"));
    assert!(!told.chars().any(char::is_control));
    assert!(line.ends_with('\n') && line.matches(['\n', '\t']).count() == 5 && line.len() < 3 * 511 * 3);
}
