//! CustomResourceDefinitions of the kinds that are not Kubernetes' own. They can be read, because tools look for them.

use serde_json::{Value, json};

use crate::openapi::structural;
use crate::resources::{RESOURCES, Resource};

/// All of them, by name. `version` is their resourceVersion: they change with the program only.
#[must_use]
pub fn all() -> Vec<Value> {
    let mut found: Vec<(String, Value)> = Vec::new();
    for resource in RESOURCES.iter().filter(|resource| !resource.native) {
        let name = resource.qualified();
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, definition)) => {
                if let Some(Value::Array(versions)) = definition.pointer_mut("/spec/versions") {
                    versions.push(version(resource));
                }
            }
            None => found.push((name.clone(), definition(resource, &name))),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter().map(|(_, definition)| definition).collect()
}

fn definition(resource: &Resource, name: &str) -> Value {
    let names = json!({
        "plural": resource.plural, "singular": resource.singular, "kind": resource.kind, "listKind": format!("{}List", resource.kind),
        "shortNames": resource.short_names, "categories": resource.categories,
    });
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "BuiltIn", "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z"});
    json!({
        "metadata": {"name": name, "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"group": resource.group, "names": names, "scope": scope, "versions": [version(resource)]},
        "status": {
            "acceptedNames": names, "storedVersions": [resource.version],
            "conditions": [condition("NamesAccepted"), condition("Established")],
        },
    })
}

fn version(resource: &Resource) -> Value {
    let subresources = if resource.status { json!({"status": {}}) } else { json!({}) };
    let columns: Vec<Value> = resource
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "type": "string", "jsonPath": column.path, "priority": i32::from(column.wide)}))
        .collect();
    let selectable: Vec<Value> = resource.fields.iter().map(|(_, path)| json!({"jsonPath": path})).collect();
    json!({
        "name": resource.version, "served": true, "storage": resource.version == "v1alpha1", "subresources": subresources,
        "additionalPrinterColumns": columns, "selectableFields": selectable, "schema": {"openAPIV3Schema": structural(resource)},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_two_versions_is_one_definition() {
        let all = all();
        let workflows = all.iter().find(|one| one["metadata"]["name"] == "workflows.tinkerbell.org").unwrap();
        let versions: Vec<&str> =
            workflows["spec"]["versions"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(versions, ["v1alpha1", "v1alpha2"]);
        assert!(all.iter().all(|one| one["metadata"]["name"] != "secrets"));
    }
}
