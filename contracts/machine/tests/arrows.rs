//! Which package may depend on which. ARCHITECTURE.md draws these arrows, and this test checks them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// (package, what it must not depend on, the rule)
const ARROWS: &[(&str, &[&str], &str)] = &[
    (
        "pid1",
        &["agent", "tokio", "tonic", "libcontainer", "reqwest"],
        "PID 1's library knows neither the agent nor what it is made of",
    ),
    ("agent", &["server", "boots", "pid1", "thimble"], "the agent does not depend on a server or on PID 1"),
    ("boots", &["server", "pid1", "agent", "init"], "boots does not depend on the server or on what runs on the machine"),
    ("oci", &["agent", "server", "boots", "pid1"], "images are used by the programs and know none of them"),
    ("netconfig", &["agent", "server", "boots", "pid1"], "network files are made from data, not from a program's state"),
    ("metadata", &["agent", "server", "boots", "pid1"], "metadata is made from Hardware, not from a program's state"),
    ("actions", &["agent", "server", "boots", "pid1"], "an action depends on no daemon"),
    ("initramfs", &["agent", "server", "boots", "pid1"], "a ramdisk is made without the programs that use it"),
    ("server", &["boots", "agent", "pid1"], "the server does not depend on its clients"),
    ("storm", &["server", "boots", "agent", "pid1"], "simulated machines know the wires, not the programs at their ends"),
    (
        "init",
        &["containerd-client", "clap", "gotemplate", "metrics", "serde-saphyr", "env_logger", "openssl-sys", "aws-lc-rs"],
        "the ramdisk has nothing that only hosts need, because every byte is memory of the machine",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Everything `package` is built from, tests left out: names, and the folders of those in this workspace.
fn tree(package: &str) -> Vec<(String, Option<PathBuf>)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", package, "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let package = |line: &str| {
        let name = line.split(' ').next()?.to_owned();
        let folder = line.split(['(', ')']).find(|part| part.starts_with('/')).map(PathBuf::from);
        (!name.is_empty()).then_some((name, folder))
    };
    let found: Vec<_> = text.lines().filter_map(package).collect();
    assert!(!found.is_empty(), "no tree: {}", String::from_utf8_lossy(&output.stderr));
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

#[test]
fn packages_know_only_what_the_picture_shows() {
    for (package, forbidden, rule) in ARROWS {
        let names: BTreeSet<String> = tree(package).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(*package), "the workspace has no package {package}: mend the table");
        let wrong: Vec<_> = forbidden.iter().filter(|name| names.contains(**name)).collect();
        assert!(wrong.is_empty(), "{rule}; but {package} depends on {wrong:?}. See `cargo tree -p {package} -i {}`", wrong[0]);
    }
}

#[test]
fn a_contract_depends_on_contracts_only() {
    let contracts = root().join("contracts");
    for contract in fs::read_dir(&contracts).unwrap().map(|entry| entry.unwrap().path()) {
        let manifest = fs::read_to_string(contract.join("Cargo.toml")).unwrap();
        let package = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let ours = tree(package).into_iter().filter_map(|(_, folder)| folder);
        let wrong: Vec<_> = ours.filter(|folder| !folder.starts_with(&contracts)).collect();
        assert!(wrong.is_empty(), "{package} is below contracts/ and may only depend on what is there, not on {wrong:?}");
    }
}

#[test]
fn one_file_of_the_ramdisks_program_calls_the_agent() {
    let main = root().join("init/src/main.rs");
    let calls: Vec<_> = sources(&root().join("init"))
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().contains("agent::main"))
        .collect();
    assert_eq!(calls, [main], "PID 1 starts the agent as a process; main.rs alone links it");
}

#[test]
fn the_client_commands_know_the_api_and_not_the_servers_inside() {
    let is_test = |file: &Path| file.ends_with("tests.rs");
    for file in sources(&root().join("thimble/src/client")).iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("server::"), "a client command uses the crate api, but {} names server::", file.display());
    }
}
