//! The paths of tootles with its answers, from the table of its own tests, and what cloud-init and EC2's clients ask besides.
#![allow(clippy::unwrap_used, clippy::panic)]

use metadata::answer;
use model::{Hardware, Object};

const FULL: &str = r##"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1, namespace: lab}
spec:
  userData: "#cloud-config\n"
  vendorData: vendor
  metadata:
    facility: {plan_slug: plan, facility_code: facility}
    instance:
      id: iid-1
      hostname: hostname
      tags: [tag1, tag2]
      ssh_keys: ["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two\nssh-rsa CCCC three\n"]
      ips:
        - {family: 4, public: false, address: ""}
        - {family: 4, public: true, address: 192.0.2.1}
        - {family: 4, public: true, address: 192.0.2.2}
        - {family: 6, public: false, address: "2001:db8::1"}
        - {family: 4, address: 10.0.0.1}
      operating_system: {slug: slug, distro: distro, version: version, image_tag: image_tag}
      storage:
        raid: [{name: r, level: "1", devices: [a]}]
        disks:
          - {device: /dev/sda, wipe_table: true, partitions: [{label: "B<I>&OS", number: 1, size: 4096, start: 2048, type_guid: x}]}
          - {device: /dev/sdb}
        filesystems:
          - {mount: {device: /dev/sda3, format: ext4, point: /, create: {force: true, options: ["-L", "ROOT"]}}}
          - {mount: {device: /dev/sda2, format: swap, point: none}}
  interfaces:
    - dhcp:
        mac: "02:00:00:00:00:01"
        hostname: of-dhcp
        iface_name: eth0
        domain_name: example.org
        name_servers: [10.0.0.53, "fd00::53"]
        ip: {address: 10.0.0.7, netmask: 255.255.255.0, gateway: 10.0.0.254}
        classless_static_routes: [{destination_descriptor: 10.9.0.0/16, router: 10.1.0.2}]
    - dhcp: {mac: "02:00:00:00:00:02", vlan_id: "7", ip: {address: "2001:db8::7", netmask: "ffff:ffff:ffff::", gateway: "fe80::1"}}
    - dhcp: {mac: "02:00:00:00:00:03"}
    - dhcp: {mac: "02:00:00:00:00:04"}
      disableDhcp: true
    - dhcp: {ip: {address: 10.0.0.8}}
"##;

const EMPTY: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m2}
spec: {}
"#;

fn hardware(text: &str) -> Hardware {
    match model::parse_documents(text, "test.yaml").unwrap().into_iter().next() {
        Some(Object::Hardware(hardware)) => *hardware,
        other => panic!("{other:?}"),
    }
}

fn body(hardware: &Hardware, path: &str) -> Option<String> {
    answer(hardware, path).map(|answer| answer.body)
}

#[test]
fn each_path_of_tootles_has_its_answer_with_and_without_a_slash() {
    let full = hardware(FULL);
    for (path, expected) in [
        ("user-data", "#cloud-config\n"),
        ("meta-data/instance-id", "iid-1"),
        ("meta-data/hostname", "hostname"),
        ("meta-data/local-hostname", "hostname"),
        ("meta-data/iqn", ""),
        ("meta-data/plan", "plan"),
        ("meta-data/facility", "facility"),
        ("meta-data/tags", "tag1\ntag2"),
        ("meta-data/public-keys", "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\nssh-rsa CCCC three"),
        ("meta-data/public-ipv4", "192.0.2.1"),
        ("meta-data/public-ipv6", "2001:db8::1"),
        ("meta-data/local-ipv4", "10.0.0.1"),
        ("meta-data/operating-system/slug", "slug"),
        ("meta-data/operating-system/distro", "distro"),
        ("meta-data/operating-system/version", "version"),
        ("meta-data/operating-system/image_tag", "image_tag"),
        ("meta-data/operating-system/license_activation/state", ""),
        (
            "meta-data",
            "facility\nhostname\ninstance-id\niqn\nlocal-hostname\nlocal-ipv4\noperating-system/\nplan\npublic-ipv4\npublic-ipv6\n\
             public-keys\ntags",
        ),
        ("meta-data/operating-system", "distro\nimage_tag\nlicense_activation/\nslug\nversion"),
        ("meta-data/operating-system/license_activation", "state"),
    ] {
        for slash in ["", "/"] {
            let path = format!("/2009-04-04/{path}{slash}");
            let answer = answer(&full, &path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((answer.body.as_str(), answer.content_type), (expected, "text/plain; charset=utf-8"), "{path}");
        }
    }
}

#[test]
fn a_machine_without_a_value_gets_an_empty_text() {
    let empty = hardware(EMPTY);
    for leaf in ["user-data", "vendor-data", "meta-data/instance-id", "meta-data/tags", "meta-data/public-ipv4"] {
        assert_eq!(body(&empty, &format!("/2009-04-04/{leaf}")).as_deref(), Some(""), "{leaf}");
    }
    assert_eq!(body(&empty, "/2009-04-04").as_deref(), Some("meta-data/\nuser-data"), "as tootles lists it");
    assert_eq!(body(&hardware(FULL), "/2009-04-04/").as_deref(), Some("meta-data/\nuser-data\nvendor-data"));
}

#[test]
fn other_paths_do_not_exist() {
    let full = hardware(FULL);
    for path in [
        "",
        "/",
        "//",
        "/2009-04-04/meta-data/x",
        "/2009-04-04/meta-data//",
        "/2009-04-04/meta",
        "/2009-04-04/user-data/x",
        "/2009-04-04/meta-data/public-keys/3/openssh-key",
        "/2009-04-04/meta-data/public-keys/-1",
        "/2009-04-04/meta-data/public-keys/0/x",
        "/2021-03-23/meta-data",
        "/latest/api/token",
        "/metadata/x",
        "/meta-data/instance-id",
        "latest",
    ] {
        assert_eq!(answer(&full, path), None, "{path}");
    }
    assert_eq!(answer(&hardware(EMPTY), "/network-config"), None, "no interface");
}

#[test]
fn keys_are_a_folder_for_clients_of_ec2() {
    let full = hardware(FULL);
    for (path, expected) in [
        ("/latest/meta-data/public-keys/", "0=key-0\n1=key-1\n2=key-2"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
        ("/latest/meta-data/public-keys/2/openssh-key", "ssh-rsa CCCC three"),
        ("/2009-04-04/meta-data/public-keys/1/openssh-key", "ssh-ed25519 BBBB two"),
        ("/latest/user-data", "#cloud-config\n"),
        ("/latest/vendor-data", "vendor"),
        ("/2009-04-04/vendor-data", "vendor"),
        ("/latest/meta-data/tags", "tag1\ntag2"),
        ("/latest", "meta-data/\nuser-data\nvendor-data"),
    ] {
        assert_eq!(body(&full, path).as_deref(), Some(expected), "{path}");
    }
    let listed = body(&full, "/latest/meta-data").unwrap();
    assert!(listed.lines().any(|line| line == "public-keys/") && !listed.lines().any(|line| line == "public-keys"), "{listed}");
}

#[test]
fn rootio_gets_its_storage_as_tootles_writes_it() {
    let expected = concat!(
        r#"{"metadata":{"instance":{"storage":{"disks":[{"device":"/dev/sda","partitions":[{"label":"B\u003cI\u003e\u0026OS","#,
        r#""number":1,"size":4096}],"wipe_table":true},{"device":"/dev/sdb","partitions":null,"wipe_table":false}],"#,
        r#""filesystems":[{"mount":{"create":{"options":["-L","ROOT"]},"device":"/dev/sda3","format":"ext4","point":"/"}},"#,
        r#"{"mount":{"create":{"options":null},"device":"/dev/sda2","format":"swap","point":"none"}}]}}}}"#,
    );
    let found = answer(&hardware(FULL), "/metadata").unwrap();
    assert_eq!((found.body.as_str(), found.content_type), (expected, "application/json; charset=utf-8"));
    let nothing = r#"{"metadata":{"instance":{"storage":{"disks":null,"filesystems":null}}}}"#;
    assert_eq!(body(&hardware(EMPTY), "/metadata").as_deref(), Some(nothing));
}

#[test]
fn nocloud_gets_an_id_a_name_and_the_keys() {
    assert_eq!(
        body(&hardware(FULL), "/meta-data").as_deref(),
        Some(
            "instance-id: \"iid-1\"\nlocal-hostname: \"hostname\"\npublic-keys:\n  - \"ssh-ed25519 AAAA one\"\n  \
             - \"ssh-ed25519 BBBB two\"\n  - \"ssh-rsa CCCC three\"\n"
        )
    );
    assert_eq!(body(&hardware(EMPTY), "/meta-data").as_deref(), Some("instance-id: \"m2\"\nlocal-hostname: \"m2\"\n"));
    let named = FULL.replace("      id: iid-1\n      hostname: hostname\n", "");
    assert!(body(&hardware(&named), "/meta-data").unwrap().starts_with("instance-id: \"m1\"\nlocal-hostname: \"of-dhcp\"\n"));
    for (path, expected) in [("/user-data", "#cloud-config\n"), ("/vendor-data", "vendor")] {
        assert_eq!(body(&hardware(FULL), path).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn the_network_follows_from_the_interfaces() {
    let expected = r#"version: 2
ethernets:
  "eth0":
    match:
      macaddress: "02:00:00:00:00:01"
    set-name: "eth0"
    addresses: ["10.0.0.7/24"]
    routes:
      - to: "0.0.0.0/0"
        via: "10.0.0.254"
      - to: "10.9.0.0/16"
        via: "10.1.0.2"
        on-link: true
    nameservers:
      search: ["example.org"]
      addresses: ["10.0.0.53", "fd00::53"]
  "nic1":
    match:
      macaddress: "02:00:00:00:00:02"
  "nic2":
    match:
      macaddress: "02:00:00:00:00:03"
    dhcp4: true
  "nic3":
    match:
      macaddress: "02:00:00:00:00:04"
    dhcp4: false
vlans:
  "nic1.7":
    id: 7
    link: "nic1"
    addresses: ["2001:db8::7/48"]
    routes:
      - to: "::/0"
        via: "fe80::1"
        on-link: true
        metric: 200
"#;
    assert_eq!(body(&hardware(FULL), "/network-config").as_deref(), Some(expected));
}

#[test]
fn a_route_to_everywhere_replaces_the_gateway_as_rfc_3442_says() {
    let text = FULL.replace("10.9.0.0/16, router: 10.1.0.2", "0.0.0.0/0, router: 10.0.0.1");
    let found = body(&hardware(&text), "/network-config").unwrap();
    assert!(found.contains("      - to: \"0.0.0.0/0\"\n        via: \"10.0.0.1\"\n    nameservers"), "{found}");
}

#[test]
fn two_interfaces_of_one_name_keep_their_own() {
    let text = FULL.replace("{mac: \"02:00:00:00:00:03\"}", "{mac: \"02:00:00:00:00:03\", iface_name: eth0}");
    let found = body(&hardware(&text), "/network-config").unwrap();
    assert!(!found.contains("set-name") && found.contains("\"nic0\"") && found.contains("\"nic2\""), "{found}");
}
