//! Costs that must not grow: the cost of a change with the size of the store, and with the number of held calls. Small
//! numbers and generous limits. `cargo lab bench server` has the large ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod measure;
mod process;

use std::time::Duration;

use measure::{Held, commit_rate, fill, fill_hardware, mac, median, one_more};
use process::{Api, Process};

const LONG_POLL: Duration = Duration::from_secs(55);

fn start(store: &std::path::Path) -> Process {
    Process::start(&["--exact", "serving_process", "--nocapture", "--test-threads=1"], store, LONG_POLL)
}

/// Not a real test: it is the process that is measured.
#[test]
fn serving_process() {
    process::serve_if_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_costs_the_same_beside_many_objects_and_held_calls() {
    if process::is_serving_process() {
        return;
    }
    server::allow_many_connections();
    let folder = tempfile::tempdir().unwrap();
    let (mut empty, mut full) = (start(&folder.path().join("empty.redb")), start(&folder.path().join("full.redb")));
    let (at_empty, at_full) = (empty.addresses().await.unwrap(), full.addresses().await.unwrap());
    let [few, many] = [Api::of(at_empty), Api::of(at_full)];
    fill(&few, 1, 1).await;
    fill(&many, 1, 1500).await;
    let times = one_more([&few, &many], 10_000, 40).await;
    let [small, large] = times.map(|times| median(&times));
    println!("one more object: {small:.1} ms in an empty store, {large:.1} ms beside 3000");
    assert!(large < 2.0 * small, "one more object: {large:.1} ms beside 3000, {small:.1} ms in an empty store");

    let alone = commit_rate(&few, 20_000, 40).await;
    let strangers = Held::calls(&empty, at_empty, (0..600).map(|number| format!("stranger-{number}"))).await;
    let held = commit_rate(&few, 30_000, 40).await;
    println!("changes in a second: {alone:.0} alone, {held:.0} with 600 held calls");
    assert!(held > alone / 3.0, "changes in a second: {alone:.0} alone, {held:.0} with 600 held calls");
    drop(strangers);

    fill_hardware(&many, 40_000, 200).await;
    let idle = Held::calls(&full, at_full, (40_000..40_200).map(mac)).await;
    let starts = median(&idle.starts(&many, (40_000..40_200).step_by(17)).await);
    println!("an idle agent has a new workflow's first action after {starts:.1} ms");
    assert!(starts < 500.0, "an idle agent had its first action after {starts:.1} ms");
}
