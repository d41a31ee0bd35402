//! Any table of machines is read in bounded memory, and what is found in it can be written as the same row.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine::site::{Found, Identity, LINE_MAX, find, first_line, serial};

const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f384832";

fuzz_target!(|bytes: &[u8]| {
    let (own, rows) = bytes.split_at(bytes.len().min(12));
    let identity = Identity {
        uuid: UUID.parse().ok(),
        serial: serial(&String::from_utf8_lossy(own)),
        macs: own.get(..6).and_then(|mac| mac.try_into().ok()).map(cmdline::HwAddr).into_iter().collect(),
    };
    let _ = find(bytes, &identity);
    // A good first line, and a row with this machine's UUID in front of the rest, so that the fuzzer reaches the fields.
    let first = first_line("panic=30").unwrap_or_default();
    let table = [first.as_bytes(), b"a\t", UUID.as_bytes(), b"\t", rows].concat();
    let Ok(answer) = find(table.as_slice(), &identity) else { return };
    if let Found::Machine { row, .. } = answer.found {
        assert!(row.name.len() + row.arguments.len() <= LINE_MAX);
        let Ok(line) = row.render() else { return };
        let again = find([first.as_bytes(), line.as_bytes()].concat().as_slice(), &identity);
        let Ok(Found::Machine { row: again, .. }) = again.map(|answer| answer.found) else { panic!("{line:?} is not read") };
        assert_eq!(again.render(), Ok(line));
    }
});
