use std::os::unix::fs::PermissionsExt;

use api::backup::{Entry, LAYOUT, Writer};
use jiff::Timestamp;

use super::*;
use crate::store::{Redb, Store, StoreError, Transaction};

fn backup(format: u64, keys: &[&str]) -> Vec<u8> {
    let (taken, version) = (Timestamp::UNIX_EPOCH, "0.1.0".to_owned());
    let head = Head { thimble_backup: LAYOUT, format, revision: 40, entries: keys.len() as u64, taken, version };
    let mut writer = Writer::default();
    let mut file = writer.head(&head);
    for key in keys {
        let entry = Entry { key: (*key).to_owned(), created: 3, modified: 7, value: b"{}".to_vec() };
        file.extend(writer.entry(entry));
    }
    file.extend(writer.end());
    file
}

async fn keys(path: &Path) -> (Vec<(String, u64, u64)>, u64) {
    let store = Redb::open(path).unwrap();
    let (mut pairs, revision) = store.list("").await.unwrap();
    pairs.retain(|pair| pair.key != RESTORED);
    (pairs.into_iter().map(|pair| (pair.key, pair.created, pair.modified)).collect(), revision)
}

async fn filled(path: &Path) {
    let store = Redb::open(path).unwrap();
    store.commit(Transaction::default().put("/old", 0, b"{}".to_vec())).await.unwrap();
}

#[tokio::test]
async fn a_restored_store_has_the_content_and_the_revisions_of_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/thimble.redb");
    let restored = restore(&path, backup(FORMAT, &["/a", "history/b"]).as_slice(), false).unwrap();
    assert_eq!((restored.head.revision, restored.kept), (40, None));
    let expected = ["/a", "history/b"].map(|key| (key.to_owned(), 3, 7));
    assert_eq!(keys(&path).await, (expected.to_vec(), 40));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let store = Redb::open(&path).unwrap();
    assert_eq!(store.get(RESTORED).await.unwrap().unwrap().value, b"1970-01-01T00:00:00Z");
    assert_eq!(store.commit(Transaction::default().put("/c", 0, Vec::new())).await.unwrap(), 41, "it goes on from there");
}

#[tokio::test]
async fn a_store_with_content_is_replaced_by_force_only_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    filled(&path).await;
    let refused = restore(&path, backup(FORMAT, &["/a"]).as_slice(), false).unwrap_err();
    assert!(matches!(refused, RestoreError::NotEmpty { entries: 1, .. }), "{refused}");
    assert_eq!(keys(&path).await.0[0].0, "/old");
    let kept = restore(&path, backup(FORMAT, &["/a"]).as_slice(), true).unwrap().kept.unwrap();
    assert_eq!((keys(&path).await.0[0].0.as_str(), keys(&kept).await.0[0].0.as_str()), ("/a", "/old"));
    let second = restore(&path, backup(FORMAT, &["/b"]).as_slice(), true).unwrap().kept.unwrap();
    assert!(second != kept && keys(&second).await.0[0].0 == "/a", "each old file has a name of its own");
}

#[tokio::test]
async fn what_cannot_be_restored_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    filled(&path).await;
    let whole = backup(FORMAT, &["/a", "/b"]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (case, file, expected) in [
        ("later format", backup(FORMAT + 1, &["/a"]), "knows formats up to"),
        ("cut", whole[..whole.len() - 30].to_vec(), "the backup cannot be used"),
        ("changed", flipped, "the backup cannot be used"),
        ("not a backup", b"kind: Hardware\n".to_vec(), "the backup cannot be used"),
    ] {
        let refused = restore(&path, file.as_slice(), true).unwrap_err().to_string();
        assert!(refused.contains(expected), "{case}: {refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{case} leaves nothing behind");
        assert_eq!(keys(&path).await.0[0].0, "/old", "{case}");
    }
}

#[tokio::test]
async fn a_store_that_a_server_uses_is_not_replaced_even_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    let store = Redb::open(&path).unwrap();
    let refused = restore(&path, backup(FORMAT, &["/a"]).as_slice(), true).unwrap_err();
    assert!(matches!(refused, RestoreError::InUse(_)), "{refused}");
    assert!(store.list("").await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_damaged_store_is_replaced_by_force_and_is_kept_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    fs::write(&path, b"redb?").unwrap();
    assert!(matches!(Redb::open(&path), Err(StoreError::Damaged { .. })));
    assert!(matches!(restore(&path, backup(FORMAT, &["/a"]).as_slice(), false), Err(RestoreError::Unreadable { .. })));
    let kept = restore(&path, backup(FORMAT, &["/a"]).as_slice(), true).unwrap().kept.unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"redb?");
    assert_eq!(keys(&path).await.0[0].0, "/a");
}

/// Format 1 has no intents; opening makes them.
#[tokio::test]
async fn a_backup_of_an_earlier_format_is_migrated_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    restore(&path, backup(1, &["/a"]).as_slice(), false).unwrap();
    assert_eq!(keys(&path).await.1, 41, "the migration is a revision");
    assert!(folder.path().join("thimble.redb.format-1").exists());
}
