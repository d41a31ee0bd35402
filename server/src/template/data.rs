//! The data that a template sees of the workflow and its Hardware.

use std::collections::BTreeMap;

use model::Hardware;
use serde_json::{Value, json};

use crate::references::References;

#[derive(Debug, Clone, Default)]
pub(super) struct Data {
    pub(super) map: BTreeMap<String, String>,
    /// The whole object, or nothing for a workflow without Hardware.
    pub(super) hardware: Option<Value>,
    pub(super) references: References,
}

impl Data {
    pub(super) fn new(map: &BTreeMap<String, String>, hardware: Option<&Hardware>, references: References) -> Self {
        Self { map: map.clone(), hardware: hardware.map(hardware_data), references }
    }
}

/// `.hardware`, including the parts that Tinkerbell's types always write, even if they are not set.
pub(crate) fn hardware_data(hardware: &Hardware) -> Value {
    let mut hardware = serde_json::to_value(hardware).unwrap_or_default();
    if let Some(object) = hardware.as_object_mut() {
        object.entry("status").or_insert_with(|| json!({}));
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.entry("auto").or_insert_with(|| json!({}));
        }
    }
    hardware
}
