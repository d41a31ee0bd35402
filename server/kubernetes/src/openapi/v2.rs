//! OpenAPI version 2, which kubectl 1.20 knows and nothing else: as JSON, and as the protobuf of gnostic. The paths say that the
//! server knows dry runs. The definitions name every field that an object can have, because what they lack is refused.

use serde_json::{Map, Value, json};

use super::{META, group_version_kind, paths_of, schema, schema_name, schema_of};
use crate::openapi::Place;
use crate::protobuf::Writer;
use crate::resources::{RESOURCES, Resource};
use crate::shapes::OBJECT_META;

const EXTENSION: &str = "x-kubernetes-group-version-kind";

/// `/openapi/v2`
#[must_use]
pub fn v2() -> Value {
    let mut paths = Map::new();
    for resource in patched() {
        let dry_run = json!({"in": "query", "name": "dryRun", "type": "string"});
        let operation = json!({
            "parameters": [dry_run], "responses": {"200": {"description": "OK"}}, EXTENSION: group_version_kind(resource),
        });
        paths.insert(paths_of(resource).1, json!({"patch": operation}));
    }
    let info = json!({"title": "Thimble", "version": env!("CARGO_PKG_VERSION")});
    json!({"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions()})
}

fn patched() -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(|resource| resource.has("patch"))
}

/// Kinds that clients write. A kind without a definition is not checked by them.
fn definitions() -> Map<String, Value> {
    let mut found = Map::from_iter([(META.to_owned(), of_version_two(schema(&OBJECT_META, &Place::ROOT)))]);
    found.extend(patched().map(|resource| (schema_name(resource), of_version_two(schema_of(resource)))));
    found
}

/// A schema of version 3 in the words of version 2.
fn of_version_two(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    if let Some(reference) = fields.get("allOf").and_then(|all| all.pointer("/0/$ref")).and_then(Value::as_str) {
        return json!({"$ref": reference.replace("#/components/schemas/", "#/definitions/")});
    }
    let convert = |(key, value): (String, Value)| match (key.as_str(), value) {
        ("properties", Value::Object(properties)) => {
            let properties: Map<String, Value> =
                properties.into_iter().map(|(name, schema)| (name, of_version_two(schema))).collect();
            (key, Value::Object(properties))
        }
        ("items" | "additionalProperties", value) => (key, of_version_two(value)),
        (_, value) => (key, value),
    };
    Value::Object(fields.into_iter().map(convert).collect())
}

/// The same as protobuf: kubectl 1.20 asks for nothing else.
#[must_use]
pub fn v2_protobuf() -> Vec<u8> {
    let message = Writer::default;
    let mut paths = message();
    for resource in patched() {
        let query = message().text(2, "query").text(4, "dryRun").text(6, "string");
        let parameter = message().message(2, message().message(3, query));
        let parameters = message().message(1, parameter);
        let operation = message().message(8, parameters).message(13, extension(&kind_as_yaml(&group_version_kind(resource), "")));
        let item = message().message(8, operation);
        let path = message().text(1, &paths_of(resource).1).message(2, item);
        paths = paths.message(2, path);
    }
    let info = message().text(1, "Thimble").text(2, env!("CARGO_PKG_VERSION"));
    let definitions = named(&definitions());
    message().text(1, "2.0").message(2, info).message(8, paths).message(9, definitions).0
}

/// `NamedAny`
fn extension(yaml: &str) -> Writer {
    Writer::default().text(1, EXTENSION).message(2, Writer::default().text(2, yaml))
}

/// `first` begins the lines of a list's item.
fn kind_as_yaml(kind: &Value, first: &str) -> String {
    let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let indent = " ".repeat(first.len());
    format!("{first}group: {:?}\n{indent}version: {}\n{indent}kind: {}\n", text("group"), text("version"), text("kind"))
}

/// `NamedSchema`, each as field 1.
fn named(schemas: &Map<String, Value>) -> Writer {
    schemas.iter().fold(Writer::default(), |all, (name, schema)| {
        all.message(1, Writer::default().text(1, name).message(2, encoded(schema)))
    })
}

/// `Schema`
fn encoded(schema: &Value) -> Writer {
    let mut out = Writer::default();
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    for (number, key) in [(1, "$ref"), (2, "format"), (4, "description")] {
        if let Some(text) = text(key).filter(|text| !text.is_empty()) {
            out = out.text(number, text);
        }
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        out = out.text(19, name);
    }
    if let Some(of) = schema.get("additionalProperties") {
        out = out.message(21, Writer::default().message(1, encoded(of)));
    }
    if let Some(name) = text("type") {
        out = out.message(22, Writer::default().text(1, name));
    }
    if let Some(of) = schema.get("items") {
        out = out.message(23, Writer::default().message(1, encoded(of)));
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        out = out.message(25, named(properties));
    }
    match schema.get(EXTENSION).and_then(|kinds| kinds.get(0)) {
        Some(kind) => out.message(31, extension(&kind_as_yaml(kind, "- "))),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a message: its number, and the bytes of a length-delimited value.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let number = |bytes: &mut &[u8]| {
                let (mut value, mut shift) = (0_u64, 0);
                loop {
                    let (byte, rest) = bytes.split_first().unwrap();
                    *bytes = rest;
                    value |= u64::from(byte & 0x7f) << shift;
                    shift += 7;
                    if byte & 0x80 == 0 {
                        return value;
                    }
                }
            };
            let key = number(&mut bytes);
            assert_eq!(key & 7, 2, "everything in it is length-delimited");
            let length = usize::try_from(number(&mut bytes)).unwrap();
            let (value, rest) = bytes.split_at(length);
            found.push((key >> 3, value));
            bytes = rest;
        }
        found
    }

    fn below(bytes: &[u8], wanted: u64) -> Vec<&[u8]> {
        fields(bytes).into_iter().filter(|(number, _)| *number == wanted).map(|(_, value)| value).collect()
    }

    fn property<'b>(schema: &'b [u8], name: &str) -> &'b [u8] {
        let properties = below(schema, 25)[0];
        let found = below(properties, 1).into_iter().find(|one| below(one, 1)[0] == name.as_bytes()).unwrap();
        below(found, 2)[0]
    }

    #[test]
    fn both_encodings_have_the_same_paths_and_definitions() {
        let (bytes, json) = (v2_protobuf(), v2());
        let names = |key: &str| json[key].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut paths: Vec<String> = below(below(&bytes, 8)[0], 2).iter().map(|path| text(below(path, 1)[0])).collect();
        paths.sort();
        assert_eq!(paths, names("paths"));
        let definitions: Vec<String> = below(below(&bytes, 9)[0], 1).iter().map(|one| text(below(one, 1)[0])).collect();
        assert_eq!(definitions, names("definitions"));
    }

    #[test]
    fn a_field_is_found_with_its_type_its_description_and_the_kind_of_its_object() {
        let bytes = v2_protobuf();
        let all = below(below(&bytes, 9)[0], 1);
        let hardware = all.iter().find(|one| below(one, 1)[0] == b"org.tinkerbell.v1alpha1.Hardware").unwrap();
        let schema = below(hardware, 2)[0];
        assert_eq!(below(property(schema, "metadata"), 1)[0], format!("#/definitions/{META}").as_bytes());
        let interfaces = property(property(schema, "spec"), "interfaces");
        assert_eq!(below(below(interfaces, 22)[0], 1)[0], b"array");
        let item = below(below(interfaces, 23)[0], 1)[0];
        let mac = property(property(item, "dhcp"), "mac");
        assert_eq!(below(below(mac, 22)[0], 1)[0], b"string");
        assert!(!below(mac, 4)[0].is_empty());
        let kind = below(below(schema, 31)[0], 2)[0];
        assert_eq!(below(kind, 2)[0], b"- group: \"tinkerbell.org\"\n  version: v1alpha1\n  kind: Hardware\n");
    }

    #[test]
    fn no_reference_leads_to_nothing() {
        let json = v2();
        let text = json.to_string();
        assert!(!text.contains("#/components/") && !text.contains("allOf"), "{text}");
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(json.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
