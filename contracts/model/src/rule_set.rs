//! WorkflowRuleSet: which agents get a workflow by themselves. The server checks the patterns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Resource;

pub type WorkflowRuleSet = Resource<WorkflowRuleSetSpec, ()>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowRuleSetSpec {
    /// Patterns over an agent's attributes; one that matches is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    pub workflow: RuleSetWorkflow,
}

/// The workflow that a matching agent gets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleSetWorkflow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Where the workflow and its template are; that of the rule set if it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_attributes: Option<bool>,
    pub template: RuleSetTemplate,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleSetTemplate {
    #[serde(rename = "ref")]
    pub name: String,
    /// The key of `hardwareMap` that gets the agent's id.
    pub agent_value: String,
    /// Further keys and values of `hardwareMap`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kvs: BTreeMap<String, String>,
}
