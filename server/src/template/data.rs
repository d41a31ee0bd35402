//! What a template sees: the workflow's `hardwareMap` at top level, `.hardware` with JSON names, and `.Hardware` with the
//! Go names of Tinkerbell's old struct. In the last one a field that is not set is a zero value, not an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use model::Hardware;

pub(super) fn build(map: &BTreeMap<String, String>, hardware: Option<&Hardware>) -> Value {
    let mut top: BTreeMap<Arc<str>, Value> = map.iter().map(|(key, value)| (key.as_str().into(), text(value))).collect();
    let json = hardware.and_then(|hardware| serde_json::to_value(hardware).ok()).unwrap_or_default();
    if hardware.is_some() {
        top.insert("hardware".into(), from_json(&json));
    }
    top.insert("Hardware".into(), HARDWARE.value(json.get("spec")));
    top.insert("references".into(), Value::Map(Arc::default()));
    Value::Map(Arc::new(top))
}

pub(super) fn text(text: &str) -> Value {
    Value::String(text.into())
}

pub(super) fn from_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Int(number),
            (_, Some(number), _) => Value::Uint(number),
            (.., number) => Value::Float(number.unwrap_or_default()),
        },
        Json::String(word) => text(word),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        Json::Object(entries) => {
            Value::Map(Arc::new(entries.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect()))
        }
    }
}

/// A Go type: how JSON becomes its value, and what nothing becomes.
enum Go {
    Text,
    Int,
    Bool,
    List(&'static Go),
    /// Go name, JSON name, type.
    Struct(&'static [(&'static str, &'static str, Go)]),
    /// One field of each entry, as a list: `.Hardware.Disks` are device names.
    Pluck(&'static str),
}

impl Go {
    fn value(&self, json: Option<&serde_json::Value>) -> Value {
        let items = || json.and_then(|json| json.as_array()).map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::Text => text(json.and_then(|json| json.as_str()).unwrap_or_default()),
            Self::Int => Value::Int(json.and_then(serde_json::Value::as_i64).unwrap_or_default()),
            Self::Bool => Value::Bool(json.and_then(serde_json::Value::as_bool).unwrap_or_default()),
            Self::List(of) => Value::List(items().iter().map(|item| of.value(Some(item))).collect()),
            Self::Pluck(key) => Value::List(items().iter().map(|item| Self::Text.value(item.get(key))).collect()),
            Self::Struct(fields) => {
                let field =
                    |(go, name, of): &(&str, &str, Self)| (Arc::from(*go), of.value(json.and_then(|json| json.get(name))));
                Value::Map(Arc::new(fields.iter().map(field).collect()))
            }
        }
    }
}

use Go::{Bool, Int, List, Pluck, Struct, Text};

static HARDWARE: Go = Struct(&[
    ("Disks", "disks", Pluck("device")),
    ("Interfaces", "interfaces", List(&INTERFACE)),
    ("UserData", "userData", Text),
    ("VendorData", "vendorData", Text),
    ("Metadata", "metadata", METADATA),
]);

static INTERFACE: Go = Struct(&[
    ("Netboot", "netboot", NETBOOT),
    ("Isoboot", "isoboot", Struct(&[("SourceISO", "sourceISO", Text)])),
    ("DHCP", "dhcp", DHCP),
    ("DisableDHCP", "disableDhcp", Bool),
]);

const NETBOOT: Go = Struct(&[
    ("AllowPXE", "allowPXE", Bool),
    ("AllowWorkflow", "allowWorkflow", Bool),
    ("IPXE", "ipxe", Struct(&[("URL", "url", Text), ("Contents", "contents", Text), ("Binary", "binary", Text)])),
    (
        "OSIE",
        "osie",
        Struct(&[
            ("BaseURL", "baseURL", Text),
            ("Kernel", "kernel", Text),
            ("Initrd", "initrd", Text),
            ("KernelParams", "kernelParams", List(&Text)),
        ]),
    ),
]);

const DHCP: Go = Struct(&[
    ("MAC", "mac", Text),
    ("Hostname", "hostname", Text),
    ("DomainName", "domain_name", Text),
    ("LeaseTime", "lease_time", Int),
    ("NameServers", "name_servers", List(&Text)),
    ("TimeServers", "time_servers", List(&Text)),
    ("Arch", "arch", Text),
    ("UEFI", "uefi", Bool),
    ("IfaceName", "iface_name", Text),
    (
        "IP",
        "ip",
        Struct(&[
            ("Address", "address", Text),
            ("Netmask", "netmask", Text),
            ("Gateway", "gateway", Text),
            ("Family", "family", Int),
        ]),
    ),
    ("VLANID", "vlan_id", Text),
    ("ClasslessStaticRoutes", "classless_static_routes", List(&ROUTE)),
    ("TFTPServerName", "tftp_server_name", Text),
    ("BootFileName", "boot_file_name", Text),
]);

static ROUTE: Go = Struct(&[("DestinationDescriptor", "destination_descriptor", Text), ("Router", "router", Text)]);

const METADATA: Go = Struct(&[
    ("State", "state", Text),
    ("BondingMode", "bonding_mode", Int),
    ("Manufacturer", "manufacturer", Struct(&[("ID", "id", Text), ("Slug", "slug", Text)])),
    ("Instance", "instance", INSTANCE),
    (
        "Custom",
        "custom",
        Struct(&[
            ("PreinstalledOperatingSystemVersion", "preinstalled_operating_system_version", OPERATING_SYSTEM),
            ("PrivateSubnets", "private_subnets", List(&Text)),
        ]),
    ),
    (
        "Facility",
        "facility",
        Struct(&[
            ("PlanSlug", "plan_slug", Text),
            ("PlanVersionSlug", "plan_version_slug", Text),
            ("FacilityCode", "facility_code", Text),
        ]),
    ),
]);

const OPERATING_SYSTEM: Go = Struct(&[
    ("Slug", "slug", Text),
    ("Distro", "distro", Text),
    ("Version", "version", Text),
    ("ImageTag", "image_tag", Text),
    ("OsSlug", "os_slug", Text),
]);

const INSTANCE: Go = Struct(&[
    ("ID", "id", Text),
    ("State", "state", Text),
    ("Hostname", "hostname", Text),
    ("AllowPxe", "allow_pxe", Bool),
    ("Rescue", "rescue", Bool),
    ("OperatingSystem", "operating_system", OPERATING_SYSTEM),
    ("AlwaysPxe", "always_pxe", Bool),
    ("IpxeScriptURL", "ipxe_script_url", Text),
    ("Ips", "ips", List(&INSTANCE_IP)),
    ("Userdata", "userdata", Text),
    ("CryptedRootPassword", "crypted_root_password", Text),
    ("Tags", "tags", List(&Text)),
    ("Storage", "storage", STORAGE),
    ("SSHKeys", "ssh_keys", List(&Text)),
    ("NetworkReady", "network_ready", Bool),
]);

static INSTANCE_IP: Go = Struct(&[
    ("Address", "address", Text),
    ("Netmask", "netmask", Text),
    ("Gateway", "gateway", Text),
    ("Family", "family", Int),
    ("Public", "public", Bool),
    ("Management", "management", Bool),
]);

const STORAGE: Go =
    Struct(&[("Disks", "disks", List(&DISK)), ("Raid", "raid", List(&RAID)), ("Filesystems", "filesystems", List(&FILESYSTEM))]);

static DISK: Go =
    Struct(&[("Device", "device", Text), ("WipeTable", "wipe_table", Bool), ("Partitions", "partitions", List(&PARTITION))]);

static PARTITION: Go = Struct(&[
    ("Label", "label", Text),
    ("Number", "number", Int),
    ("Size", "size", Int),
    ("Start", "start", Int),
    ("TypeGUID", "type_guid", Text),
]);

static RAID: Go =
    Struct(&[("Name", "name", Text), ("Level", "level", Text), ("Devices", "devices", List(&Text)), ("Spare", "spare", Int)]);

static FILESYSTEM: Go = Struct(&[(
    "Mount",
    "mount",
    Struct(&[
        ("Device", "device", Text),
        ("Format", "format", Text),
        ("Point", "point", Text),
        ("Create", "create", Struct(&[("Force", "force", Bool), ("Options", "options", List(&Text))])),
        ("Files", "files", List(&FILE)),
    ]),
)]);

static FILE: Go = Struct(&[
    ("Path", "path", Text),
    ("Contents", "contents", Text),
    ("Mode", "mode", Int),
    ("UID", "uid", Int),
    ("GID", "gid", Int),
]);
