//! The logs on a real file system: restarts, torn files, limits, floods, readers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{LogLine, LogStream};
use jiff::{SignedDuration, Timestamp};
use logs::{Limits, Logs, Reader, Source};

const DAY: Duration = Duration::from_secs(86_400);
const LIMIT: Duration = Duration::from_secs(20);

fn workflow() -> Source {
    Source::Workflow("default/install".to_owned())
}

fn line(action: &str, text: impl Into<String>) -> LogLine {
    let (from, action) = ("m".to_owned(), action.to_owned());
    LogLine { time: Timestamp::now(), from, action, stream: LogStream::Stdout, text: text.into() }
}

fn small() -> Limits {
    Limits { segment: 8 << 10, total: 256 << 10, each: 64 << 10, age: 30 * DAY, keep_free: 0 }
}

fn open(folder: &Path) -> Logs {
    Logs::open(folder, small()).unwrap()
}

fn all(mut reader: Reader) -> Vec<LogLine> {
    let mut found = Vec::new();
    loop {
        match reader.read().unwrap() {
            lines if lines.is_empty() => return found,
            lines => found.extend(lines),
        }
    }
}

fn texts(logs: &Logs, source: Source) -> Vec<String> {
    all(logs.read(source, None)).into_iter().map(|line| line.text).collect()
}

/// Waits until so many lines are written.
async fn until(reader: &mut Reader, lines: usize) -> Vec<LogLine> {
    let mut found = Vec::new();
    let wait = async {
        while found.len() < lines {
            match reader.read().unwrap() {
                none if none.is_empty() => reader.changed().await,
                some => found.extend(some),
            }
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("the lines were not written in time");
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn size(folder: &Path) -> u64 {
    let folders = ["workflows", "machines"].into_iter().flat_map(|kind| files(&folder.join(kind)));
    folders.flat_map(|folder| files(&folder)).map(|file| fs::metadata(file).unwrap().len()).sum()
}

#[test]
fn lines_survive_a_restart_and_come_back_in_their_order() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("log");
    for part in 0..3 {
        let logs = open(&folder);
        logs.append(&workflow(), (0..100).map(|n| line("a", format!("{part}.{n} {}", "x".repeat(100)))));
    }
    let logs = open(&folder);
    let expected = (0..3).flat_map(|part| (0..100).map(move |n| format!("{part}.{n} {}", "x".repeat(100))));
    assert_eq!(texts(&logs, workflow()), expected.collect::<Vec<_>>());
    let segments = files(&folder.join("workflows/default_install"));
    assert!(segments.len() > 3 && segments[0].ends_with("00000001.jsonl"), "{segments:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("workflows")), mode(&segments[0])), (0o700, 0o700, 0o600));
}

#[test]
fn a_segment_cut_at_any_byte_keeps_its_whole_lines_and_goes_on() {
    let place = tempfile::tempdir().unwrap();
    drop({
        let logs = open(place.path());
        logs.append(&workflow(), ["one", "two \u{1b}[2J", "three"].map(|text| line("a", text)));
        logs
    });
    let file = place.path().join("workflows/default_install/00000001.jsonl");
    let whole = fs::read(&file).unwrap();
    let before = ["one", "two \\u{1b}[2J", "three"];
    for cut in 0..=whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let kept = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        let logs = open(place.path());
        assert_eq!(texts(&logs, workflow()), before[..kept], "cut at {cut}, as it is");
        logs.append(&workflow(), [line("a", "later")]);
        drop(logs);
        let expected: Vec<&str> = before[..kept].iter().copied().chain(["later"]).collect();
        assert_eq!(texts(&open(place.path()), workflow()), expected, "cut at {cut}, written to again");
    }
}

#[test]
fn garbage_in_the_folder_is_left_alone_and_does_no_harm() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("workflows/default_install");
    fs::create_dir_all(&folder).unwrap();
    fs::write(place.path().join("workflows/README"), "mine").unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    fs::write(folder.join("00000001.jsonl"), [vec![0; 300 << 10], b"\n{\"time\":1}\nno end".to_vec()].concat()).unwrap();
    let logs = open(place.path());
    logs.append(&workflow(), [line("a", "later")]);
    drop(logs);
    assert_eq!(texts(&open(place.path()), workflow()), ["later"]);
    assert!(place.path().join("workflows/README").exists() && folder.join("notes.txt").exists());
}

#[tokio::test]
async fn a_flood_of_one_source_is_bounded_on_disk_and_pushes_out_no_line_of_another() {
    let place = tempfile::tempdir().unwrap();
    let logs = open(place.path());
    let quiet = Source::Machine("default/quiet".to_owned());
    logs.append(&quiet, [line("", "first")]);
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < Duration::from_secs(1) {
        logs.append(&workflow(), (0..100).map(|n| line("a", format!("{n} {}", "x".repeat(1000)))));
        sent += 100;
    }
    logs.append(&quiet, [line("", "last")]);
    let mut reader = logs.read(quiet.clone(), None);
    let lines = until(&mut reader, 2).await;
    assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["first", "last"]);
    drop(logs);
    let bytes = size(place.path());
    assert!(bytes <= small().each + small().segment + logs::BURST as u64, "{bytes} bytes of {sent} kB sent");
    let logs = open(place.path());
    let lines = all(logs.read(workflow(), None));
    assert!(lines.iter().any(|line| line.stream == LogStream::Note && line.text.contains("lines were dropped")), "{sent} lines");
    assert_eq!(texts(&logs, quiet), ["first", "last"]);
}

#[tokio::test]
async fn old_segments_and_surplus_ones_are_removed_while_the_log_is_written_and_read() {
    let place = tempfile::tempdir().unwrap();
    let logs = open(place.path());
    let mut reader = logs.read(workflow(), None);
    for n in 0..60 {
        logs.append(&workflow(), (0..20).map(|m| line("a", format!("{n}.{m} {}", "x".repeat(100)))));
        let newest = until(&mut reader, 20).await;
        assert!(newest.last().unwrap().text.starts_with(&format!("{n}.19 ")), "a follower never stops: {newest:?}");
    }
    let kept = texts(&logs, workflow());
    assert!(kept.len() < 1200 && kept.last().unwrap().starts_with("59.19"), "{}", kept.len());
    assert!(!kept[0].starts_with("0."), "the oldest ones went first");
    drop(logs);

    let old = Limits { age: Duration::ZERO, ..small() };
    drop(Logs::open(place.path(), old).unwrap());
    assert_eq!(texts(&open(place.path()), workflow()), Vec::<String>::new());
    assert!(files(&place.path().join("workflows")).is_empty(), "the empty folder went, too");
}

#[tokio::test]
async fn a_follower_has_a_line_within_100_milliseconds() {
    let place = tempfile::tempdir().unwrap();
    let logs = open(place.path());
    let mut reader = logs.read(workflow(), None);
    let mut took = Vec::new();
    for n in 0..20 {
        let start = Instant::now();
        logs.append(&workflow(), [line("a", n.to_string())]);
        assert_eq!(until(&mut reader, 1).await[0].text, n.to_string());
        took.push(start.elapsed());
    }
    took.sort();
    println!("20 lines came after {took:?}");
    assert!(took[10] < Duration::from_millis(100), "half of them took longer: {took:?}");
}

#[test]
fn a_reader_can_begin_later_and_at_one_action() {
    let place = tempfile::tempdir().unwrap();
    let logs = open(place.path());
    let at = |second: i64, action, text: &str| {
        let time = Timestamp::now().checked_sub(SignedDuration::from_secs(3600 - second)).unwrap();
        LogLine { time, ..line(action, text) }
    };
    logs.append(&workflow(), [at(0, "one", "a"), at(10, "one", "b"), at(20, "two", "c"), at(30, "one", "d")]);
    drop(logs);
    let logs = open(place.path());
    let since = Timestamp::now().checked_sub(SignedDuration::from_secs(3595)).unwrap();
    let read = |since, action: Option<&str>| -> Vec<String> {
        all(logs.read(workflow(), since).of_action(action.map(str::to_owned))).into_iter().map(|line| line.text).collect()
    };
    assert_eq!(read(Some(since), None), ["b", "c", "d"]);
    assert_eq!(read(None, Some("one")), ["a", "b", "d"]);
    assert_eq!(read(Some(since), Some("two")), ["c"]);
    assert_eq!(read(Some(Timestamp::MAX), None), Vec::<String>::new());
}

#[test]
fn without_room_for_the_store_nothing_is_written_and_nothing_waits() {
    let place = tempfile::tempdir().unwrap();
    let logs = Logs::open(place.path(), Limits { keep_free: u64::MAX, ..small() }).unwrap();
    logs.append(&workflow(), [line("a", "x")]);
    drop(logs);
    assert_eq!(texts(&open(place.path()), workflow()), Vec::<String>::new());
}
