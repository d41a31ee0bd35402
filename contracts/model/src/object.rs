//! What every object has: kind, name, labels; and all kinds in one type.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Hardware, Template, Workflow, WorkflowRuleSet, v1alpha2};

pub const API_VERSION: &str = "tinkerbell.org/v1alpha1";

/// An object as Kubernetes shapes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource<Spec, Status: Default + PartialEq> {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    pub spec: Spec,
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: Status,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Set by the server when it stores the object first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<jiff::Timestamp>,
    #[serde(flatten)]
    pub kept: Kept,
}

/// The metadata that only the API writes. Files do not carry it, and what a file changes keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// How often the spec was written; absent means once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// While there are some, a deleted object stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Which client wrote which field, as server-side apply wants it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub managed_fields: Vec<serde_json::Value>,
    /// When its deletion was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<jiff::Timestamp>,
}

/// The object that this one belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

pub(crate) fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Hardware,
    Template,
    Workflow,
    WorkflowRuleSet,
    /// This and what follows are of v1alpha2.
    Task,
    #[serde(rename = "Workflow.v1alpha2")]
    WorkflowV1alpha2,
    Policy,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Hardware, Self::Template, Self::Workflow, Self::WorkflowRuleSet, Self::Task, Self::WorkflowV1alpha2, Self::Policy];

    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Hardware | Self::Template | Self::Workflow | Self::WorkflowRuleSet => API_VERSION,
            Self::Task | Self::WorkflowV1alpha2 | Self::Policy => v1alpha2::API_VERSION,
        }
    }

    /// `kind` as an object has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WorkflowV1alpha2 => "Workflow",
            other => other.as_str(),
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "Hardware",
            Self::Template => "Template",
            Self::Workflow => "Workflow",
            Self::WorkflowRuleSet => "WorkflowRuleSet",
            Self::Task => "Task",
            Self::WorkflowV1alpha2 => "Workflow.v1alpha2", // as kubectl names a version
            Self::Policy => "Policy",
        }
    }

    /// The word of paths and commands: `hardware`, `templates`, `workflows`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Template => "templates",
            Self::Workflow => "workflows",
            Self::WorkflowRuleSet => "workflowrulesets",
            Self::Task => "tasks",
            Self::WorkflowV1alpha2 => "workflows.v1alpha2",
            Self::Policy => "policies",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// `namespace/name`: the name of an object on the wire and in every message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub namespace: String,
    pub name: String,
}

impl ObjectName {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ObjectName {
    type Err = std::convert::Infallible;

    /// Without a slash the namespace is `default`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Ok(Self::new(namespace, name))
    }
}

/// Whether it is a DNS subdomain, as Kubernetes wants names.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 253
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Object {
    Hardware(Box<Hardware>),
    Template(Box<Template>),
    Workflow(Box<Workflow>),
    WorkflowRuleSet(Box<WorkflowRuleSet>),
    Task(Box<v1alpha2::Task>),
    WorkflowV1alpha2(Box<v1alpha2::Workflow>),
    Policy(Box<v1alpha2::Policy>),
}

impl Object {
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hardware(_) => Kind::Hardware,
            Self::Template(_) => Kind::Template,
            Self::Workflow(_) => Kind::Workflow,
            Self::WorkflowRuleSet(_) => Kind::WorkflowRuleSet,
            Self::Task(_) => Kind::Task,
            Self::WorkflowV1alpha2(_) => Kind::WorkflowV1alpha2,
            Self::Policy(_) => Kind::Policy,
        }
    }

    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        match self {
            Self::Hardware(object) => &object.metadata,
            Self::Template(object) => &object.metadata,
            Self::Workflow(object) => &object.metadata,
            Self::WorkflowRuleSet(object) => &object.metadata,
            Self::Task(object) => &object.metadata,
            Self::WorkflowV1alpha2(object) => &object.metadata,
            Self::Policy(object) => &object.metadata,
        }
    }

    pub const fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Self::Hardware(object) => &mut object.metadata,
            Self::Template(object) => &mut object.metadata,
            Self::Workflow(object) => &mut object.metadata,
            Self::WorkflowRuleSet(object) => &mut object.metadata,
            Self::Task(object) => &mut object.metadata,
            Self::WorkflowV1alpha2(object) => &mut object.metadata,
            Self::Policy(object) => &mut object.metadata,
        }
    }

    #[must_use]
    pub fn name(&self) -> ObjectName {
        self.metadata().object_name()
    }
}

impl Metadata {
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        ObjectName::new(&self.namespace, &self.name)
    }
}

impl<Spec, Status: Default + PartialEq> Resource<Spec, Status> {
    #[must_use]
    pub fn name(&self) -> ObjectName {
        self.metadata.object_name()
    }
}
