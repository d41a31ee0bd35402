//! The archive against Debian's cpio, and its rules.

use super::*;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

fn sample() -> Archive {
    let mut archive = Archive::new(0);
    archive.add("/init", 0o755, Node::File(b"#!static\n".to_vec())).unwrap();
    archive.add("tmp", 0o1777, Node::Directory).unwrap();
    archive.add("dev/console", 0o600, Node::CharDevice { major: 5, minor: 1 }).unwrap();
    archive.add("dev/vda", 0o660, Node::BlockDevice { major: 254, minor: 0 }).unwrap();
    archive.add("bin/sh", 0o777, Node::Symlink("/init".into())).unwrap();
    archive.add("a-link", 0o755, Node::Hardlink("/init".into())).unwrap();
    archive
}

/// Runs Debian's cpio on the archive. The tests fail without it.
fn cpio(arguments: &[&str], archive: &[u8]) -> String {
    let mut child = Command::new("cpio")
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tests need Debian's package cpio");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(archive).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "cpio {arguments:?} failed");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn debians_cpio_lists_what_was_added() {
    let listing = cpio(&["--quiet", "-itv"], &sample().to_bytes().unwrap());
    let lines: Vec<String> = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "-rwxr-xr-x 2 root root 0 Jan 1 1970 a-link",
            "drwxr-xr-x 1 root root 0 Jan 1 1970 bin",
            "lrwxrwxrwx 1 root root 5 Jan 1 1970 bin/sh -> /init",
            "drwxr-xr-x 1 root root 0 Jan 1 1970 dev",
            "crw------- 1 root root 5, 1 Jan 1 1970 dev/console",
            "brw-rw---- 1 root root 254, 0 Jan 1 1970 dev/vda",
            "-rwxr-xr-x 2 root root 9 Jan 1 1970 init",
            "drwxrwxrwt 1 root root 0 Jan 1 1970 tmp",
        ]
    );
}

#[test]
fn debians_cpio_unpacks_the_contents_under_both_names() {
    let archive = sample().to_bytes().unwrap();
    for name in ["init", "a-link"] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        cpio(&["--quiet", "-id", "-D", place, "init", "a-link", "--no-absolute-filenames"], &archive);
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), b"#!static\n", "{name}");
    }
}

#[test]
fn the_order_of_adding_does_not_show() {
    let mut other = Archive::new(0);
    other.add("a-link", 0o755, Node::Hardlink("init".into())).unwrap();
    other.add("bin/sh", 0o777, Node::Symlink("/init".into())).unwrap();
    other.add("dev/vda", 0o660, Node::BlockDevice { major: 254, minor: 0 }).unwrap();
    other.add("dev/console", 0o600, Node::CharDevice { major: 5, minor: 1 }).unwrap();
    other.add("tmp", 0o1777, Node::Directory).unwrap();
    other.add("init", 0o755, Node::File(b"#!static\n".to_vec())).unwrap();
    assert_eq!(other.to_bytes().unwrap(), sample().to_bytes().unwrap());
}

#[test]
fn the_source_date_is_every_entrys_time() {
    let mut archive = Archive::new(86_400);
    archive.add("etc/hostname", 0o644, Node::File(Vec::new())).unwrap();
    let listing = cpio(&["--quiet", "-itv"], &archive.to_bytes().unwrap());
    assert_eq!(listing.lines().filter(|line| line.contains("Jan  2  1970")).count(), 2, "{listing}");
}

#[test]
fn paths_that_would_leave_the_archive_are_refused() {
    for path in ["", "/", "../x", "a/../b", "a//b", "a/", "./a", "TRAILER!!!", "a\0b"] {
        let added = Archive::new(0).add(path, 0o644, Node::Directory);
        assert_eq!(added, Err(CpioError::BadPath(path.to_owned())), "{path:?}");
    }
}

#[test]
fn a_path_is_there_once_and_below_a_directory() {
    let mut archive = sample();
    assert_eq!(archive.add("init", 0o755, Node::File(Vec::new())), Err(CpioError::Twice("init".into())));
    let below = archive.add("init/x", 0o644, Node::Directory);
    assert_eq!(below, Err(CpioError::NotADirectory { path: "init/x".into(), parent: "init".into() }));
}

#[test]
fn a_hard_link_needs_its_file() {
    let mut archive = Archive::new(0);
    archive.add("a", 0o644, Node::Hardlink("b".into())).unwrap();
    let expected = CpioError::DanglingHardlink { path: "a".into(), to: "b".into() };
    assert_eq!(archive.to_bytes(), Err(expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn debians_cpio_reads_any_set_of_files(
        files in proptest::collection::btree_map("[a-z]{1,9}(/[a-z.-]{1,9}x){0,3}", proptest::collection::vec(any::<u8>(), 0..70), 0..12)
    ) {
        let mut archive = Archive::new(0);
        let mut added = Vec::new();
        for (path, data) in &files {
            // A random name may be the directory of another one. It is then refused, and another test covers that.
            if archive.add(path, 0o644, Node::File(data.clone())).is_ok() {
                added.push(format!("{} {path}", data.len()));
            }
        }
        let listing = cpio(&["--quiet", "-itv"], &archive.to_bytes().unwrap());
        let mut listed: Vec<String> = listing
            .lines()
            .filter(|line| line.starts_with('-'))
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                Some(format!("{} {}", words.get(4)?, words.last()?))
            })
            .collect();
        listed.sort();
        added.sort();
        prop_assert_eq!(listed, added);
    }
}
