//! cloud-init reads YAML. No value of a Hardware ends its place in it: what is read back is the value, and no other key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use metadata::answer;
use model::Hardware;
use serde_json::{Value, json};

const VALUES: [&str; 10] = [
    "x\nruncmd: [reboot]",
    "x\r\n  - evil",
    "\": {a: b}",
    "' # comment",
    "{{ ds.evil }}",
    "!!python/object:os.system",
    "&a *a",
    "\u{1b}[2J\u{0}\u{85}\u{2028}\u{feff}",
    "\\\" \\x41 \\",
    "- ? | > %",
];

fn read(hardware: &Hardware, path: &str) -> Value {
    let text = answer(hardware, path).unwrap().body;
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}\n{text}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn no_value_of_a_hardware_becomes_a_key_of_cloud_inits_files() {
    for value in VALUES {
        let dhcp = json!({
            "mac": "02:00:00:00:00:01", "hostname": value, "iface_name": value, "domain_name": value, "vlan_id": value,
            "ip": {"address": "10.0.0.7", "netmask": "255.255.255.0"},
            "classless_static_routes": [{"destination_descriptor": value, "router": "10.0.0.2"}],
        });
        let hardware: Hardware = serde_json::from_value(json!({
            "apiVersion": "tinkerbell.org/v1alpha1", "kind": "Hardware", "metadata": {"name": "m1"},
            "spec": {
                "interfaces": [{"dhcp": dhcp}],
                "metadata": {"instance": {"id": value, "hostname": value, "ssh_keys": [format!("ssh-rsa A{value}")]}},
            },
        }))
        .unwrap();
        let meta = read(&hardware, "/meta-data");
        assert_eq!((meta["instance-id"].as_str(), meta["local-hostname"].as_str()), (Some(value), Some(value)));
        assert_eq!(keys(&meta), ["instance-id", "local-hostname", "public-keys"], "{value:?}");
        let network = read(&hardware, "/network-config");
        assert_eq!(keys(&network), ["ethernets", "version"], "{value:?}");
        let card = &network["ethernets"]["nic0"];
        assert_eq!(keys(&network["ethernets"]), ["nic0"], "{value:?}: a name that no interface can have is not one");
        assert_eq!(keys(card), ["addresses", "match", "routes"], "{value:?}: {card}");
        assert_eq!(card["routes"][0]["to"].as_str(), Some(value));
        // EC2's paths are one value each, in whose text nothing has a meaning.
        assert_eq!(answer(&hardware, "/latest/meta-data/hostname").unwrap().body, value);
        // rootio reads JSON.
        let rootio: Value = serde_json::from_str(&answer(&hardware, "/metadata").unwrap().body).unwrap();
        assert!(rootio.is_object());
    }
}
