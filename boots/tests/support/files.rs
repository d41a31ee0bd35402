//! Two machines in files, and what a source says of them.

use std::time::{Duration, Instant};

use boots::{FileSource, MachineSource};
use model::Mac;

use super::{LIMIT, assert_logged, count_logged};

pub const FIRST: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
pub const SECOND: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

pub fn hardware(name: &str, mac: Mac) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}}}\n\
         spec: {{interfaces: [{{dhcp: {{mac: \"{mac}\"}}, netboot: {{allowPXE: true}}}}]}}\n"
    )
}

pub async fn names(source: &FileSource) -> Vec<String> {
    let mut names = Vec::new();
    for mac in [FIRST, SECOND] {
        names.extend(source.machine(mac).await.unwrap().map(|machine| machine.name));
    }
    names
}

pub async fn comes_to_have(source: &FileSource, expected: &[&str]) {
    let begun = Instant::now();
    while names(source).await != expected {
        assert!(begun.elapsed() < LIMIT, "{:?} in place of {expected:?}", names(source).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn comes_to_log(words: &[&str]) {
    let begun = Instant::now();
    while words.iter().any(|word| count_logged(word) == 0) {
        assert!(begun.elapsed() < LIMIT, "no line with {words:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_logged(words);
}
