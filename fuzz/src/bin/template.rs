//! Any text as a template: it is parsed, checked and rendered within small limits, or refused with a message.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gotemplate::{Budget, Limits, Template};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { output: 4096, memory: 1 << 20, steps: 20_000, time: Duration::from_secs(2), depth: 60 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    render(text);
    // The text stands in an action, so that the fuzzer gets to the functions at once.
    render(&format!("{{{{ $d := dict \"a\" (list 1 \"x\" nil) }}}}{{{{ {text} }}}}"));
});

fn render(text: &str) {
    let template = match Template::parse("t", text, &LIMITS) {
        Ok(template) => template,
        Err(fault) => return assert!(fault.text.starts_with("template: t:") && fault.line > 0),
    };
    let checked = template.check();
    for outline in template.outlines('?') {
        assert!(outline.lines.len() == 1 + outline.text.matches('\n').count());
    }
    let budget = Budget::new(LIMITS, Arc::default());
    let map = BTreeMap::from([("device_1".to_owned(), "52:54:00:12:34:56".to_owned())]);
    let data = budget.data(&map, None).unwrap();
    match template.render(data, &budget, 0) {
        Ok(rendered) => assert!(rendered.len() <= LIMITS.output),
        Err(fault) => assert!(fault.text.starts_with("template: ")),
    }
    drop(checked);
}
