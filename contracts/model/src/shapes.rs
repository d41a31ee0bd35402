//! Which keys each object has: Tinkerbell's names, exactly. The types say the same; a test compares them.

use crate::yaml::{Field, Shape};

pub(crate) const fn f(key: &'static str, shape: Shape) -> Field {
    Field::new(key, shape)
}

pub(crate) const TEXT: Shape = Shape::Text;
pub(crate) const BOOL: Shape = Shape::Bool;
pub(crate) const TEXTS: Shape = Shape::List(&Shape::Text);
pub(crate) const RAW_MAP: Shape = Shape::Map(&Shape::Raw);
pub(crate) const RAWS: Shape = Shape::List(&Shape::Raw);
pub(crate) const NAMESPACES: Shape = Shape::Record(&[f("network", TEXT), f("pid", TEXT)]);
/// With the longest pause that is half a day.
pub(crate) const RETRIES: Shape = Shape::Int(0, 100);
pub(crate) const SECONDS: Shape = Shape::Int(0, i64::MAX);

pub(crate) const METADATA: Shape = Shape::Record(&[
    Field::required("name", TEXT),
    f("namespace", TEXT),
    f("labels", RAW_MAP),
    f("annotations", RAW_MAP),
    f("creationTimestamp", Shape::Dropped),
    f("deletionGracePeriodSeconds", Shape::Dropped),
    f("deletionTimestamp", Shape::Dropped),
    f("finalizers", Shape::Dropped),
    f("generateName", Shape::Dropped),
    f("generation", Shape::Dropped),
    f("managedFields", Shape::Dropped),
    f("ownerReferences", Shape::Dropped),
    f("resourceVersion", Shape::Dropped),
    f("selfLink", Shape::Dropped),
    f("uid", Shape::Dropped),
]);

macro_rules! object {
    ($spec:expr) => {
        Shape::Record(&[
            Field::required("apiVersion", TEXT),
            Field::required("kind", TEXT),
            Field::required("metadata", METADATA),
            Field::required("spec", $spec),
            f("status", Shape::Dropped), // the server's word, not the file's
        ])
    };
}

pub(crate) use object;

pub(crate) static HARDWARE: Shape = object!(HARDWARE_SPEC);
pub(crate) static TEMPLATE: Shape = object!(Shape::Record(&[Field::required("data", TEXT)]));
pub(crate) static WORKFLOW: Shape = object!(WORKFLOW_SPEC);

pub(crate) static WORKFLOW_RULE_SET: Shape = object!(Shape::Record(&[
    Field::required("rules", TEXTS),
    Field::required(
        "workflow",
        Shape::Record(&[
            f("disabled", BOOL),
            f("namespace", TEXT),
            f("addAttributes", BOOL),
            Field::required(
                "template",
                Shape::Record(&[Field::required("agentValue", TEXT), f("kvs", RAW_MAP), Field::required("ref", TEXT)]),
            ),
        ]),
    ),
]));

const HARDWARE_SPEC: Shape = Shape::Record(&[
    f("agentID", TEXT),
    f("auto", Shape::Record(&[f("enrollmentEnabled", BOOL)])),
    f("bmcRef", Shape::Record(&[f("apiGroup", TEXT), Field::required("kind", TEXT), Field::required("name", TEXT)])),
    f("disks", Shape::List(&Shape::Record(&[Field::required("device", TEXT)]))),
    f("interfaces", Shape::List(&INTERFACE)),
    f("metadata", INSTANCE_METADATA),
    f("references", Shape::Map(&REFERENCE)),
    f("resources", RAW_MAP),
    f("tinkVersion", Shape::Int(i64::MIN, i64::MAX)),
    f("userData", TEXT),
    f("vendorData", TEXT),
]);

pub(crate) const REFERENCE: Shape = Shape::Record(&[
    f("namespace", TEXT),
    Field::required("name", TEXT),
    f("group", TEXT),
    f("version", TEXT),
    f("resource", TEXT),
]);

const INTERFACE: Shape = Shape::Record(&[
    f("disableDhcp", BOOL),
    f("dhcp", DHCP),
    f("netboot", NETBOOT),
    f("isoboot", Shape::Record(&[f("sourceISO", TEXT)])),
]);

const DHCP: Shape = Shape::Record(&[
    f("mac", Shape::Mac),
    f("hostname", TEXT),
    f("domain_name", TEXT),
    f("lease_time", Shape::Int(0, u32::MAX as i64)),
    f("name_servers", Shape::List(&Shape::Ip)),
    f("time_servers", Shape::List(&Shape::Ip)),
    f("arch", TEXT),
    f("uefi", BOOL),
    f("iface_name", TEXT),
    f(
        "ip",
        Shape::Record(&[
            f("address", Shape::Ip),
            f("netmask", Shape::Ip),
            f("gateway", Shape::Ip),
            f("family", Shape::Int(0, 6)),
        ]),
    ),
    f("vlan_id", TEXT),
    f("classless_static_routes", Shape::List(&ROUTE)),
    f("tftp_server_name", TEXT),
    f("boot_file_name", TEXT),
]);

const ROUTE: Shape =
    Shape::Record(&[Field::required("destination_descriptor", Shape::Cidr), Field::required("router", Shape::Ip)]);

const NETBOOT: Shape = Shape::Record(&[
    f("allowPXE", BOOL),
    f("allowWorkflow", BOOL),
    f("ipxe", Shape::Record(&[f("url", TEXT), f("contents", TEXT), f("binary", TEXT)])),
    f("osie", Shape::Record(&[f("baseURL", TEXT), f("kernel", TEXT), f("initrd", TEXT), f("kernelParams", TEXTS)])),
    f("pxelinux", Shape::Record(&[Field::required("config", TEXT)])),
    f("rpi", Shape::Record(&[f("configTxt", TEXT), f("firmwarePath", TEXT), Field::required("serialNum", TEXT)])),
]);

const INSTANCE_METADATA: Shape = Shape::Record(&[
    f("state", TEXT),
    f("bonding_mode", Shape::Int(i64::MIN, i64::MAX)),
    f("manufacturer", Shape::Record(&[f("id", TEXT), f("slug", TEXT)])),
    f("custom", Shape::Record(&[f("preinstalled_operating_system_version", OPERATING_SYSTEM), f("private_subnets", TEXTS)])),
    f("facility", Shape::Record(&[f("plan_slug", TEXT), f("plan_version_slug", TEXT), f("facility_code", TEXT)])),
    f("instance", INSTANCE),
]);

const OPERATING_SYSTEM: Shape =
    Shape::Record(&[f("slug", TEXT), f("distro", TEXT), f("version", TEXT), f("image_tag", TEXT), f("os_slug", TEXT)]);

const INSTANCE: Shape = Shape::Record(&[
    f("id", TEXT),
    f("state", TEXT),
    f("hostname", TEXT),
    f("allow_pxe", BOOL),
    f("rescue", BOOL),
    f("operating_system", OPERATING_SYSTEM),
    f("always_pxe", BOOL),
    f("ipxe_script_url", TEXT),
    f("ips", Shape::List(&INSTANCE_IP)),
    f("userdata", TEXT),
    f("crypted_root_password", TEXT),
    f("tags", TEXTS),
    f("ssh_keys", TEXTS),
    f("network_ready", BOOL),
    f("storage", STORAGE),
]);

const INSTANCE_IP: Shape = Shape::Record(&[
    f("address", TEXT),
    f("netmask", TEXT),
    f("gateway", TEXT),
    f("family", Shape::Int(0, 6)),
    f("public", BOOL),
    f("management", BOOL),
]);

const COUNT: Shape = Shape::Int(0, i64::MAX);

const STORAGE: Shape = Shape::Record(&[
    f(
        "disks",
        Shape::List(&Shape::Record(&[f("device", TEXT), f("wipe_table", BOOL), f("partitions", Shape::List(&PARTITION))])),
    ),
    f("raid", Shape::List(&Shape::Record(&[f("name", TEXT), f("level", TEXT), f("devices", TEXTS), f("spare", COUNT)]))),
    f("filesystems", Shape::List(&Shape::Record(&[f("mount", MOUNT)]))),
]);

const PARTITION: Shape =
    Shape::Record(&[f("label", TEXT), f("number", COUNT), f("size", COUNT), f("start", COUNT), f("type_guid", TEXT)]);

const MOUNT: Shape = Shape::Record(&[
    f("device", TEXT),
    f("format", TEXT),
    f("point", TEXT),
    f("create", Shape::Record(&[f("force", BOOL), f("options", TEXTS)])),
    f(
        "files",
        Shape::List(&Shape::Record(&[f("path", TEXT), f("contents", TEXT), f("mode", COUNT), f("uid", COUNT), f("gid", COUNT)])),
    ),
]);

const WORKFLOW_SPEC: Shape = Shape::Record(&[
    Field::required("templateRef", TEXT),
    f("hardwareRef", TEXT),
    f("hardwareMap", RAW_MAP),
    f("disabled", BOOL),
    f("bootOptions", BOOT_OPTIONS),
]);

const BOOT_OPTIONS: Shape = Shape::Record(&[
    f("toggleAllowNetboot", BOOL),
    f("isoURL", TEXT),
    f("bootMode", Shape::Choice(&["netboot", "isoboot", "iso", "customboot"])),
    f("custombootConfig", Shape::Record(&[f("preparingActions", Shape::Any), f("postActions", Shape::Any)])),
]);

/// The text inside `Template.spec.data`, rendered.
pub(crate) static DOCUMENT: Shape = Shape::Record(&[
    f("version", Shape::Dropped),
    Field::required("name", TEXT),
    f("id", Shape::Dropped),
    f("global_timeout", SECONDS),
    Field::required("tasks", Shape::List(&TASK)),
]);

const TASK: Shape = Shape::Record(&[
    Field::required("name", TEXT),
    Field::required("worker", TEXT),
    f("volumes", TEXTS),
    f("environment", RAW_MAP),
    Field::required("actions", Shape::List(&ACTION)),
]);

const ACTION: Shape = Shape::Record(&[
    Field::required("name", TEXT),
    Field::required("image", TEXT),
    f("timeout", SECONDS),
    f("command", RAWS),
    f("on-timeout", RAWS), // Tinkerbell's second generation accepts both and does nothing with them
    f("on-failure", RAWS),
    f("volumes", TEXTS),
    f("environment", RAW_MAP),
    f("pid", TEXT),
    f("namespaces", NAMESPACES),
    // Not Tinkerbell's.
    f("if", TEXT),
    f("retries", RETRIES),
    f("on_failure", Shape::ListOr(&Shape::Raw, &Shape::Choice(&["continue", "fail"]))),
    f("background", BOOL),
]);

#[cfg(test)]
/// A document with every key the shape knows.
fn filled(shape: &Shape) -> serde_json::Value {
    use serde_json::{Value, json};

    match shape {
        Shape::Text | Shape::Raw | Shape::Any => json!("x"),
        Shape::Bool => json!(true),
        Shape::Int(..) => json!(4),
        Shape::Mac => json!("52:54:00:12:34:56"),
        Shape::Ip => json!("10.0.0.1"),
        Shape::Cidr => json!("10.0.0.0/8"),
        Shape::Choice(words) => json!(words.first()),
        Shape::List(of) | Shape::ListOr(of, _) => json!([filled(of)]),
        Shape::Map(of) => json!({"key": filled(of)}),
        Shape::Record(fields) => {
            let kept = fields.iter().filter(|field| !matches!(field.shape, Shape::Dropped));
            Value::Object(kept.map(|field| (field.key.to_owned(), filled(&field.shape))).collect())
        }
        Shape::Dropped => Value::Null,
    }
}

#[cfg(test)]
pub(crate) fn same<T: serde::de::DeserializeOwned + serde::Serialize>(shape: &Shape) {
    let value = filled(shape);
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), value);
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, HARDWARE, TEMPLATE, WORKFLOW, same};
    use crate::{Document, Hardware, Template, Workflow};

    #[test]
    fn shapes_and_types_know_the_same_keys() {
        same::<Hardware>(&HARDWARE);
        same::<Template>(&TEMPLATE);
        same::<Workflow>(&WORKFLOW);
        same::<Document>(&DOCUMENT);
    }
}
