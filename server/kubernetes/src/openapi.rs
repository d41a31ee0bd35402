//! OpenAPI, for validation and `kubectl explain`: version 3 here, version 2 for old clients made from it.

mod v2;

use model::yaml::Shape;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::explain;
use crate::resources::{Resource, groups, in_version};
use crate::shapes::{OBJECT_META, top};
pub use v2::{v2, v2_protobuf};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// `/openapi/v3`: where each version has its document. The hash is that of its content, so clients may keep it.
#[must_use]
pub fn index() -> Value {
    let mut paths = Map::new();
    for (group, versions) in groups() {
        for version in versions {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let hash = Sha256::digest(document(group, version).to_string().as_bytes());
            let hex: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
            paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hex}")}));
        }
    }
    json!({"paths": paths})
}

/// `/openapi/v3/apis/GROUP/VERSION`
#[must_use]
pub fn document(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert(META.to_owned(), schema(&OBJECT_META, &Place::ROOT));
    for resource in in_version(group, version) {
        let (collection, object) = paths_of(resource);
        if resource.has("patch") {
            paths.insert(object, json!({"patch": operation(resource, "patch")}));
        }
        if resource.has("create") {
            paths.insert(collection, json!({"post": operation(resource, "post")}));
        }
        schemas.insert(schema_name(resource), schema_of(resource));
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Thimble", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    })
}

/// The collection's path and the object's.
fn paths_of(resource: &Resource) -> (String, String) {
    let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}/{}{namespace}/{}", resource.version, resource.plural);
    let object = format!("{collection}/{{name}}");
    (collection, object)
}

fn schema_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').filter(|part| !part.is_empty()).collect();
    let group = if group.is_empty() { "core".to_owned() } else { group.join(".") };
    format!("{group}.{}.{}", resource.version, resource.kind)
}

fn group_version_kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn operation(resource: &Resource, verb: &str) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"].into_iter().map(parameter).collect();
    let reference = json!({"$ref": format!("#/components/schemas/{}", schema_name(resource))});
    json!({
        "operationId": format!("{verb}{}{}{}", resource.group.replace('.', ""), resource.version, resource.kind),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": group_version_kind(resource),
    })
}

/// The schema of a kind.
#[must_use]
pub fn schema_of(resource: &Resource) -> Value {
    let mut whole = structural(resource);
    let Some(fields) = whole.as_object_mut() else { return whole };
    fields.insert("x-kubernetes-group-version-kind".to_owned(), json!([group_version_kind(resource)]));
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties
            .insert("metadata".to_owned(), json!({"allOf": [{"$ref": format!("#/components/schemas/{META}")}], "default": {}}));
    }
    whole
}

/// The same without references, as CustomResourceDefinitions have it.
#[must_use]
pub fn structural(resource: &Resource) -> Value {
    let mut properties = Map::from_iter([
        ("apiVersion".to_owned(), json!({"type": "string", "description": explain::field(resource.kind, "apiVersion")})),
        ("kind".to_owned(), json!({"type": "string", "description": explain::field(resource.kind, "kind")})),
        ("metadata".to_owned(), json!({"type": "object"})),
    ]);
    let mut required = Vec::new();
    for field in top(resource.family).into_iter().filter(|field| field.key != "metadata") {
        properties.insert(field.key.to_owned(), described(field.shape, &Place::of(resource).below(field.key)));
        if field.required {
            required.push(json!(field.key));
        }
    }
    let mut whole = json!({"type": "object", "description": explain::kind(resource), "properties": properties});
    if let (false, Some(fields)) = (required.is_empty(), whole.as_object_mut()) {
        fields.insert("required".to_owned(), Value::Array(required));
    }
    whole
}

/// Where a field is, to find its description.
struct Place {
    kind: &'static str,
    path: String,
}

impl Place {
    const ROOT: Self = Self { kind: "", path: String::new() };

    const fn of(resource: &Resource) -> Self {
        Self { kind: resource.kind, path: String::new() }
    }

    fn below(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { kind: self.kind, path }
    }
}

/// The schema of a field.
fn described(shape: &Shape, place: &Place) -> Value {
    let mut schema = schema(shape, place);
    let text = explain::field(place.kind, &place.path);
    if let (false, Some(fields)) = (text.is_empty(), schema.as_object_mut()) {
        fields.insert("description".to_owned(), json!(text));
    }
    schema
}

fn schema(shape: &Shape, place: &Place) -> Value {
    match shape {
        Shape::Text | Shape::Raw => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int(least, most) => {
            let mut number = json!({"type": "integer", "format": "int64"});
            if let Some(fields) = number.as_object_mut() {
                if *least != i64::MIN {
                    fields.insert("minimum".to_owned(), json!(least));
                }
                if *most != i64::MAX {
                    fields.insert("maximum".to_owned(), json!(most));
                }
            }
            number
        }
        Shape::Mac => json!({"type": "string", "description": "A MAC address."}),
        Shape::Ip => json!({"type": "string", "description": "An IPv4 or IPv6 address."}),
        Shape::Cidr => json!({"type": "string", "description": "A network such as 10.0.0.0/8."}),
        Shape::Choice(words) => json!({"type": "string", "enum": words}),
        Shape::List(of) | Shape::ListOr(of, _) => {
            json!({"type": "array", "items": schema(of, place), "x-kubernetes-list-type": "atomic"})
        }
        Shape::Map(of) => json!({"type": "object", "additionalProperties": schema(of, place)}),
        Shape::Record(fields) => {
            let properties: Map<String, Value> =
                fields.iter().map(|field| (field.key.to_owned(), described(&field.shape, &place.below(field.key)))).collect();
            let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.key).collect();
            let mut record = json!({"type": "object", "properties": properties});
            if let (false, Some(record)) = (required.is_empty(), record.as_object_mut()) {
                record.insert("required".to_owned(), json!(required));
            }
            record
        }
        Shape::Any | Shape::Dropped => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    #[test]
    fn each_kind_declares_validation_by_the_server() {
        let whole = document("tinkerbell.org", "v1alpha1");
        let patch = &whole["paths"]["/apis/tinkerbell.org/v1alpha1/namespaces/{namespace}/hardware/{name}"]["patch"];
        let names: Vec<&str> = patch["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation"]);
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Hardware");
        let hardware = &whole["components"]["schemas"]["org.tinkerbell.v1alpha1.Hardware"];
        let mac = "/properties/spec/properties/interfaces/items/properties/dhcp/properties/mac/type";
        assert_eq!(hardware.pointer(mac), Some(&json!("string")));
        assert_eq!(hardware["x-kubernetes-group-version-kind"][0]["group"], "tinkerbell.org");
        let reference = hardware["properties"]["metadata"]["allOf"][0]["$ref"].as_str().unwrap();
        assert!(whole.pointer(&reference[1..]).is_some(), "{reference}");
        let status = structural(find("tinkerbell.org", "v1alpha1", "workflows").unwrap());
        assert!(status.pointer("/properties/status/properties/tasks/items/properties/actions").is_some());
    }

    #[test]
    fn the_hash_follows_the_content() {
        let index = index();
        let url = index["paths"]["apis/tinkerbell.org/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/apis/tinkerbell.org/v1alpha1?hash="), "{url}");
        assert!(index["paths"]["api/v1"].is_object());
    }
}
