//! Policy: which objects may be looked at by templates, as `.references`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::yaml::{Content, Node};
use crate::{Mistake, Resource};

pub type Policy = Resource<PolicySpec, ()>;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicySpec {
    pub rules: Rules,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    pub reference_access: ReferenceAccess,
}

/// By the kind of the object that refers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReferenceAccess {
    #[serde(skip_serializing_if = "RuleLists::is_empty")]
    pub hardware: RuleLists,
    #[serde(skip_serializing_if = "RuleLists::is_empty")]
    pub task: RuleLists,
    #[serde(skip_serializing_if = "RuleLists::is_empty")]
    pub workflow: RuleLists,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleLists {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AccessRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<AccessRule>,
}

impl RuleLists {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// A quamina pattern: fields of the two objects, each with a list of values and matchers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessRule {
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub source: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub reference: Map<String, Value>,
}

/// What the shape does not say: a rule without a field would match everything.
pub(crate) fn rules(object: &Node, file: &str, mistakes: &mut Vec<Mistake>) {
    let Some(rules) = object.get("spec").and_then(|spec| spec.get("rules")) else { return };
    if let Some(creation) = rules.get("workflowAutoCreation") {
        let message = "Workflows are not created by a Policy";
        let mut mistake = creation.place.mistake(file, "spec.rules.workflowAutoCreation", message);
        mistake.hint = Some("a WorkflowRuleSet of v1alpha1 does it".to_owned());
        mistakes.push(mistake);
    }
    let Some(access) = rules.get("referenceAccess") else { return };
    for source in ["hardware", "task", "workflow"] {
        for list in ["allow", "deny"] {
            let Some(Content::List(rules)) = access.get(source).and_then(|lists| lists.get(list)).map(|list| &list.content)
            else {
                continue;
            };
            for (index, rule) in rules.iter().enumerate() {
                let path = format!("spec.rules.referenceAccess.{source}.{list}[{index}]");
                let parts = ["source", "reference"].map(|part| rule.get(part));
                if parts.iter().all(Option::is_none) {
                    mistakes.push(rule.place.mistake(file, &path, "a rule needs source or reference"));
                }
                for part in parts.into_iter().flatten() {
                    part_rules(part, &path, file, mistakes);
                }
            }
        }
    }
}

fn part_rules(part: &Node, path: &str, file: &str, mistakes: &mut Vec<Mistake>) {
    let Content::Map(fields) = &part.content else { return };
    if fields.is_empty() {
        mistakes.push(part.place.mistake(file, path, "at least one field is needed here"));
    }
    for (key, value) in fields {
        if value.is_null() || matches!(&value.content, Content::List(values) if values.is_empty()) {
            mistakes.push(value.place.mistake(file, &format!("{path}.{}", key.text), "at least one value is needed"));
        }
    }
}
