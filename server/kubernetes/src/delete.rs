//! What a DELETE asks, and what it does to an object. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::body;
use crate::present::seconds;
use crate::request::{Request, media_type};
use crate::resources::Resource;
use crate::status::Status;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deletion {
    pub uid: Option<String>,
    pub version: Option<String>,
    pub dry_run: bool,
    /// 0 deletes what is in use, too.
    pub grace: Option<i64>,
    /// What belongs to the object stays.
    pub orphans: bool,
}

/// What a DELETE does.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The object goes now.
    Now,
    /// It stays until its finalizers are gone, and is marked.
    Mark(Value),
    /// It is marked already.
    Marked,
}

impl Deletion {
    /// From query and body. The body may be absent, and its kind may be of any group.
    ///
    /// # Errors
    /// 400 when the body cannot be read.
    pub fn parse(request: &Request, content_type: &str, bytes: &[u8]) -> Result<Self, Status> {
        let mut deletion = Self { dry_run: request.options.dry_run, grace: request.options.grace, ..Self::default() };
        if bytes.is_empty() {
            return Ok(deletion);
        }
        let body = match media_type(content_type).0 {
            "application/vnd.kubernetes.protobuf" => {
                let read = crate::protobuf::decode(bytes);
                Value::Object(read.map_err(|error| Status::bad_request(format!("the protobuf body cannot be read: {error}")))?)
            }
            _ => Value::Object(body::decode("application/yaml", bytes, request.resource)?.object),
        };
        if body.get("kind").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty() && kind != "DeleteOptions") {
            return Err(Status::bad_request("the body of a DELETE is DeleteOptions"));
        }
        let text = |key: &str| {
            let found = body.get("preconditions").and_then(|conditions| conditions.get(key)).and_then(Value::as_str);
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        (deletion.uid, deletion.version) = (text("uid"), text("resourceVersion"));
        deletion.grace = body.get("gracePeriodSeconds").and_then(Value::as_i64).or(deletion.grace);
        deletion.orphans = body.get("propagationPolicy").and_then(Value::as_str) == Some("Orphan")
            || body.get("orphanDependents").and_then(Value::as_bool) == Some(true);
        match body.get("dryRun").and_then(Value::as_array).map(Vec::as_slice) {
            None | Some([]) => {}
            Some([one]) if one == "All" => deletion.dry_run = true,
            Some(_) => return Err(Status::bad_request("dryRun: supported values: \"All\"")),
        }
        Ok(deletion)
    }

    /// # Errors
    /// 409 when the object is not the one that is meant.
    pub fn step(&self, resource: &Resource, current: &Value, now: Timestamp) -> Result<Step, Status> {
        let live = |key: &str| current.get("metadata").and_then(|metadata| metadata.get(key));
        let text = |key: &str| live(key).and_then(Value::as_str).unwrap_or_default();
        for (what, wanted, found) in
            [("UID", &self.uid, text("uid")), ("ResourceVersion", &self.version, text("resourceVersion"))]
        {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                return Err(Status::conflict(resource, text("name"), &why));
            }
        }
        if live("finalizers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return Ok(Step::Now);
        }
        if live("deletionTimestamp").is_some() {
            return Ok(Step::Marked);
        }
        let mut marked = current.clone();
        if let Some(metadata) = marked.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("deletionTimestamp".to_owned(), json!(seconds(now)));
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
            if resource.counts_generations() {
                let generation = metadata.get("generation").and_then(Value::as_u64).unwrap_or(1);
                metadata.insert("generation".to_owned(), json!(generation + 1));
            }
        }
        Ok(Step::Mark(marked))
    }
}

/// Whether a write has taken the last finalizer of a deleted object, which goes then.
#[must_use]
pub fn is_released(object: &Value) -> bool {
    let live = |key: &str| object.get("metadata").and_then(|metadata| metadata.get(key));
    live("deletionTimestamp").is_some() && live("finalizers").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Call, Head, parse};

    #[test]
    fn the_shapes_of_delete_options_are_understood() {
        let path = "/apis/bmc.tinkerbell.org/v1alpha1/namespaces/a/tasks/t";
        let head = |query| Head { method: "DELETE", path, query, ..Head::default() };
        for (case, query, body, expected) in [
            ("no body", "", "", Deletion::default()),
            ("kubectl", "", r#"{"propagationPolicy":"Background"}"#, Deletion::default()),
            (
                "the object's own group",
                "",
                r#"{"kind":"DeleteOptions","apiVersion":"bmc.tinkerbell.org/v1alpha1","preconditions":{"uid":"u"}}"#,
                Deletion { uid: Some("u".into()), ..Deletion::default() },
            ),
            ("now", "gracePeriodSeconds=0", "", Deletion { grace: Some(0), ..Deletion::default() }),
            (
                "orphans",
                "",
                r#"{"propagationPolicy":"Orphan","dryRun":["All"]}"#,
                Deletion { orphans: true, dry_run: true, ..Deletion::default() },
            ),
        ] {
            let Ok(Call::Objects(request)) = parse(&head(query)) else { panic!("{case}") };
            assert_eq!(Deletion::parse(&request, "application/json", body.as_bytes()).unwrap(), expected, "{case}");
        }
    }

    #[test]
    fn finalizers_keep_a_deleted_object() {
        let Ok(Call::Objects(request)) =
            parse(&Head { method: "DELETE", path: "/api/v1/namespaces/a/secrets/s", ..Head::default() })
        else {
            panic!()
        };
        let object = json!({"metadata": {"name": "s", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"]}});
        let step = |deletion: &Deletion, object: &Value| deletion.step(request.resource, object, Timestamp::UNIX_EPOCH);
        let Ok(Step::Mark(marked)) = step(&Deletion::default(), &object) else { panic!() };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(step(&Deletion::default(), &marked), Ok(Step::Marked));
        let mut released = marked.clone();
        released["metadata"]["finalizers"] = json!([]);
        assert!(is_released(&released) && !is_released(&marked));
        assert_eq!(step(&Deletion::default(), &released), Ok(Step::Now));
        for wrong in [
            Deletion { uid: Some("v".into()), ..Deletion::default() },
            Deletion { version: Some("8".into()), ..Deletion::default() },
        ] {
            assert_eq!(step(&wrong, &object).unwrap_err().reason, "Conflict");
        }
    }
}
