//! The rules of `metadata`: what a client may set, what the server sets, and what never changes.

use model::is_name;
use serde_json::{Map, Value, json};

use crate::request::{Request, Verb};
use crate::resources::Resource;
use crate::status::{Cause, FORBIDDEN, INVALID, REQUIRED, Status};

/// Letters of a generated name before the random ones.
const MAX_BASE: usize = 58;
/// Bytes of all annotations together, as in Kubernetes.
const MAX_ANNOTATIONS: usize = 256 << 10;
const MOST_FINALIZERS: usize = 64;

/// Set by the server alone.
const SERVERS: [&str; 6] =
    ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

/// A text of `metadata` that is not empty.
pub fn text<'o>(object: &'o Map<String, Value>, key: &str) -> Option<&'o str> {
    object.get("metadata")?.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn metadata_of(object: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.as_object_mut()
}

pub fn has_managed_fields(object: &Map<String, Value>) -> bool {
    object.get("metadata").and_then(|metadata| metadata.get("managedFields")).is_some_and(|entries| !entries.is_null())
}

/// A write without entries keeps those that there are.
pub fn keep_managed_fields(object: &mut Map<String, Value>, current: &Value) {
    let entries = current.get("metadata").and_then(|metadata| metadata.get("managedFields")).cloned();
    if let (Some(entries), Some(metadata)) = (entries, metadata_of(object)) {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

/// Name and namespace agree with the path; a name may be made from `generateName`.
pub fn named(request: &Request, object: &mut Map<String, Value>, suffix: &str) -> Result<(), Status> {
    let resource = request.resource;
    let creates = request.verb == Verb::Create;
    if creates && text(object, "resourceVersion").is_some() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let name = match (text(object, "name"), &request.name, text(object, "generateName")) {
        (Some(given), Some(asked), _) if given != asked => {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({asked})"
            )));
        }
        (_, Some(asked), _) => asked.clone(),
        (Some(given), None, _) => given.to_owned(),
        (None, None, Some(base)) => format!("{}{suffix}", base.chars().take(MAX_BASE).collect::<String>()),
        (None, None, None) => {
            let cause = Cause::new(REQUIRED, "metadata.name", "name or generateName is required");
            return Err(Status::invalid(resource, "", &[cause]));
        }
    };
    if !is_name(&name) {
        let why = format!("{name:?}: a name has small letters, digits, '-' and '.', begins and ends with a letter or digit");
        return Err(Status::invalid(resource, &name, &[Cause::new(INVALID, "metadata.name", why)]));
    }
    let namespace = in_namespace(request, object)?;
    let Some(metadata) = metadata_of(object) else { return Ok(()) };
    metadata.insert("name".to_owned(), json!(name));
    metadata.remove("generateName");
    match namespace {
        Some(namespace) => drop(metadata.insert("namespace".to_owned(), json!(namespace))),
        None => drop(metadata.remove("namespace")),
    }
    Ok(())
}

fn in_namespace(request: &Request, object: &Map<String, Value>) -> Result<Option<String>, Status> {
    match (text(object, "namespace"), &request.namespace) {
        (Some(given), Some(asked)) if given != asked => {
            Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
        }
        (_, asked) => Ok(asked.clone().filter(|_| request.resource.namespaced)),
    }
}

/// Of an object that is created.
pub fn of_new(resource: &Resource, object: &mut Map<String, Value>, now: &str) {
    let Some(metadata) = metadata_of(object) else { return };
    for key in SERVERS.into_iter().chain(["managedFields", "resourceVersion"]) {
        if key != "managedFields" || metadata.get(key).is_some_and(Value::is_null) {
            metadata.remove(key);
        }
    }
    metadata.insert("creationTimestamp".to_owned(), json!(now));
    if resource.counts_generations() {
        metadata.insert("generation".to_owned(), json!(1));
    }
}

/// Of an object that is changed: the server's fields stay, and a changed spec counts.
pub fn of_changed(resource: &Resource, object: &mut Map<String, Value>, current: &Value) {
    let counts = resource.counts_generations() && content(object) != current.as_object().map(content).unwrap_or_default();
    let Some(metadata) = metadata_of(object) else { return };
    for key in SERVERS.into_iter().chain(["name", "namespace", "resourceVersion"]) {
        match current.get("metadata").and_then(|metadata| metadata.get(key)) {
            Some(value) => drop(metadata.insert(key.to_owned(), value.clone())),
            None => drop(metadata.remove(key)),
        }
    }
    if counts {
        let generation = metadata.get("generation").and_then(Value::as_u64).unwrap_or(1);
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
}

/// What a generation counts.
fn content(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    object.iter().filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind")).collect()
}

pub fn version_needed(resource: &Resource, name: &str) -> Status {
    let cause = Cause::new(INVALID, "metadata.resourceVersion", "0: must be specified for an update");
    Status::invalid(resource, name, &[cause])
}

/// The write is of the object that it names, in the version that it names.
pub fn same_identity(resource: &Resource, object: &Map<String, Value>, current: &Value, request: &Request) -> Result<(), Status> {
    let live =
        |key: &str| current.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str).unwrap_or_default();
    let name = live("name");
    if text(object, "name").is_some_and(|given| given != name) {
        let given = text(object, "name").unwrap_or_default();
        return Err(Status::bad_request(format!("the name of the object ({given}) does not match the name on the URL ({name})")));
    }
    in_namespace(request, object)?;
    for (key, given) in [("apiVersion", object.get("apiVersion")), ("kind", object.get("kind"))] {
        if given.is_some() && given != current.get(key) {
            return Err(Status::bad_request(format!("{key} cannot be changed")));
        }
    }
    if let Some(given) = text(object, "uid").filter(|given| *given != live("uid")) {
        let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {}", live("uid"));
        return Err(Status::conflict(resource, name, &why));
    }
    if text(object, "resourceVersion").is_some_and(|given| given != live("resourceVersion")) {
        return Err(Status::modified(resource, name));
    }
    Ok(())
}

/// Labels, annotations and finalizers are well formed. A deleted object gets no new finalizers.
pub fn check(resource: &Resource, object: &Map<String, Value>, current: Option<&Value>) -> Result<(), Status> {
    let Some(Value::Object(metadata)) = object.get("metadata") else { return Ok(()) };
    let name = text(object, "name").unwrap_or_default();
    let mut causes = Vec::new();
    let entries = |key: &str| metadata.get(key).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in entries("labels") {
        if let Err(error) = model::check_label(key, value.as_str().unwrap_or_default()) {
            causes.push(Cause::new(INVALID, "metadata.labels", error.to_string()));
        }
    }
    let bytes: usize = entries("annotations").map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MAX_ANNOTATIONS {
        causes.push(Cause::new(INVALID, "metadata.annotations", format!("{bytes} bytes: the most is {MAX_ANNOTATIONS}")));
    }
    let finalizers = metadata.get("finalizers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if finalizers.len() > MOST_FINALIZERS {
        causes.push(Cause::new(INVALID, "metadata.finalizers", format!("the most is {MOST_FINALIZERS}")));
    }
    let live = current.and_then(|current| current.get("metadata"));
    if live.and_then(|live| live.get("deletionTimestamp")).is_some() {
        let known = live.and_then(|live| live.get("finalizers")).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if finalizers.iter().any(|one| !known.contains(one)) {
            let why = "no new finalizers can be added if the object is being deleted";
            causes.push(Cause::new(FORBIDDEN, "metadata.finalizers", why));
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource, name, &causes)) }
}
