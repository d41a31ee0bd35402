//! The objects of a checked kind one after the other. A list of thousands is made while it is sent, a few objects at a time,
//! so it takes neither the memory of all nor the time of other calls.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Bound;

use access::Caller;
use axum::body::{Body, Bytes};
use imbl::OrdMap;
use jiff::Timestamp;
use kubernetes::present::{Revisions, metadata};
use kubernetes::request::Form;
use kubernetes::{Request, table};
use model::{Kind, ObjectName};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::masked;
use super::source::of_view;
use crate::v1alpha2::runs;
use crate::view::{Stored, View};

/// How many objects are made at once. It takes about a millisecond.
pub const AT_ONCE: usize = 64;

/// Names in their order, from a view that does not change.
pub struct Names {
    view: View,
    kind: Kind,
    namespace: Option<String>,
    /// All names up to this one have been read.
    after: Option<ObjectName>,
    ready: VecDeque<ObjectName>,
}

impl Names {
    /// All names of a kind, or those of a namespace; only those behind `after`, if it is given.
    pub fn of(view: View, kind: Kind, namespace: Option<&str>, after: Option<ObjectName>) -> Self {
        Self { view, kind, namespace: namespace.map(str::to_owned), after, ready: VecDeque::new() }
    }

    fn read(&mut self) {
        let first = ObjectName::new(self.namespace.as_deref().unwrap_or_default(), "");
        let from = match &self.after {
            Some(after) if *after >= first => Bound::Excluded(after),
            _ => Bound::Included(&first),
        };
        let view = &self.view;
        let names = match self.kind {
            Kind::Hardware => following(&view.hardware, from),
            Kind::Template => following(&view.templates, from),
            Kind::Workflow => following(&view.workflows, from),
            Kind::WorkflowRuleSet => following(&view.rule_sets, from),
            Kind::Task => following(&view.v1alpha2.tasks, from),
            Kind::Policy => following(&view.v1alpha2.policies, from),
            Kind::WorkflowV1alpha2 => following(&view.v1alpha2.workflows, from),
        };
        self.after = names.last().cloned().or_else(|| self.after.take());
        let own = names.into_iter().take_while(|name| self.namespace.as_ref().is_none_or(|own| name.namespace == *own));
        self.ready = own.collect();
    }
}

impl Iterator for Names {
    type Item = ObjectName;

    fn next(&mut self) -> Option<ObjectName> {
        if self.ready.is_empty() {
            self.read();
        }
        self.ready.pop_front()
    }
}

fn following<T>(objects: &OrdMap<ObjectName, Stored<T>>, from: Bound<&ObjectName>) -> Vec<ObjectName> {
    objects.range::<_, ObjectName>((from, Bound::Unbounded)).take(AT_ONCE).map(|(name, _)| name.clone()).collect()
}

/// An object with its own parts, and metadata as clients see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a, Spec, Status> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Map<String, Value>,
    spec: &'a Spec,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Status>,
}

/// Appends the object, if the request selects it. False if nothing was appended.
fn append<Spec: Serialize, Status: Serialize + Default + PartialEq>(
    request: &Request,
    stored: &Stored<model::Resource<Spec, Status>>,
    out: &mut Vec<u8>,
) -> bool {
    let (resource, object) = (request.resource, &*stored.object);
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&object.metadata) else { return false };
    metadata(resource, &mut fields, Revisions { created: stored.created, modified: stored.modified });
    if !request.filter.is_empty() {
        let seen = Value::Object(Map::from_iter([("metadata".to_owned(), Value::Object(fields))]));
        if !request.filter.selects(&seen) {
            return false;
        }
        let Value::Object(mut seen) = seen else { return false };
        let Some(Value::Object(back)) = seen.remove("metadata") else { return false };
        fields = back;
    }
    let api_version = resource.api_version();
    let status = (object.status != Status::default()).then_some(&object.status);
    let whole = Whole { api_version: &api_version, kind: resource.kind, metadata: fields, spec: &object.spec, status };
    let start = out.len();
    let written = serde_json::to_writer(&mut *out, &whole).is_ok();
    if !written {
        out.truncate(start);
    }
    written
}

/// An object as a caller sees it, if the request selects it.
pub fn seen(view: &View, request: &Request, caller: &Caller, kind: Kind, name: &ObjectName) -> Option<Value> {
    let object = of_view(view, request.resource, kind, name).filter(|object| request.filter.selects(object))?;
    Some(masked(caller, request.resource, object))
}

/// Appends an object of the list in the form that was asked for. Whole objects without secrets to hide are written as they
/// are, because a tree of each costs four times as much.
fn append_item(view: &View, request: &Request, caller: &Caller, kind: Kind, name: &ObjectName, out: &mut Vec<u8>) -> bool {
    if request.form == Form::Whole && request.filter.is_of_metadata() && caller.sees_secrets(Some(&name.namespace)) {
        let appended = match kind {
            Kind::Hardware => view.hardware.get(name).map(|stored| append(request, stored, out)),
            Kind::Template => view.templates.get(name).map(|stored| append(request, stored, out)),
            Kind::Workflow => {
                let own = view.workflows.get(name).filter(|stored| !runs(&stored.object));
                own.map(|stored| append(request, stored, out))
            }
            Kind::WorkflowRuleSet => view.rule_sets.get(name).map(|stored| append(request, stored, out)),
            Kind::Task => view.v1alpha2.tasks.get(name).map(|stored| append(request, stored, out)),
            Kind::Policy => view.v1alpha2.policies.get(name).map(|stored| append(request, stored, out)),
            Kind::WorkflowV1alpha2 => return append_tree(view, request, caller, kind, name, out), // it has two records
        };
        return appended.unwrap_or(false);
    }
    append_tree(view, request, caller, kind, name, out)
}

fn append_tree(view: &View, request: &Request, caller: &Caller, kind: Kind, name: &ObjectName, out: &mut Vec<u8>) -> bool {
    let Some(object) = seen(view, request, caller, kind, name) else { return false };
    let item = table::item(request.resource, object, request.form, request.options.include, Timestamp::now());
    serde_json::to_writer(out, &item).is_ok() // a tree has no keys that fail
}

struct Sending {
    view: View,
    request: Request,
    caller: Caller,
    kind: Kind,
    names: Names,
    /// The text that is due before the next items.
    head: Option<String>,
    tail: &'static str,
    items: bool,
    over: bool,
}

/// The body of a list of all objects of a kind in this view, or of those of the namespace.
pub fn body(view: View, request: &Request, caller: &Caller, kind: Kind) -> Body {
    let metadata = json!({"resourceVersion": view.revision.to_string()});
    let (head, tail) = table::frame(request.resource, &metadata, request.form);
    let names = Names::of(view.clone(), kind, request.namespace.as_deref(), None);
    let (request, caller) = (request.clone(), caller.clone());
    let sending = Sending { view, request, caller, kind, names, head: Some(head), tail, items: false, over: false };
    Body::from_stream(futures_util::stream::unfold(sending, |mut sending| async move {
        if sending.over {
            return None;
        }
        tokio::task::yield_now().await; // other calls come between the parts
        Some((Ok::<_, Infallible>(sending.part()), sending))
    }))
}

impl Sending {
    fn part(&mut self) -> Bytes {
        let mut out = self.head.take().unwrap_or_default().into_bytes();
        for _ in 0..AT_ONCE {
            let Some(name) = self.names.next() else {
                out.extend(self.tail.as_bytes());
                self.over = true;
                break;
            };
            let start = out.len();
            if self.items {
                out.push(b',');
            }
            if append_item(&self.view, &self.request, &self.caller, self.kind, &name, &mut out) {
                self.items = true;
            } else {
                out.truncate(start);
            }
        }
        Bytes::from(out)
    }
}
