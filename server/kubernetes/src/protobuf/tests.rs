use serde_json::json;

use super::*;

fn body(version: &str, kind: &str, raw: Writer) -> Vec<u8> {
    let meta = Writer::default().text(1, version).text(2, kind);
    let unknown = Writer::default().message(1, meta).message(2, raw).text(3, "").text(4, "");
    [MAGIC, &unknown.0].concat()
}

#[test]
fn the_secret_that_kubectl_sends_is_read() {
    let hex = "6b3873000a0c0a02763112065365637265741 21e0a120a0273311200 1a0022002a0032003800420012060a016112016 21a001a002200";
    let digits: Vec<u32> = hex.chars().filter_map(|letter| letter.to_digit(16)).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect();
    let expected = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s1"}, "data": {"a": "Yg=="}});
    assert_eq!(decode(&bytes).map(Value::Object), Ok(expected));
}

#[test]
fn a_lease_has_times_and_zeros() {
    let time = Writer(vec![0x08, 0x80, 0xa3, 0x05, 0x10, 0xe8, 0x07]);
    let spec = Writer::default().text(1, "me").message(3, time).bytes(4, &[]);
    let spec = Writer([&spec.0[..], &[0x10, 15, 0x28, 0]].concat());
    let raw = Writer::default().message(1, Writer::default().text(1, "l").text(3, "a").text(2, "")).message(2, spec);
    let expected = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "namespace": "a"},
        "spec": {"holderIdentity": "me", "acquireTime": "1970-01-02T00:00:00.000001Z", "leaseDurationSeconds": 15, "leaseTransitions": 0},
    });
    assert_eq!(decode(&body("coordination.k8s.io/v1", "Lease", raw)).map(Value::Object), Ok(expected));
}

#[test]
fn maps_and_lists_keep_every_entry() {
    let entry = |key: &str, value: &str| Writer::default().text(1, key).text(2, value);
    let meta =
        Writer::default().text(1, "c").message(11, entry("a", "")).message(11, entry("b", "2")).text(14, "x/y").text(14, "z/w");
    let raw = Writer::default().message(1, meta).message(2, entry("k", "v"));
    let expected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
        "metadata": {"name": "c", "labels": {"a": "", "b": "2"}, "finalizers": ["x/y", "z/w"]},
    });
    assert_eq!(decode(&body("v1", "ConfigMap", raw)).map(Value::Object), Ok(expected));
}

#[test]
fn what_is_not_a_message_is_refused() {
    let secret = || Writer::default().message(1, Writer::default().text(1, "s"));
    for (case, bytes, expected) in [
        ("nothing", vec![], Malformed::Magic),
        ("JSON", b"{}".to_vec(), Malformed::Magic),
        ("a pod", body("v1", "Pod", secret()), Malformed::Kind("v1 Pod".into())),
        ("half of it", body("v1", "Secret", secret())[..20].to_vec(), Malformed::Short),
        ("a number for a text", body("v1", "Secret", Writer(vec![0x18, 1])), Malformed::WireType),
        ("a group", body("v1", "Secret", Writer(vec![0x0b])), Malformed::WireType),
        ("not UTF-8", body("v1", "Secret", Writer::default().bytes(3, &[0xff])), Malformed::Text),
        ("an endless number", body("v1", "Secret", Writer(vec![0xff; 12])), Malformed::Varint),
    ] {
        assert_eq!(decode(&bytes), Err(expected), "{case}");
    }
}

#[test]
fn delete_options_come_with_any_group() {
    let raw = Writer([&Writer::default().text(4, "Background").text(5, "All").0[..], &[0x08, 0]].concat());
    let found = decode(&body("bmc.tinkerbell.org/v1alpha1", "DeleteOptions", raw)).unwrap();
    let expected = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background", "dryRun": ["All"]});
    assert_eq!(
        (found.get("gracePeriodSeconds"), found.get("propagationPolicy"), found.get("dryRun")),
        (expected.get("gracePeriodSeconds"), expected.get("propagationPolicy"), expected.get("dryRun"))
    );
}
