use proptest::prelude::*;

use super::*;

fn put(key: &str, content: &str) -> Write {
    Write::Put { key: key.to_owned(), value: content.as_bytes().to_vec() }
}

fn remove(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

/// What etcd sends after these operations at a revision. `existing` has the keys that were there.
fn events(operations: Vec<etcd::Op>, etcd: i64, existing: &[(&[u8], rpc::KeyValue)]) -> Vec<rpc::Event> {
    use rpc::request_op::Request;
    let previous = |key: &[u8]| existing.iter().find(|(other, _)| *other == key).map(|(_, stored)| stored.clone());
    let event = |operation: etcd::Op| match operation.request? {
        Request::RequestPut(put) => {
            let previous = previous(&put.key);
            let create_revision = previous.as_ref().map_or(etcd, |previous| previous.create_revision);
            let (mod_revision, version) = (etcd, 1);
            let kv = rpc::KeyValue { key: put.key, value: put.value, create_revision, mod_revision, version, lease: 0 };
            Some(rpc::Event { kv: Some(kv), prev_kv: previous })
        }
        Request::RequestDeleteRange(delete) => {
            let previous = previous(&delete.key)?;
            let kv = rpc::KeyValue { key: delete.key, mod_revision: etcd, ..rpc::KeyValue::default() };
            Some(rpc::Event { kv: Some(kv), prev_kv: Some(previous) })
        }
        Request::RequestRange(_) => None,
    };
    operations.into_iter().filter_map(event).collect()
}

#[test]
fn a_revision_is_that_of_etcd_and_the_place_of_the_write() {
    for (etcd, place) in [(1, 0), (1, u16::MAX), (2, 0), (i64::from(i32::MAX), 7)] {
        assert_eq!(parts(revision(etcd, place)), (etcd, place));
    }
    assert!(revision(1, u16::MAX) < revision(2, 0));
    assert_eq!(parts(0), (0, 0), "no revision");
}

#[test]
fn the_first_line_of_a_value_has_its_place_and_its_origin() {
    for (place, origin) in [(0, None), (3, Some(0)), (u16::MAX, Some(u16::MAX))] {
        let stored = value(place, origin, b"a\nb");
        let (read, from, begin) = head(&stored).unwrap();
        assert_eq!((read, from, &stored[begin..]), (place, origin, &b"a\nb"[..]));
    }
    for other in
        [&b""[..], b"{}", b"{}\n", b"1\n", b"1 x\n", b"-1 0\n", b"65536 0\n", b"1 2 3\n", b"000000000001 0\n", b"\xff 0\n"]
    {
        assert_eq!(head(other), None, "{other:?}");
    }
}

#[test]
fn a_transaction_comes_back_from_its_events_as_it_was_written() {
    let keys = Keys::new("p");
    let old = rpc::KeyValue {
        key: keys.data("/b"),
        value: value(2, Some(1), b"old"),
        create_revision: 4,
        mod_revision: 5,
        version: 2,
        lease: 0,
    };
    let writes = [put("/a", "1"), remove("/b"), remove("/missing"), put("/a", "2")];
    let firsts = HashMap::from([("/a", First::Earlier(Some(0)))]);
    let written = operations(&keys, &writes, &firsts, "s", 9);
    assert_eq!(written.len(), 4, "a key that is written twice is written once");
    let mut sent = events(written, 6, &[(&keys.data("/b"), old)]);
    sent.reverse();
    let found = moments(&keys, sent).pop().unwrap();
    let record = found.record.unwrap();
    assert_eq!((record.session.as_str(), record.id, record.writes), ("s", 9, 4));
    let seen: Vec<_> = found.changes.iter().map(|change| (change.key.as_str(), parts(change.revision).1)).collect();
    assert_eq!(seen, [("/b", 1), ("/missing", 2), ("/a", 3)]);
    assert!(found.changes.iter().all(|change| change.whole == revision(6, 3)));
    let previous = found.changes[0].previous.as_ref().unwrap();
    assert_eq!((previous.created, previous.modified, previous.value.as_slice()), (revision(4, 1), revision(5, 2), &b"old"[..]));
    let new = found.changes[2].pair.as_ref().unwrap();
    assert_eq!((new.created, new.modified, new.value.as_slice()), (revision(6, 0), revision(6, 3), &b"2"[..]));
}

#[test]
fn what_other_programs_write_does_no_harm() {
    let keys = Keys::new("p");
    let stored = |key: Vec<u8>, value: &[u8], version| rpc::KeyValue {
        key,
        value: value.to_vec(),
        create_revision: 3,
        mod_revision: 3,
        version,
        lease: 0,
    };
    let event = |kv| rpc::Event { kv: Some(kv), prev_kv: None };
    let sent = vec![
        event(stored(keys.data("/x"), b"raw", 1)),
        event(stored(keys.data("/y"), b"", 0)),
        event(stored(b"/p/other".to_vec(), b"", 1)),
        event(stored(b"/p/data/\xff".to_vec(), b"", 1)),
        event(stored(keys.record(), b"not a record", 1)),
        rpc::Event::default(),
    ];
    let found = moments(&keys, sent).remove(0);
    assert_eq!((found.record, found.foreign), (None, vec!["/x".to_owned()]));
    assert_eq!(
        found.changes.iter().map(|change| (change.key.as_str(), change.whole)).collect::<Vec<_>>(),
        [("/y", revision(3, 0))]
    );
}

proptest! {
    #[test]
    fn any_value_is_read_or_left_out(stored in proptest::collection::vec(any::<u8>(), 0..40), version in 0_i64..3) {
        let keys = Keys::new("p");
        if let Some((place, origin, begin)) = head(&stored) {
            let again = value(place, origin, &stored[begin..]);
            prop_assert_eq!(head(&again).map(|(place, origin, _)| (place, origin)), Some((place, origin)));
        }
        let kv = |key| rpc::KeyValue { key, value: stored.clone(), create_revision: -1, mod_revision: 3, version, lease: 0 };
        let events = [keys.data("/x"), keys.record(), stored.clone()].map(|key| rpc::Event { kv: Some(kv(key)), prev_kv: None });
        prop_assert!(moments(&keys, events.into()).len() == 1);
    }
}

/// What other programs write below the prefix, or a broken member sends. Nearly right values are made as often as noise.
mod any_bytes {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn stored_value() -> impl Strategy<Value = Vec<u8>> {
        let head = ("[0-9]{0,7}", "[ -]{0,2}", "[0-9-]{0,7}", "\n?", vec(any::<u8>(), 0..40));
        prop_oneof![
            vec(any::<u8>(), 0..40),
            head.prop_map(
                |(place, between, origin, end, rest)| [format!("{place}{between}{origin}{end}").as_bytes(), &rest].concat()
            ),
        ]
    }

    fn record_value() -> impl Strategy<Value = Vec<u8>> {
        let right = (any::<u32>(), vec((any::<u16>(), "/[a-c]"), 0..5));
        prop_oneof![
            vec(any::<u8>(), 0..60),
            right.prop_map(|(writes, deleted)| {
                serde_json::to_vec(&Record { session: "s".to_owned(), id: 1, writes, deleted }).unwrap()
            }),
        ]
    }

    fn event() -> impl Strategy<Value = rpc::Event> {
        let key = prop_oneof![
            Just(b"/site/commit".to_vec()),
            "/site/data//[a-c]".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..20)
        ];
        let value = prop_oneof![stored_value(), record_value()];
        (key, value, prop_oneof![0..4_i64, any::<i64>()], any::<i64>(), 0..2_i64, any::<bool>(), any::<bool>()).prop_map(
            |(key, value, mod_revision, create_revision, version, has_previous, is_there)| {
                let pair = rpc::KeyValue { key, value, mod_revision, create_revision, version, ..rpc::KeyValue::default() };
                rpc::Event { prev_kv: has_previous.then(|| pair.clone()), kv: is_there.then_some(pair) }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_value_of_any_bytes_is_read_or_left_out(bytes in stored_value()) {
            if let Some((place, origin, begin)) = head(&bytes) {
                prop_assert!(begin <= bytes.len());
                // What is written for it is read as the same.
                let again = value(place, origin, &bytes[begin..]);
                prop_assert_eq!(head(&again).map(|(place, origin, _)| (place, origin)), Some((place, origin)));
            }
        }

        #[test]
        fn events_of_any_bytes_are_changes_in_order_or_are_named_as_foreign(events in vec(event(), 0..12)) {
            let keys = Keys::new("site");
            let count = events.len();
            for moment in moments(&keys, events) {
                prop_assert!(moment.changes.is_sorted_by_key(|change| change.revision));
                prop_assert!(moment.foreign.len() <= count);
                prop_assert!(moment.changes.iter().all(|change| change.key.is_empty() || !change.key.starts_with("/site")));
            }
        }

        #[test]
        fn a_record_of_any_bytes_is_read_or_refused(bytes in record_value()) {
            if let Some(record) = Record::read(&bytes) {
                prop_assert!(u32::from(record.last()) <= record.writes.max(1));
            }
        }
    }
}
