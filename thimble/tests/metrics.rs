//! The page of the metrics, and the probes and metrics of a daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use boots::events::MILESTONES;

#[test]
fn the_page_has_every_metric_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let expected = metrics::rows(server::FAMILIES.into_iter().chain([&MILESTONES]));
    let found: String = page
        .lines()
        .filter(|line| line.starts_with("| `thimble_") || line.starts_with("| `process_"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(found, expected, "write this into docs/metrics.md:\n{expected}");
}
