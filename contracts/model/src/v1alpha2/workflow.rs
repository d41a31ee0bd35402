//! Workflow: Tasks, each for an agent and its Hardware.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Places;
use crate::yaml::{Content, Node};
use crate::{Mistake, ObjectName, Reference, Resource, WorkflowStatus};

/// Its status has the form of v1alpha1, which is what runs.
pub type Workflow = Resource<WorkflowSpec, WorkflowStatus>;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub globals: Option<Extra>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, Reference>,
    /// From the first action that is handed out; 0 means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<WorkflowTask>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    #[serde(skip)]
    pub places: Places,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extra {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub template_map: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowTask {
    #[serde(rename = "agentID")]
    pub agent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<WorkflowHardware>,
    /// From the first action of the task that is handed out; 0 means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    pub task_ref: SimpleReference,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowHardware {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_options: Option<BootOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_ref: Option<SimpleReference>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootOptions {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub toggle_netboot: bool,
    #[serde(rename = "isoURL", skip_serializing_if = "Option::is_none")]
    pub iso_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customboot: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SimpleReference {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl SimpleReference {
    /// Without a namespace it is that of the object that refers.
    #[must_use]
    pub fn object_name(&self, from: &str) -> ObjectName {
        ObjectName::new(self.namespace.as_deref().unwrap_or(from), &self.name)
    }
}

impl WorkflowTask {
    #[must_use]
    pub fn hardware_name(&self, from: &str) -> Option<ObjectName> {
        let reference = self.hardware.as_ref()?.hardware_ref.as_ref()?;
        Some(reference.object_name(from))
    }

    #[must_use]
    pub fn boot_options(&self) -> Option<&BootOptions> {
        self.hardware.as_ref()?.boot_options.as_ref()
    }
}

/// What the shape does not say.
pub(crate) fn rules(object: &Node, file: &str, mistakes: &mut Vec<Mistake>) {
    let Some(list) = object.get("spec").and_then(|spec| spec.get("tasks")) else { return };
    let Content::List(tasks) = &list.content else { return };
    if tasks.is_empty() {
        mistakes.push(list.place.mistake(file, "spec.tasks", "at least one task is needed"));
    }
    for (index, task) in tasks.iter().enumerate() {
        let Some(hardware) = task.get("hardware") else { continue };
        if let (Some(options), None) = (hardware.get("bootOptions"), hardware.get("hardwareRef")) {
            let path = format!("spec.tasks[{index}].hardware");
            mistakes.push(options.place.mistake(file, &path, "bootOptions need a hardwareRef"));
        }
    }
}
