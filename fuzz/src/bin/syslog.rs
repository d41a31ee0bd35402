//! Any datagram becomes a message of bounded length, without control characters. A connection has the same messages in whatever
//! pieces it comes, each of bounded length, and what was framed is found again.
#![no_main]

use boots::syslog::{Frames, LONGEST};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let message = boots::syslog::parse(bytes);
    assert!(message.severity <= 7 && message.facility <= 23);
    assert!(message.text.chars().count() <= 8 * 1024);
    assert!(![&message.text, &message.tag].iter().any(|text| text.contains(['\n', '\r', '\x1b', '\0'])));

    let whole = messages(&[bytes]);
    let sizes = bytes.iter().map(|byte| usize::from(*byte) % 7 + 1);
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(messages(&pieces), whole);
    assert!(whole.iter().all(|message| message.len() <= LONGEST));
    assert!(whole.iter().map(Vec::len).sum::<usize>() <= bytes.len());
    let counted = [format!("{} <", bytes.len() + 1).as_bytes(), bytes, b"<13>next\n"].concat();
    let found = messages(&[&counted]);
    assert_eq!(found.last().map(Vec::as_slice), Some(&b"<13>next"[..]));
    assert_eq!(found.len(), 2);
});

fn messages(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for mut piece in pieces.iter().copied() {
        while let Some(message) = frames.next(&mut piece) {
            found.push(message);
        }
    }
    found.extend(frames.end());
    found
}
