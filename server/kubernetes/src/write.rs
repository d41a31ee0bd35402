//! What a write makes of an object: the rules of create, update, patch and apply. Pure: the caller stores the result.

mod metadata;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::Kind;
use serde_json::{Map, Value, json};

use crate::apply::{self, Manager};
use crate::body::Body;
use crate::check::check;
use crate::fields::Entry;
use crate::patch;
use crate::present::seconds;
use crate::request::{Patch, Request, Validation, Verb};
use crate::resources::{Family, Plain, Resource};
use crate::status::{Cause, Status};

/// One write.
#[derive(Debug, Clone, Copy)]
pub struct Write<'w> {
    pub request: &'w Request,
    pub now: Timestamp,
    /// Five letters for `generateName`.
    pub suffix: &'w str,
}

/// The object as it will be, and what the client should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub object: Value,
    pub warnings: Vec<String>,
}

impl Write<'_> {
    const fn resource(&self) -> &'static Resource {
        self.request.resource
    }

    /// # Errors
    /// Why the object cannot be created.
    pub fn create(&self, body: Body) -> Result<Written, Status> {
        let Body { mut object, twice } = body;
        self.of_kind(&mut object)?;
        self.named(&mut object)?;
        let name = name_of(&object);
        let mut warnings = Vec::new();
        if self.status_is_dropped(&object) {
            object.remove("status");
            warnings.push(format!("the status of {} {name:?} is the server's to say and was dropped", self.resource().kind));
        }
        self.checked(&mut object, &name, &twice, &mut warnings)?;
        metadata::of_new(self.resource(), &mut object, &seconds(self.now));
        self.defaults(&mut object);
        let mut object = Value::Object(object);
        if self.tracks_fields() {
            let nothing = json!({});
            apply::updated(&nothing, &mut object, &self.manager(&seconds(self.now)));
        }
        Ok(Written { object, warnings })
    }

    /// # Errors
    /// Why the object cannot be replaced.
    pub fn replace(&self, current: &Value, body: Body) -> Result<Written, Status> {
        let Body { mut object, twice } = body;
        self.of_kind(&mut object)?;
        let has_version = metadata::text(&object, "resourceVersion").is_some();
        if !has_version && !self.resource().native {
            return Err(metadata::version_needed(self.resource(), &name_of(&object)));
        }
        self.updated(current, object, &twice)
    }

    /// # Errors
    /// Why the patch does not apply.
    pub fn patch(&self, current: &Value, bytes: &[u8]) -> Result<Written, Status> {
        let name = current.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str).unwrap_or_default();
        let mut object = current.clone();
        match self.request.verb {
            Verb::Patch(Patch::Json) => patch::json(self.resource(), name, &mut object, bytes)?,
            Verb::Patch(Patch::Strategic) => patch::strategic(&mut object, bytes)?,
            _ => patch::merge(&mut object, bytes)?,
        }
        match object {
            Value::Object(object) => self.updated(current, object, &[]),
            _ => Err(Status::bad_request("the patched object is not an object")),
        }
    }

    /// Server-side apply. Without a current object it is created.
    ///
    /// # Errors
    /// 409 when another manager owns a field.
    pub fn apply(&self, current: Option<&Value>, body: Body) -> Result<Written, Status> {
        let Body { mut object, twice } = body;
        if metadata::has_managed_fields(&object) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if !object.contains_key("apiVersion") || !object.contains_key("kind") {
            return Err(Status::bad_request("an apply needs apiVersion and kind"));
        }
        self.of_kind(&mut object)?;
        self.named(&mut object)?;
        let name = name_of(&object);
        let mut warnings = Vec::new();
        // No manager owns it, so a later apply without it takes nothing away.
        let finished = current.is_none() && !self.status_is_dropped(&object);
        let status = if self.request.status || !self.has_own_status() { None } else { object.remove("status") };
        if status.as_ref().is_some_and(|status| !finished && !is_empty(status)) {
            warnings.push(format!("the status of {} {name:?} is the server's to say and was dropped", self.resource().kind));
        }
        // What the body lacks, the object may have.
        drop(self.pruned(&mut object, &twice, &mut warnings)?);
        let version = metadata::text(&object, "resourceVersion").map(str::to_owned);
        if let (Some(current), Some(version)) = (current, version)
            && current.get("metadata").and_then(|metadata| metadata.get("resourceVersion")) != Some(&json!(version))
        {
            return Err(Status::modified(self.resource(), &name));
        }
        self.defaults(&mut object);
        let time = seconds(self.now);
        let base = current.cloned().unwrap_or_else(|| self.empty(&object));
        let applied = apply::apply(&base, &Value::Object(object), &self.manager(&time))?;
        let Value::Object(mut applied) = applied else { return Err(Status::internal("an apply lost its object")) };
        applied.extend(status.filter(|_| finished).map(|status| ("status".to_owned(), status)));
        let findings = check(self.resource(), &mut applied);
        self.refuse_wrong(&name, findings.wrong)?;
        metadata::check(self.resource(), &applied, current)?;
        match current {
            None => {
                metadata::of_new(self.resource(), &mut applied, &time);
                self.defaults(&mut applied);
            }
            Some(current) => metadata::of_changed(self.resource(), &mut applied, current),
        }
        Ok(Written { object: Value::Object(applied), warnings })
    }

    /// With identity only.
    fn empty(&self, object: &Map<String, Value>) -> Value {
        let mut metadata = Map::new();
        for key in ["name", "namespace"] {
            metadata.extend(metadata::text(object, key).map(|text| (key.to_owned(), json!(text))));
        }
        json!({"apiVersion": self.resource().api_version(), "kind": self.resource().kind, "metadata": metadata})
    }

    fn updated(&self, current: &Value, mut object: Map<String, Value>, twice: &[String]) -> Result<Written, Status> {
        let name = name_of_value(current);
        metadata::same_identity(self.resource(), &object, current, self.request)?;
        let mut warnings = Vec::new();
        if self.request.status {
            object = self.only_status(current, &object);
        } else if self.has_own_status() {
            let (given, live) = (object.get("status").filter(|status| !is_empty(status)), current.get("status"));
            if given.is_some() && given != live {
                warnings
                    .push(format!("the status of {} {name:?} is the server's to say and stays as it is", self.resource().kind));
            }
            match live {
                Some(live) => drop(object.insert("status".to_owned(), live.clone())),
                None => drop(object.remove("status")),
            }
        }
        if !metadata::has_managed_fields(&object) {
            metadata::keep_managed_fields(&mut object, current);
        }
        self.checked(&mut object, &name, twice, &mut warnings)?;
        metadata::check(self.resource(), &object, Some(current))?;
        self.defaults(&mut object);
        let mut object = Value::Object(object);
        if self.tracks_fields() {
            apply::updated(current, &mut object, &self.manager(&seconds(self.now)));
        }
        if let Some(object) = object.as_object_mut() {
            metadata::of_changed(self.resource(), object, current);
        }
        Ok(Written { object, warnings })
    }

    /// `/status` changes nothing else, except who owns it.
    fn only_status(&self, current: &Value, given: &Map<String, Value>) -> Map<String, Value> {
        let mut object = current.as_object().cloned().unwrap_or_default();
        match given.get("status") {
            Some(status) => drop(object.insert("status".to_owned(), status.clone())),
            None => drop(object.remove("status")),
        }
        object
    }

    fn manager<'m>(&'m self, time: &'m str) -> Manager<'m> {
        let options = &self.request.options;
        Manager {
            name: options.manager.as_deref().unwrap_or("unknown"),
            api_version: self.resource().api_version(),
            status: self.request.status,
            time,
            force: options.force,
        }
    }

    /// Leases and Events change often, and no client applies them.
    const fn tracks_fields(&self) -> bool {
        !matches!(
            self.resource().family,
            Family::Plain(_, Plain::Event | Plain::NewEvent | Plain::Lease | Plain::DhcpLease)
                | Family::Review
                | Family::MachineState
                | Family::Rollout
        )
    }

    fn of_kind(&self, object: &mut Map<String, Value>) -> Result<(), Status> {
        let resource = self.resource();
        for (key, expected, what) in
            [("apiVersion", resource.api_version(), "API version"), ("kind", resource.kind.to_owned(), "kind")]
        {
            match object.get(key).and_then(Value::as_str) {
                None | Some("") => drop(object.insert(key.to_owned(), json!(expected))),
                Some(given) if given == expected => {}
                Some(given) => {
                    let message = format!("the {what} in the data ({given}) does not match the expected {what} ({expected})");
                    return Err(Status::bad_request(message));
                }
            }
        }
        match object.entry("metadata").or_insert_with(|| json!({})) {
            Value::Object(_) => Ok(()),
            _ => Err(Status::bad_request("metadata is not an object")),
        }
    }

    /// Name and namespace of the body agree with the path.
    fn named(&self, object: &mut Map<String, Value>) -> Result<(), Status> {
        metadata::named(self.request, object, self.suffix)
    }

    /// Whether the main path does not write the status.
    const fn has_own_status(&self) -> bool {
        self.resource().status || matches!(self.resource().family, Family::MachineState | Family::Rollout)
    }

    fn status_is_dropped(&self, object: &Map<String, Value>) -> bool {
        let Some(status) = object.get("status").filter(|status| !is_empty(status)) else { return false };
        let ended = status.get("state").and_then(Value::as_str).is_some_and(|state| model::final_state(state).is_some());
        match self.resource().family {
            Family::Tinkerbell(Kind::Workflow | Kind::WorkflowV1alpha2) => !ended,
            _ => self.has_own_status(),
        }
    }

    fn checked(
        &self,
        object: &mut Map<String, Value>,
        name: &str,
        twice: &[String],
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let wrong = self.pruned(object, twice, warnings)?;
        self.refuse_wrong(name, wrong)?;
        metadata::check(self.resource(), object, None)
    }

    fn refuse_wrong(&self, name: &str, wrong: Vec<Cause>) -> Result<(), Status> {
        if wrong.is_empty() { Ok(()) } else { Err(Status::invalid(self.resource(), name, &wrong)) }
    }

    /// Unknown fields go; the client hears of them as it asked.
    fn pruned(
        &self,
        object: &mut Map<String, Value>,
        twice: &[String],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Cause>, Status> {
        let findings = check(self.resource(), object);
        let unknown = findings.unknown.iter().map(|path| format!("unknown field {path:?}"));
        let said: Vec<String> = unknown.chain(twice.iter().map(|path| format!("duplicate field {path:?}"))).collect();
        match self.request.options.validation {
            Validation::Ignore => {}
            Validation::Warn => warnings.extend(said),
            Validation::Strict if said.is_empty() => {}
            Validation::Strict => {
                let Resource { kind, version, .. } = self.resource();
                let message = format!(
                    "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                    said.join(", ")
                );
                return Err(Status::bad_request(message));
            }
        }
        Ok(findings.wrong)
    }

    /// What a kind fills in by itself.
    fn defaults(&self, object: &mut Map<String, Value>) {
        match self.resource().family {
            Family::Plain(_, Plain::Secret) => {
                if let Some(Value::Object(texts)) = object.remove("stringData") {
                    let encode = |text: &Value| json!(STANDARD.encode(text.as_str().unwrap_or_default()));
                    let encoded = texts.iter().map(|(key, text)| (key.clone(), encode(text)));
                    if let Value::Object(data) = object.entry("data").or_insert_with(|| json!({})) {
                        data.extend(encoded);
                    }
                }
                object.entry("type").or_insert_with(|| json!("Opaque"));
            }
            Family::Plain(_, Plain::Namespace) => {
                let name = name_of(object);
                let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
                if let Value::Object(labels) = metadata.entry("labels").or_insert_with(|| json!({})) {
                    labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
                }
                object.insert("spec".to_owned(), json!({"finalizers": ["kubernetes"]}));
                object.insert("status".to_owned(), json!({"phase": "Active"}));
            }
            _ => {}
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn name_of(object: &Map<String, Value>) -> String {
    metadata::text(object, "name").unwrap_or_default().to_owned()
}

fn name_of_value(object: &Value) -> String {
    object.as_object().map(name_of).unwrap_or_default()
}

/// Whether nothing but the time of an entry of `managedFields` differs.
#[must_use]
pub fn is_same(one: &Value, other: &Value) -> bool {
    let without = |value: &Value| {
        let mut value = value.clone();
        let entries = Entry::read(value.get("metadata").unwrap_or(&Value::Null));
        let untimed: Vec<Entry> = entries.into_iter().map(|entry| Entry { time: String::new(), ..entry }).collect();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            Entry::write(&untimed, metadata);
        }
        value
    };
    one == other || without(one) == without(other)
}

#[cfg(test)]
mod tests;
