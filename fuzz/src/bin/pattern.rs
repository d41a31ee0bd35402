//! Any text as a pattern, and any text as an event: it is refused with a position, or matches the same way every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pattern::{Pattern, matching};
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (one, other) = text.split_once('\0').unwrap_or((text, text));
    ask(one, other);
    // The text stands in an operator, so that the fuzzer reaches the small languages at once.
    for operator in ["regexp", "wildcard", "shellstyle", "prefix", "equals-ignore-case"] {
        ask(&json!({"a": [{operator: one}]}).to_string(), &json!({"a": [other, {"a": 1}]}).to_string());
    }
});

fn ask(text: &str, event: &str) {
    let pattern = match Pattern::parse(text) {
        Ok(pattern) => pattern,
        Err(fault) => return assert!(!fault.place.is_empty() && !fault.message.is_empty()),
    };
    let Ok(event) = serde_json::from_str::<Value>(event) else { return };
    let alone = pattern.matches(&event);
    assert_eq!(matching([&pattern, &pattern], &event).len(), 2 * usize::from(alone));
}
