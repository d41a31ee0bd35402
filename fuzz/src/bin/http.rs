//! Any bytes are a request, the beginning of one, or refused. The same bytes in two pieces mean the same.
#![no_main]

use boots::http::head::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&[b"GET /files/a HTTP/1.1\r\nRange: ", bytes].concat());
});

fn check(bytes: &[u8]) {
    let Ok(Some(head)) = Head::decode(bytes) else { return };
    assert!(head.length > 0 && head.length <= bytes.len());
    let again = Head::decode(&bytes[..head.length]);
    assert!(again.is_ok_and(|again| again.is_some_and(|again| again.length == head.length && again.is_plain == head.is_plain)));
    assert!(!matches!(Head::decode(&bytes[..head.length - 1]), Ok(Some(_))), "a head ends with its empty line");
}
