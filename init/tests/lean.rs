//! What the ramdisk's program is made of: every byte of it is memory of the machine.

use std::process::Command;

#[test]
fn the_ramdisk_has_nothing_that_only_hosts_need() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "init", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(has("libcontainer") && has("agent"), "the tree is not what it was: {tree}");
    for name in ["containerd-client", "clap", "gotmpl", "serde-saphyr", "env_logger", "openssl-sys", "aws-lc-rs"] {
        assert!(!has(name), "{name} came into the ramdisk; see the features of the agent");
    }
}
