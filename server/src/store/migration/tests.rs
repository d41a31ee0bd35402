//! `format-1.txt` is a store that the last version of format 1 wrote. It has its revision, and for each key the revisions
//! of its first and latest write, the key and the value.

use std::path::Path;

use model::ObjectName;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::super::{Redb, Store, StoreError};
use super::*;
use crate::boot::boot_state;
use crate::service::{Config, Server};

const ENTRIES: TableDefinition<&str, (u64, u64, &[u8])> = TableDefinition::new("entries");
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

fn old_pairs() -> (Vec<KeyValue>, u64) {
    let mut lines = include_str!("format-1.txt").lines();
    let revision = lines.next().unwrap().parse().unwrap();
    let pair = |line: &str| {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let [created, modified, key, value] = parts.as_slice() else { panic!("{line}") };
        let (created, modified) = (created.parse().unwrap(), modified.parse().unwrap());
        KeyValue { key: (*key).to_owned(), value: value.as_bytes().to_vec(), created, modified }
    };
    (lines.map(pair).collect(), revision)
}

/// Writes the file as format 1 did.
fn write_old_store(path: &Path) {
    let (pairs, revision) = old_pairs();
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut entries = transaction.open_table(ENTRIES).unwrap();
        for KeyValue { key, value, created, modified } in pairs {
            entries.insert(key.as_str(), (created, modified, value.as_slice())).unwrap();
        }
        transaction.open_table(NUMBERS).unwrap().insert("revision", revision).unwrap();
    }
    transaction.commit().unwrap();
}

fn config(path: &Path) -> Config {
    Config { store: Some(path.to_owned()), ..Config::default() }
}

#[tokio::test]
async fn a_store_of_format_1_opens_and_no_machine_comes_closer_to_an_installation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    write_old_store(&path);
    let server = Server::open(config(&path)).await.unwrap();
    for (number, case, expected) in [
        (1, "the newest workflow is SUCCESS", "local: local"),
        (2, "PENDING", "install default/w02: install"),
        (3, "RUNNING", "install default/w03: install"),
        (4, "FAILED: it waits in the ramdisk", "inventory: wait"),
        (5, "SUCCESS, then a disabled one: it waits in the ramdisk", "inventory: wait"),
        (6, "no workflow", "inventory: wait"),
        (7, "FAILED, but its system has announced itself", "local: local"),
        (8, "PENDING, then a cancelled one: it installs the older", "install default/w08a: install"),
        (9, "SUCCESS, then one whose template is missing", "inventory: wait"),
        (10, "PENDING, and its system has announced itself since", "local: local"),
        (11, "announced, and then ordered again", "install default/w11: install"),
        (12, "the older is SUCCESS, the newer PENDING", "install default/w12b: install"),
        (13, "announced, without any workflow", "local: local"),
    ] {
        let view = server.view();
        let name = ObjectName::new("default", format!("node-{number:02}"));
        let state = &view.machines.get(&name).unwrap().object;
        let boot = boot_state(&view, &view.hardware.get(&name).unwrap().object, None);
        let orders = state.orders.iter().map(|order| format!(" {order}")).collect::<String>();
        let found = format!("{}{orders}: {}", state.decision.intent, boot.word());
        assert_eq!(found, expected, "node-{number:02}: {case}");
        assert_eq!(state.decision.by == BY, number != 6, "{number}");
    }
    let kept = folder.path().join("thimble.redb.format-1");
    let file = Database::open(kept).unwrap();
    let database = file.begin_read().unwrap();
    let entries = database.open_table(ENTRIES).unwrap();
    for KeyValue { key, value, created, modified } in old_pairs().0 {
        let kept = entries.get(key.as_str()).unwrap().unwrap();
        assert_eq!(kept.value(), (created, modified, value.as_slice()), "the old file is kept beside it");
    }
    assert!(database.open_table(NUMBERS).unwrap().get("format").unwrap().is_none());
    assert!(server.view().workflows.len() == 15 && server.view().templates.len() == 2);
}

#[tokio::test]
async fn a_migrated_store_opens_again_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    write_old_store(&path);
    let content = async || Redb::open(&path).unwrap().list("/").await.unwrap();
    let first = content().await;
    assert_eq!(content().await, first);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "one copy: {names:?}");
    std::fs::remove_file(&path).unwrap();
    write_old_store(&path); // the operator restored the old file
    content().await;
    assert!(folder.path().join("thimble.redb.format-1.2").exists(), "an earlier copy is not overwritten");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.redb");
    drop(Redb::open(&path).unwrap());
    {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(NUMBERS).unwrap().insert("format", FORMAT + 1).unwrap();
        transaction.commit().unwrap();
    }
    let refused = Redb::open(&path).err().unwrap();
    assert!(matches!(refused, StoreError::Newer { found, .. } if found == FORMAT + 1), "{refused}");
    assert!(refused.to_string().contains("use the version that wrote it"), "{refused}");
}
