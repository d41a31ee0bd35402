//! The table of arguments, its examples, and the page that is written from it.

use cmdline::{ARGUMENTS, Arguments};

#[test]
fn the_page_is_what_the_table_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kernel-arguments.md");
    let written = std::fs::read_to_string(page).unwrap_or_default();
    let command = "cargo run -p cmdline --example kernel-arguments > docs/kernel-arguments.md";
    assert!(written == cmdline::page(), "docs/kernel-arguments.md is not what the table says; write it again: {command}");
}

#[test]
fn every_example_is_taken_and_written_back() {
    for argument in ARGUMENTS {
        let line = format!("{}={}", argument.name, argument.example);
        let parsed = Arguments::parse(&line);
        assert_eq!(parsed.notes, [], "{line}");
        assert!(parsed.arguments.other.is_empty(), "{line}");
        assert_eq!(parsed.arguments.render(), line);
    }
}

#[test]
fn no_name_stands_for_two_things() {
    let settings = || ARGUMENTS.iter().filter_map(|argument| argument.setting.as_ref());
    let names = ARGUMENTS.iter().map(|argument| argument.name);
    let flags = settings().flat_map(|setting| setting.aliases.iter().chain([&setting.flag]).copied());
    let variables = settings().flat_map(|setting| setting.variables.iter().copied());
    for mut names in [names.collect::<Vec<_>>(), flags.collect(), variables.collect()] {
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
