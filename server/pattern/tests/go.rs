//! What quamina says about generated and written patterns, at the revision that Tinkerbell's server uses. `tests/go` writes
//! it.

#![allow(clippy::unwrap_used)] // helpers of tests

use pattern::{Pattern, matching};
use serde_json::Value;

/// Patterns that quamina accepts by mistake.
fn is_refused_on_purpose(pattern: &str, fault: &str) -> bool {
    let wildcard = pattern.contains("wildcard") && fault.contains("has nothing to escape");
    wildcard || fault.contains("occurs twice") || fault.contains("']' is missing")
}

fn disagreement(case: &Value) -> Option<String> {
    let texts: Vec<&str> = case["patterns"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let mut parsed = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match (Pattern::parse(text), case["accepted"][index].as_bool().unwrap()) {
            (Ok(pattern), true) => parsed.push((index, pattern)),
            (Err(_), false) => {}
            (Err(fault), true) if is_refused_on_purpose(text, &fault.message) => return None,
            (Err(fault), true) => return Some(format!("{text} is refused: {fault}")),
            (Ok(_), false) => return Some(format!("{text} is accepted")),
        }
    }
    let event: Value = serde_json::from_str(case["event"].as_str().unwrap()).unwrap();
    let found = matching(parsed.iter().map(|(_, pattern)| pattern), &event);
    let found: Vec<usize> = found.into_iter().map(|at| parsed[at].0).collect();
    let right: Vec<usize> = serde_json::from_value(case["matches"].clone()).unwrap();
    (found != right).then(|| format!("{texts:?} on {event}: quamina matches {right:?}, this {found:?}"))
}

#[test]
fn patterns_match_what_quamina_matches() {
    let cases: Vec<Value> = include_str!("go/answers.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let matching = cases.iter().filter(|case| case["matches"].as_array().is_some_and(|matches| !matches.is_empty())).count();
    assert!(cases.len() >= 500 && matching >= 200, "{} cases, {matching} match", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(disagreement).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong[..wrong.len().min(30)].join("\n"));
}
