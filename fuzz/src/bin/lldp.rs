//! Any bytes: what a switch says about itself becomes one line of a log and one line of a file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid1::network::lldp::Neighbour;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The three fields at the start of every frame, so that the fuzzer reaches the others at once.
    let (names, rest) = bytes.split_at(bytes.len().min(8));
    let names = [&[2, 9, 4], names, &[0; 8]].concat();
    check(&[&names[..11], &[4, 3, 5, b'p', b'1', 6, 2, 0, 120], rest].concat());
});

fn check(frame: &[u8]) {
    let Some(neighbour) = Neighbour::decode(frame) else { return };
    let (shown, line) = (neighbour.to_string(), neighbour.on("eth0").render());
    assert!(!shown.chars().any(char::is_control));
    assert!(line.ends_with('\n') && line.matches(['\n', '\t']).count() == 5 && line.len() < 3 * 511 * 3);
}
