//! `/metadata` for the action rootio: the storage of the instance, byte for byte as tootles writes it. What rootio does not
//! know, such as RAID, is left out. Go writes a list that is not there as `null`.

use model::Hardware;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::part;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Storage {
    disks: Option<Vec<Disk>>,
    filesystems: Option<Vec<Filesystem>>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Disk {
    device: String,
    partitions: Option<Vec<Partition>>,
    wipe_table: bool,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Partition {
    label: String,
    number: i64,
    size: u64,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Filesystem {
    mount: Mount,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Mount {
    create: Create,
    device: String,
    format: String,
    point: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Create {
    options: Option<Vec<String>>,
}

pub fn render(hardware: &Hardware) -> String {
    let storage = part(hardware, "/instance/storage").filter(|storage| !storage.is_null());
    // The model has checked its shape. A shape of another version is as good as none.
    let storage: Storage = storage.and_then(|storage| Storage::deserialize(without_nulls(storage)).ok()).unwrap_or_default();
    let storage = serde_json::to_string(&storage).unwrap_or_else(|_| "null".to_owned());
    // Go escapes what HTML would read.
    let storage = storage.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    format!(r#"{{"metadata":{{"instance":{{"storage":{storage}}}}}}}"#)
}

/// A key with `null` counts as one that is not there, as in Go.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
