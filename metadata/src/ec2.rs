//! EC2's instance metadata. Its leaves are a table, and its folders follow from the leaves.

use std::collections::BTreeSet;

use model::Hardware;
use serde_json::Value;

use crate::{list, ssh_keys, text};

/// Where a leaf's value comes from. A value that the Hardware does not have is an empty text.
enum Leaf {
    UserData,
    /// A text of the Hardware's metadata.
    Text(&'static str),
    /// A list of texts, one a line.
    Lines(&'static str),
    /// The first address of a family, public or not.
    Address(u64, Option<bool>),
    Keys,
    /// tootles has the path and never a value.
    Nothing,
}

/// The paths of tootles.
const LEAVES: &[(&str, Leaf)] = &[
    ("user-data", Leaf::UserData),
    ("meta-data/instance-id", Leaf::Text("/instance/id")),
    ("meta-data/hostname", Leaf::Text("/instance/hostname")),
    ("meta-data/local-hostname", Leaf::Text("/instance/hostname")),
    ("meta-data/iqn", Leaf::Nothing),
    ("meta-data/plan", Leaf::Text("/facility/plan_slug")),
    ("meta-data/facility", Leaf::Text("/facility/facility_code")),
    ("meta-data/tags", Leaf::Lines("/instance/tags")),
    ("meta-data/public-ipv4", Leaf::Address(4, Some(true))),
    ("meta-data/public-ipv6", Leaf::Address(6, None)),
    ("meta-data/local-ipv4", Leaf::Address(4, Some(false))),
    ("meta-data/public-keys", Leaf::Keys),
    ("meta-data/operating-system/slug", Leaf::Text("/instance/operating_system/slug")),
    ("meta-data/operating-system/distro", Leaf::Text("/instance/operating_system/distro")),
    ("meta-data/operating-system/version", Leaf::Text("/instance/operating_system/version")),
    ("meta-data/operating-system/image_tag", Leaf::Text("/instance/operating_system/image_tag")),
    ("meta-data/operating-system/license_activation/state", Leaf::Nothing),
];
const KEYS: &str = "meta-data/public-keys";
const VENDOR_DATA: &str = "vendor-data";

/// `latest` has the keys in a folder, as EC2 does. tootles has them in one text.
pub fn answer(hardware: &Hardware, latest: bool, path: &str) -> Option<String> {
    if let Some(below) = path.strip_prefix(KEYS).and_then(|rest| rest.strip_prefix('/')) {
        return key(hardware, below);
    }
    if path == VENDOR_DATA {
        return Some(hardware.spec.vendor_data.clone().unwrap_or_default());
    }
    if latest && path == KEYS {
        let names = (0..ssh_keys(hardware).len()).map(|number| format!("{number}=key-{number}"));
        return Some(names.collect::<Vec<_>>().join("\n"));
    }
    match LEAVES.iter().find(|(name, _)| *name == path) {
        Some((_, leaf)) => Some(value(hardware, leaf)),
        None => folder(hardware, latest, path),
    }
}

/// `N` or `N/openssh-key`.
fn key(hardware: &Hardware, below: &str) -> Option<String> {
    let (number, file) = below.split_once('/').unwrap_or((below, ""));
    let keys = ssh_keys(hardware);
    let key = keys.get(number.parse::<usize>().ok()?)?;
    match file {
        "" => Some("openssh-key".to_owned()),
        "openssh-key" => Some((*key).to_owned()),
        _ => None,
    }
}

fn value(hardware: &Hardware, leaf: &Leaf) -> String {
    match leaf {
        Leaf::UserData => hardware.spec.user_data.clone().unwrap_or_default(),
        Leaf::Text(pointer) => text(hardware, pointer).to_owned(),
        Leaf::Lines(pointer) => list(hardware, pointer).filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
        Leaf::Address(family, public) => address(hardware, *family, *public),
        Leaf::Keys => ssh_keys(hardware).join("\n"),
        Leaf::Nothing => String::new(),
    }
}

fn address(hardware: &Hardware, family: u64, public: Option<bool>) -> String {
    let is_public = |ip: &Value| ip.get("public").and_then(Value::as_bool).unwrap_or(false);
    let fits = |ip: &&Value| {
        ip.get("family").and_then(Value::as_u64) == Some(family) && public.is_none_or(|public| is_public(ip) == public)
    };
    let mut found = list(hardware, "/instance/ips").filter(fits).filter_map(|ip| ip.get("address")?.as_str());
    found.find(|address| !address.is_empty()).unwrap_or_default().to_owned()
}

/// The names below a folder, one a line. Those of folders end in a slash.
fn folder(hardware: &Hardware, latest: bool, path: &str) -> Option<String> {
    let below = |leaf: &'static str| match path {
        "" => Some(leaf),
        _ => leaf.strip_prefix(path)?.strip_prefix('/'),
    };
    let mut names: BTreeSet<String> = LEAVES
        .iter()
        .filter_map(|(leaf, _)| below(leaf))
        .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(folder, _)| format!("{folder}/")))
        .collect();
    if path.is_empty() && hardware.spec.vendor_data.is_some() {
        names.insert(VENDOR_DATA.to_owned());
    }
    if latest && names.remove("public-keys") {
        names.insert("public-keys/".to_owned());
    }
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}
