//! The data of a Tinkerbell template. The workflow's `hardwareMap` is at top level, and `.hardware` has JSON names.
//! `.Hardware` is Tinkerbell's Go struct: its unset parts are nil pointers, so `if` and `with` skip them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::budget::Budget;
use crate::value::{Field, StructType, Type};

impl Budget {
    /// Makes the data. `hardware` is the object as JSON.
    ///
    /// # Errors
    /// When the data does not fit into the budget.
    pub fn data(&self, map: &BTreeMap<String, String>, hardware: Option<&Value>) -> Result<crate::Value, String> {
        self.data_with(map, hardware, &json!({}))
    }

    /// Like `data`, with the objects that `.references` names.
    ///
    /// # Errors
    /// When the data does not fit into the budget.
    pub fn data_with(
        &self,
        map: &BTreeMap<String, String>,
        hardware: Option<&Value>,
        references: &Value,
    ) -> Result<crate::Value, String> {
        let none = json!({});
        let hardware = hardware.unwrap_or(&none);
        let mut top: Map<String, Value> = map.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        top.insert("hardware".to_owned(), hardware.clone());
        top.insert("references".to_owned(), references.clone());
        let legacy = legacy(hardware.get("spec").unwrap_or(&none));
        self.top(&Value::Object(top), "Hardware", self.typed(Type::Struct(&HARDWARE), Some(&legacy))?)
    }

    /// Data of any shape.
    ///
    /// # Errors
    /// When it does not fit into the budget.
    pub fn json(&self, data: &Value) -> Result<crate::Value, String> {
        self.decoded_json(data)
    }
}

/// `Disks` has the names of the devices. The rest has the shape of the struct.
fn legacy(spec: &Value) -> Value {
    let part = |key: &str| spec.get(key).cloned().unwrap_or_default();
    let disks: Vec<Value> =
        part("disks").as_array().into_iter().flatten().map(|disk| disk.get("device").cloned().unwrap_or_default()).collect();
    let disks = if disks.is_empty() { Value::Null } else { Value::Array(disks) };
    json!({
        "Disks": disks,
        "Interfaces": part("interfaces"),
        "UserData": part("userData"),
        "Metadata": spec.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "VendorData": part("vendorData"),
    })
}

const TEXT: Type = Type::Text;
const BOOL: Type = Type::Bool;
const INT64: Type = Type::Int64;
const TEXTS: Type = Type::List(&Type::Text);
const MAYBE_BOOL: Type = Type::Pointer(&Type::Bool);

/// A field whose tag has `omitempty`.
const fn f(name: &'static str, json: &'static str, ty: Type) -> Field {
    Field { name, json, ty, optional: true }
}

const fn always(name: &'static str, json: &'static str, ty: Type) -> Field {
    Field { name, json, ty, optional: false }
}

macro_rules! go {
    ($($id:ident = $name:literal { $($field:expr),* $(,)? })*) => {
        $(static $id: StructType = StructType { name: $name, fields: &[$($field),*] };)*
    };
}

macro_rules! ptr {
    ($id:ident) => {
        Type::Pointer(&Type::Struct(&$id))
    };
}

macro_rules! ptrs {
    ($id:ident) => {
        Type::List(&ptr!($id))
    };
}

go! {
    HARDWARE = "workflow.templateHardwareData" {
        always("Disks", "Disks", TEXTS),
        always("Interfaces", "Interfaces", Type::List(&Type::Struct(&INTERFACE))),
        always("UserData", "UserData", TEXT),
        always("Metadata", "Metadata", Type::Struct(&METADATA)),
        always("VendorData", "VendorData", TEXT),
    }
    INTERFACE = "tinkerbell.Interface" {
        f("Netboot", "netboot", ptr!(NETBOOT)),
        f("Isoboot", "isoboot", ptr!(ISOBOOT)),
        f("DHCP", "dhcp", ptr!(DHCP)),
        f("DisableDHCP", "disableDhcp", BOOL),
    }
    PXELINUX = "tinkerbell.PXELINUX" { f("Config", "config", TEXT) }
    RPI = "tinkerbell.RPI" {
        f("ConfigTxt", "configTxt", TEXT),
        f("FirmwarePath", "firmwarePath", TEXT),
        always("SerialNum", "serialNum", TEXT),
    }
    NETBOOT = "tinkerbell.Netboot" {
        f("AllowPXE", "allowPXE", MAYBE_BOOL),
        f("AllowWorkflow", "allowWorkflow", MAYBE_BOOL),
        f("IPXE", "ipxe", ptr!(IPXE)),
        f("OSIE", "osie", ptr!(OSIE)),
        f("PXELINUX", "pxelinux", ptr!(PXELINUX)),
        f("RPI", "rpi", ptr!(RPI)),
    }
    ISOBOOT = "tinkerbell.Isoboot" { f("SourceISO", "sourceISO", TEXT) }
    IPXE = "tinkerbell.IPXE" { f("URL", "url", TEXT), f("Contents", "contents", TEXT), f("Binary", "binary", TEXT) }
    OSIE = "tinkerbell.OSIE" {
        f("BaseURL", "baseURL", TEXT),
        f("Kernel", "kernel", TEXT),
        f("Initrd", "initrd", TEXT),
        f("KernelParams", "kernelParams", TEXTS),
    }
    DHCP = "tinkerbell.DHCP" {
        f("MAC", "mac", TEXT),
        f("Hostname", "hostname", TEXT),
        f("DomainName", "domain_name", TEXT),
        f("LeaseTime", "lease_time", INT64),
        f("NameServers", "name_servers", TEXTS),
        f("TimeServers", "time_servers", TEXTS),
        f("Arch", "arch", TEXT),
        f("UEFI", "uefi", BOOL),
        f("IfaceName", "iface_name", TEXT),
        f("IP", "ip", ptr!(IP)),
        f("VLANID", "vlan_id", TEXT),
        f("ClasslessStaticRoutes", "classless_static_routes", Type::List(&Type::Struct(&ROUTE))),
        f("TFTPServerName", "tftp_server_name", TEXT),
        f("BootFileName", "boot_file_name", TEXT),
    }
    IP = "tinkerbell.IP" {
        f("Address", "address", TEXT),
        f("Netmask", "netmask", TEXT),
        f("Gateway", "gateway", TEXT),
        f("Family", "family", INT64),
    }
    ROUTE = "tinkerbell.ClasslessStaticRoute" {
        always("DestinationDescriptor", "destination_descriptor", TEXT),
        always("Router", "router", TEXT),
    }
    METADATA = "tinkerbell.HardwareMetadata" {
        f("State", "state", TEXT),
        f("BondingMode", "bonding_mode", INT64),
        f("Manufacturer", "manufacturer", ptr!(MANUFACTURER)),
        f("Instance", "instance", ptr!(INSTANCE)),
        f("Custom", "custom", ptr!(CUSTOM)),
        f("Facility", "facility", ptr!(FACILITY)),
    }
    MANUFACTURER = "tinkerbell.MetadataManufacturer" { f("ID", "id", TEXT), f("Slug", "slug", TEXT) }
    INSTANCE = "tinkerbell.MetadataInstance" {
        f("ID", "id", TEXT),
        f("State", "state", TEXT),
        f("Hostname", "hostname", TEXT),
        f("AllowPxe", "allow_pxe", BOOL),
        f("Rescue", "rescue", BOOL),
        f("OperatingSystem", "operating_system", ptr!(OPERATING_SYSTEM)),
        f("AlwaysPxe", "always_pxe", BOOL),
        f("IpxeScriptURL", "ipxe_script_url", TEXT),
        f("Ips", "ips", ptrs!(INSTANCE_IP)),
        f("Userdata", "userdata", TEXT),
        f("CryptedRootPassword", "crypted_root_password", TEXT),
        f("Tags", "tags", TEXTS),
        f("Storage", "storage", ptr!(STORAGE)),
        f("SSHKeys", "ssh_keys", TEXTS),
        f("NetworkReady", "network_ready", BOOL),
    }
    OPERATING_SYSTEM = "tinkerbell.MetadataInstanceOperatingSystem" {
        f("Slug", "slug", TEXT),
        f("Distro", "distro", TEXT),
        f("Version", "version", TEXT),
        f("ImageTag", "image_tag", TEXT),
        f("OsSlug", "os_slug", TEXT),
    }
    INSTANCE_IP = "tinkerbell.MetadataInstanceIP" {
        f("Address", "address", TEXT),
        f("Netmask", "netmask", TEXT),
        f("Gateway", "gateway", TEXT),
        f("Family", "family", INT64),
        f("Public", "public", BOOL),
        f("Management", "management", BOOL),
    }
    STORAGE = "tinkerbell.MetadataInstanceStorage" {
        f("Disks", "disks", ptrs!(DISK)),
        f("Raid", "raid", ptrs!(RAID)),
        f("Filesystems", "filesystems", ptrs!(FILESYSTEM)),
    }
    DISK = "tinkerbell.MetadataInstanceStorageDisk" {
        f("Device", "device", TEXT),
        f("WipeTable", "wipe_table", BOOL),
        f("Partitions", "partitions", ptrs!(PARTITION)),
    }
    PARTITION = "tinkerbell.MetadataInstanceStorageDiskPartition" {
        f("Label", "label", TEXT),
        f("Number", "number", INT64),
        f("Size", "size", INT64),
        f("Start", "start", INT64),
        f("TypeGUID", "type_guid", TEXT),
    }
    RAID = "tinkerbell.MetadataInstanceStorageRAID" {
        f("Name", "name", TEXT),
        f("Level", "level", TEXT),
        f("Devices", "devices", TEXTS),
        f("Spare", "spare", INT64),
    }
    FILESYSTEM = "tinkerbell.MetadataInstanceStorageFilesystem" { f("Mount", "mount", ptr!(MOUNT)) }
    MOUNT = "tinkerbell.MetadataInstanceStorageMount" {
        f("Device", "device", TEXT),
        f("Format", "format", TEXT),
        f("Files", "files", ptrs!(FILE)),
        f("Create", "create", ptr!(CREATE)),
        f("Point", "point", TEXT),
    }
    FILE = "tinkerbell.MetadataInstanceStorageFile" {
        f("Path", "path", TEXT),
        f("Contents", "contents", TEXT),
        f("Mode", "mode", INT64),
        f("UID", "uid", INT64),
        f("GID", "gid", INT64),
    }
    CREATE = "tinkerbell.MetadataInstanceStorageMountFilesystemOptions" {
        f("Force", "force", BOOL),
        f("Options", "options", TEXTS),
    }
    CUSTOM = "tinkerbell.MetadataCustom" {
        f("PreinstalledOperatingSystemVersion", "preinstalled_operating_system_version", ptr!(OPERATING_SYSTEM)),
        f("PrivateSubnets", "private_subnets", TEXTS),
    }
    FACILITY = "tinkerbell.MetadataFacility" {
        f("PlanSlug", "plan_slug", TEXT),
        f("PlanVersionSlug", "plan_version_slug", TEXT),
        f("FacilityCode", "facility_code", TEXT),
    }
}
