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
    let open = |kind: io::ErrorKind| unusable(Path::new("/data/thimble.redb"), io::Error::from(kind).into()).to_string();
    for (kind, advice) in [
        (io::ErrorKind::ReadOnlyFilesystem, "cannot open the store /data/thimble.redb; mount its file system writable"),
        (io::ErrorKind::StorageFull, "; its disk is full"),
        (io::ErrorKind::PermissionDenied, "; it has to belong to the user of this process"),
    ] {
        assert!(open(kind).contains(advice), "{}", open(kind));
    }
}
