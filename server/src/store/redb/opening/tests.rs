//! Files that were damaged from outside.

use std::fs;

use super::super::super::{Redb, Store, StoreError, Transaction};
use super::*;

const PAGE: usize = 4096;

async fn stored(path: &Path) {
    let store = Redb::open(path).unwrap();
    for n in 0..40 {
        let value = format!("{{\"n\":{n},\"x\":\"{}\"}}", "y".repeat(700));
        store.commit(Transaction::default().put(format!("/hardware/default/m{n:02}"), 0, value.into_bytes())).await.unwrap();
    }
}

/// Closed by its last owner, which may still be on its way.
async fn content(path: &Path) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let store = Redb::open(path)?;
    Ok(store.list("").await?.0.into_iter().map(|pair| (pair.key, pair.value)).collect())
}

#[tokio::test]
async fn a_page_with_a_flipped_bit_is_noticed_or_does_not_matter_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    stored(&path).await;
    let whole = fs::read(&path).unwrap();
    let expected = content(&path).await.unwrap();
    let mut refused = 0;
    for page in (0..whole.len() / PAGE).filter(|page| whole[page * PAGE..][..PAGE].iter().any(|byte| *byte != 0)) {
        let mut damaged = whole.clone();
        damaged[page * PAGE + PAGE / 3] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        match content(&path).await {
            Ok(found) => assert_eq!(found, expected, "page {page}: an acknowledged write is missing"),
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }), "page {page}: {error}");
                assert!(error.to_string().contains("thimble restore FILE --force"), "{error}");
                refused += 1;
                damaged = fs::read(&path).unwrap();
                damaged[page * PAGE + PAGE / 3] ^= 0x10;
                fs::write(&path, damaged).unwrap();
                assert_eq!(content(&path).await.unwrap(), expected, "page {page}: the refusal has changed the file");
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(refused > 3, "{refused} pages matter");
}

#[tokio::test]
async fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    stored(&path).await;
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 9, 64, 319, PAGE, 3 * PAGE, whole.len() / 2 + 7, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = content(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{length}: {error}");
        assert_eq!(fs::read(&path).unwrap().len(), length, "it stays as it is");
    }
    fs::write(&path, b"#!/bin/sh\nthis is a script of some length, which is not a store at all\n").unwrap();
    assert!(matches!(content(&path).await, Err(StoreError::Damaged { .. })));
}

#[test]
fn the_cause_decides_what_to_do() {
    for (case, source, expected) in [
        ("read-only", io::Error::from_raw_os_error(30).into(), "store /d/thimble.redb; mount its file system writable, or"),
        ("no room", io::Error::from_raw_os_error(28).into(), "store /d/thimble.redb; its disk is full: make room on it"),
        ("no quota", io::Error::from_raw_os_error(122).into(), "; its disk is full"),
        (
            "no room, from redb",
            redb::Error::from(StorageError::from(io::Error::from_raw_os_error(28))).into(),
            "; its disk is full",
        ),
        ("another user's", io::Error::from_raw_os_error(13).into(), "; it has to belong to the user of this process"),
        ("a bad disk", io::Error::from_raw_os_error(5).into(), "; its disk fails: look at the kernel's log"),
        ("another cause", io::Error::other("it is not a file").into(), "cannot open the store /d/thimble.redb"),
    ] {
        let line = unusable(Path::new("/d/thimble.redb"), source).to_string();
        assert!(line.contains(expected), "{case}: {line}");
    }
}

#[test]
fn a_pipe_or_a_folder_in_the_place_of_the_store_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    let at = rustix::fs::CWD;
    rustix::fs::mknodat(at, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
    assert!(matches!(Redb::open(&path), Err(StoreError::Open { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(Redb::open(&path), Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn a_start_writes_nothing_into_a_store_that_needs_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    stored(&path).await;
    let (database, _) = opened(&path).unwrap();
    assert_eq!(prepared(&database).unwrap(), Some(40));
    let fresh = Database::builder().create(folder.path().join("fresh")).unwrap();
    assert_eq!(prepared(&fresh).unwrap(), None, "it has no tables yet");
}
