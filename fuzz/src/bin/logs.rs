//! Any bytes of a segment: the lines in it are whole, bounded, and without effect on a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = logs::whole(bytes);
    let mut again = Vec::new();
    for line in logs::decode(bytes) {
        assert!([&line.text, &line.from, &line.action].iter().all(|text| machine::is_harmless(text)));
        logs::encode(line, &mut again);
    }
    assert!(whole <= bytes.len() && logs::decode(&bytes[whole..]).next().is_none());
    assert_eq!(logs::decode(&again).count(), again.iter().filter(|byte| **byte == b'\n').count());
    let text = String::from_utf8_lossy(bytes);
    let escaped = logs::escaped(&text, logs::MAX_TEXT);
    assert!(machine::is_harmless(&escaped) && !escaped.contains('\n') && escaped.chars().count() <= 10 * logs::MAX_TEXT);
    let source = logs::Source::Workflow(text.into_owned());
    assert_eq!(source.path().components().count(), 2);
});
