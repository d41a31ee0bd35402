//! The language: what matches, what is refused, and how an error names its position.

#![allow(clippy::unwrap_used)] // helpers of tests

use pattern::{MAX_LENGTH, Pattern, matching};
use serde_json::{Value, json};

fn machine() -> Value {
    json!({
        "cpu": {"totalCores": 12, "processors": [{"vendor": "GenuineIntel", "cores": 4}, {"vendor": "AuthenticAMD", "cores": 8}]},
        "blockDevices": [{"name": "sda", "size": "16GB", "vendor": "ATA"}, {"name": "nvme0n1", "size": "1TB"}],
        "networkInterfaces": [
            {"name": "eth0", "mac": "52:54:00:12:34:56", "enabledCapabilities": ["tx", "rx"]},
            {"name": "eth1", "mac": "02:00:00:00:00:01", "enabledCapabilities": []},
        ],
        "chassis": {"serial": ""},
        "product": {"name": "PowerEdge R640*", "vendor": "Dell Inc."},
    })
}

#[test]
fn a_pattern_matches_a_machine_by_its_leaves() {
    for (case, pattern, matches) in [
        ("a text", r#"{"product": {"vendor": ["Dell Inc."]}}"#, true),
        ("one of several", r#"{"product": {"vendor": ["HPE", "Dell Inc."]}}"#, true),
        ("keys are combined with AND", r#"{"product": {"vendor": ["Dell Inc."], "name": ["x"]}}"#, false),
        ("numbers are floats", r#"{"cpu": {"totalCores": [1.2e1]}}"#, true),
        ("a text is not a number", r#"{"cpu": {"totalCores": ["12"]}}"#, false),
        ("a prefix", r#"{"product": {"name": [{"prefix": "PowerEdge "}]}}"#, true),
        ("wildcard", r#"{"product": {"name": [{"wildcard": "Power*640\\*"}]}}"#, true),
        ("an escaped star is a star", r#"{"product": {"name": [{"wildcard": "Power\\*"}]}}"#, false),
        ("a star may match nothing", r#"{"product": {"name": [{"wildcard": "*PowerEdge R640\\**"}]}}"#, true),
        ("shellstyle has no escape", r#"{"product": {"name": [{"shellstyle": "P*R*"}]}}"#, true),
        ("the texts around a star do not overlap", r#"{"blockDevices": {"size": [{"shellstyle": "1TB*B"}]}}"#, false),
        ("case", r#"{"cpu": {"processors": {"vendor": [{"equals-ignore-case": "genuineINTEL"}]}}}"#, true),
        ("a regexp matches the whole value", r#"{"blockDevices": {"size": [{"regexp": "[0-9]T"}]}}"#, false),
        ("regexp", r#"{"blockDevices": {"size": [{"regexp": "[0-9](G|T)B|~n"}]}}"#, true),
        ("anything but", r#"{"product": {"vendor": [{"anything-but": ["HPE", "Cisco"]}]}}"#, true),
        ("anything but its own value", r#"{"product": {"vendor": [{"anything-but": ["HPE", "Dell Inc."]}]}}"#, false),
        ("a number is anything but a text", r#"{"cpu": {"totalCores": [{"anything-but": ["12"]}]}}"#, true),
        ("an absent field does not match anything-but", r#"{"chassis": {"vendor": [{"anything-but": ["x"]}]}}"#, false),
        ("present", r#"{"chassis": {"serial": [{"exists": true}]}}"#, true),
        ("empty is present", r#"{"chassis": {"serial": [""]}}"#, true),
        ("absent", r#"{"chassis": {"vendor": [{"exists": false}]}}"#, true),
        ("an object is not a leaf", r#"{"chassis": [{"exists": true}]}"#, false),
        ("several absent", r#"{"gpuDevices": {"vendor": [{"exists": false}]}, "bios": {"vendor": [{"exists": false}]}}"#, true),
        ("same element", r#"{"networkInterfaces": {"name": ["eth0"], "mac": ["52:54:00:12:34:56"]}}"#, true),
        ("other element", r#"{"networkInterfaces": {"name": ["eth1"], "mac": ["52:54:00:12:34:56"]}}"#, false),
        ("a list in an element", r#"{"networkInterfaces": {"name": ["eth0"], "enabledCapabilities": ["rx"]}}"#, true),
        ("an empty list is absent", r#"{"networkInterfaces": {"name": ["eth1"], "enabledCapabilities": ["rx"]}}"#, false),
        ("two arrays are independent", r#"{"networkInterfaces": {"name": ["eth1"]}, "blockDevices": {"name": ["sda"]}}"#, true),
        ("an empty pattern", "{}", false),
        ("no alternatives", r#"{"cpu": {"totalCores": []}}"#, false),
        ("only the other leaf counts", r#"{"cpu": {"totalCores": []}, "chassis": {"serial": [""]}}"#, true),
    ] {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(&machine()), matches, "{case}: {pattern}");
    }
}

#[test]
fn a_fault_names_its_position() {
    let (long, deep) = ("x".repeat(MAX_LENGTH + 1), format!("{}[1]{}", r#"{"a":"#.repeat(40), "}".repeat(40)));
    let wide = format!("{{{}}}", (0..400).map(|key| format!("\"k{key}\": [1]")).collect::<Vec<_>>().join(","));
    for (pattern, place, message) in [
        ("", "line 1, column 0", "EOF"),
        ("[]", "pattern", "must be a JSON object"),
        ("{\"a\": [1]\n", "line 2, column 0", "EOF"),
        ("{\"a\": [1]} x", "line 1, column 12", "trailing"),
        (r#"{"cpu": {"totalCores": 4}}"#, "cpu.totalCores", "write [4]"),
        (r#"{"a": [1], "a": [2]}"#, "a", "occurs twice"),
        (r#"{"a": {"b": ["x", [1]]}}"#, "a.b[1]", "a list"),
        (r#"{"a": ["x", {}]}"#, "a[1]", "one key"),
        (r#"{"a": [{"prefix": "x", "exists": true}]}"#, "a[0]", "one key"),
        (r#"{"a": ["x", {"exists": true}]}"#, "a[1]", "only element"),
        (r#"{"a": [{"regexp": "x"}, {"regexp": "y"}]}"#, "a[0]", "only element"),
        (r#"{"a": [{"anything-but": ["x"]}, 1]}"#, "a[0]", "only element"),
        (r#"{"a": [{"exists": "x"}]}"#, "a[0].exists", "true or false"),
        (r#"{"a": [{"anything-but": []}]}"#, "a[0].anything-but", "at least one"),
        (r#"{"a": [{"anything-but": [1]}]}"#, "a[0].anything-but", "strings only"),
        (r#"{"a": [{"prefix": 1}]}"#, "a[0].prefix", "a string"),
        (r#"{"a": [{"wildcard": "a**"}]}"#, "a[0].wildcard", "two '*'"),
        (r#"{"a": [{"wildcard": "\\a"}]}"#, "a[0].wildcard", "must be followed by"),
        (r#"{"a": [{"wildcard": "*\\"}]}"#, "a[0].wildcard", "has nothing to escape"),
        (r#"{"a": [{"glob": "x"}]}"#, "a[0].glob", "wildcard"),
        (r#"{"a": [{"regexp": "ab*"}]}"#, "a[0].regexp", "at character 3"),
        (r#"{"a": [{"regexp": "[^a]"}]}"#, "a[0].regexp", "negated"),
        (r#"{"a": [{"regexp": "a}"}]}"#, "a[0].regexp", "escaped"),
        (r#"{"a": [{"regexp": "(a"}]}"#, "a[0].regexp", "')' is missing"),
        (&long, "pattern", "the most is 65536"),
        (&deep, "pattern", "32 levels"),
        (&wide, "k257", "256 leaves"),
    ] {
        let fault = Pattern::parse(pattern).unwrap_err();
        assert!(fault.place == place && fault.message.contains(message), "{}: {fault}", &pattern[..pattern.len().min(60)]);
    }
    assert!(
        Pattern::parse(&format!("{}1{}", "[".repeat(5000), "]".repeat(5000))).is_err(),
        "a deep list does not exhaust the stack"
    );
}

#[test]
fn each_pattern_of_a_set_gets_an_answer() {
    let patterns = [r#"{"cpu": {"totalCores": [12]}}"#, r#"{"cpu": {"totalCores": [13]}}"#, r#"{"chassis": {"serial": [""]}}"#];
    let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    assert_eq!(matching(&patterns, &machine()), [0, 2]);
    assert_eq!(matching(&patterns, &json!([])), [0_usize; 0]);
}
