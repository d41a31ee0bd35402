//! Where the objects of a resource are: the view for checked kinds, the store for those that are kept as they are.

use std::collections::BTreeMap;

use kubernetes::present::{Revisions, present};
use kubernetes::{Family, Resource, Status};
use model::{Kind, ObjectName};
use serde::Serialize;
use serde_json::Value;

use super::items::Names;
use super::{failed, orders, plain};
use crate::service::Server;
use crate::store::{Change, KeyValue, StoreError};
use crate::v1alpha2::runs;
use crate::view::{Stored, View, parsed};

/// Objects by namespace and name, and the revision at which they are so.
pub struct Listed {
    pub objects: BTreeMap<ObjectName, Value>,
    pub revision: u64,
}

/// What a change did to one object.
pub struct Moved {
    pub name: ObjectName,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

pub fn in_namespace(name: &ObjectName, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| name.namespace == namespace)
}

/// The name that a request asks for.
pub fn asked_name(request: &kubernetes::Request) -> ObjectName {
    ObjectName::new(request.namespace.as_deref().unwrap_or_default(), request.name.as_deref().unwrap_or_default())
}

impl Server {
    /// One object as clients see it.
    pub(super) async fn object(&self, resource: &Resource, name: &ObjectName) -> Result<Option<Value>, Status> {
        match resource.family {
            Family::Tinkerbell(kind) => Ok(of_view(&self.view(), resource, kind, name)),
            Family::Plain(prefix, _) => {
                let pair = self.0.store.get(&plain::key(prefix, name)).await;
                let pair = pair.map_err(|reason| failed("reading an object", &reason))?;
                let found = pair.as_ref().and_then(|pair| shown(resource, pair));
                Ok(found.or_else(|| plain::implied(&self.view(), resource, &name.name)))
            }
            Family::Definition => Ok(definitions(resource).remove(name)),
            Family::MachineState => Ok(orders::machine_state_named(&self.view(), resource, name)),
            Family::Rollout => Ok(self.rollout_objects(resource).await?.0.remove(name)),
            Family::Review | Family::Nothing => Ok(None),
        }
    }

    /// All objects, or those of a namespace.
    pub(super) async fn objects(&self, resource: &Resource, namespace: Option<&str>) -> Result<Listed, Status> {
        match resource.family {
            Family::Tinkerbell(kind) => {
                let view = self.snapshot();
                let names = Names::of(view.clone(), kind, namespace, None);
                let objects = names.filter_map(|name| Some((name.clone(), of_view(&view, resource, kind, &name)?))).collect();
                Ok(Listed { objects, revision: view.revision })
            }
            Family::Plain(prefix, _) => {
                let within = namespace.filter(|_| resource.namespaced).map_or_else(String::new, |name| format!("{name}/"));
                let (pairs, revision) = self.list_pairs(&format!("{prefix}{within}")).await?;
                let shown = |pair: &KeyValue| Some((plain::name(resource, prefix, &pair.key)?, shown(resource, pair)?));
                let mut objects: BTreeMap<ObjectName, Value> = pairs.iter().filter_map(shown).collect();
                for (name, object) in plain::all_implied(&self.view(), resource) {
                    objects.entry(name).or_insert(object);
                }
                Ok(Listed { objects, revision })
            }
            Family::Definition => Ok(Listed { objects: definitions(resource), revision: self.view().revision }),
            Family::MachineState => {
                let view = self.snapshot();
                let mut objects = orders::machine_states(&view, resource);
                objects.retain(|name, _| in_namespace(name, namespace));
                Ok(Listed { objects, revision: view.revision })
            }
            Family::Rollout => {
                let (mut objects, revision) = self.rollout_objects(resource).await?;
                objects.retain(|name, _| in_namespace(name, namespace));
                Ok(Listed { objects, revision })
            }
            Family::Review | Family::Nothing => Ok(Listed { objects: BTreeMap::new(), revision: self.view().revision }),
        }
    }

    /// The same as it was at a revision, if the changes since then are still known.
    pub(super) async fn objects_at(&self, resource: &Resource, namespace: Option<&str>, asked: u64) -> Result<Listed, Status> {
        let mut listed = self.objects(resource, namespace).await?;
        if asked > listed.revision {
            return Err(Status::too_new(asked, listed.revision));
        }
        self.shows(listed.revision).await; // the changes up to there are known then
        let changes = match self.0.store.watch(asked) {
            Ok(watch) => watch.into_backlog(),
            Err(StoreError::Compacted { oldest }) => return Err(Status::too_old(asked, oldest)),
            Err(reason) => return Err(failed("reading the changes", &reason)),
        };
        let view = self.snapshot();
        for change in changes.iter().rev().filter(|change| change.revision <= listed.revision) {
            let Some(moved) = moved(&view, resource, change).filter(|moved| in_namespace(&moved.name, namespace)) else {
                continue;
            };
            match moved.old {
                Some(old) => drop(listed.objects.insert(moved.name, old)),
                None => drop(listed.objects.remove(&moved.name)),
            }
        }
        Ok(Listed { revision: asked, ..listed })
    }

    /// The view, if the objects of a checked kind are now as they were at the revision. Then a page need not look at all.
    pub(super) fn unchanged_since(&self, resource: &Resource, revision: Option<u64>) -> Option<View> {
        let Family::Tinkerbell(_) = resource.family else { return None };
        let view = self.snapshot();
        if let Some(revision) = revision.filter(|revision| *revision != view.revision) {
            let changes = self.0.store.watch(revision).ok()?.into_backlog();
            if revision > view.revision || changes.iter().any(|change| moved(&view, resource, change).is_some()) {
                return None;
            }
        }
        Some(view)
    }

    async fn list_pairs(&self, prefix: &str) -> Result<(Vec<KeyValue>, u64), Status> {
        self.0.store.list(prefix).await.map_err(|reason| failed("listing objects", &reason))
    }
}

fn definitions(resource: &Resource) -> BTreeMap<ObjectName, Value> {
    let named = kubernetes::definitions::all().into_iter().map(|definition| {
        let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        (ObjectName::new("", name), present(resource, definition, Revisions { created: 1, modified: 1 }))
    });
    named.collect()
}

/// A stored pair as clients see it.
pub fn shown(resource: &Resource, pair: &KeyValue) -> Option<Value> {
    let value = serde_json::from_slice(&pair.value).ok()?;
    Some(present(resource, value, Revisions { created: pair.created, modified: pair.modified }))
}

fn presented<T: Serialize>(resource: &Resource, stored: &Stored<T>) -> Option<Value> {
    let revisions = Revisions { created: stored.created, modified: stored.modified };
    Some(present(resource, serde_json::to_value(&*stored.object).ok()?, revisions))
}

/// An object of a checked kind.
pub fn of_view(view: &View, resource: &Resource, kind: Kind, name: &ObjectName) -> Option<Value> {
    match kind {
        Kind::Hardware => presented(resource, view.hardware.get(name)?),
        Kind::Template => presented(resource, view.templates.get(name)?),
        Kind::Workflow => presented(resource, view.workflows.get(name).filter(|stored| !runs(&stored.object))?),
        Kind::WorkflowRuleSet => presented(resource, view.rule_sets.get(name)?),
        Kind::Task => presented(resource, view.v1alpha2.tasks.get(name)?),
        Kind::Policy => presented(resource, view.v1alpha2.policies.get(name)?),
        Kind::WorkflowV1alpha2 => {
            let written = view.v1alpha2.workflows.get(name)?;
            let run = view.workflows.get(name);
            let value = serde_json::to_value(&*written.object).ok()?;
            let status = run.and_then(|run| serde_json::to_value(&run.object.status).ok());
            let modified = written.modified.max(run.map_or(0, |run| run.modified));
            Some(joined(resource, value, status, Revisions { created: written.created, modified }))
        }
    }
}

/// A Workflow of v1alpha2 is what was written, with the status of what runs.
pub fn joined(resource: &Resource, mut written: Value, status: Option<Value>, revisions: Revisions) -> Value {
    if let (Some(written), Some(status)) = (written.as_object_mut(), status) {
        written.insert("status".to_owned(), status);
    }
    present(resource, written, revisions)
}

/// Workflows of both versions share their names, but each version shows its own.
pub fn is_of(view: &View, kind: Kind, name: &ObjectName) -> bool {
    kind != Kind::Workflow || view.workflows.get(name).is_some_and(|stored| !runs(&stored.object))
}

/// What a change of the store is to a resource; nothing if it concerns another one.
pub fn moved(view: &View, resource: &Resource, change: &Change) -> Option<Moved> {
    let name = match resource.family {
        Family::Plain(prefix, _) => plain::name(resource, prefix, &change.key)?,
        Family::Tinkerbell(wanted) => {
            let (kind, name) = parsed(&change.key)?;
            if wanted == Kind::WorkflowV1alpha2 && matches!(kind, Kind::Workflow | Kind::WorkflowV1alpha2) {
                return moved_pair(view, resource, change, kind, name);
            }
            if kind != wanted {
                return None;
            }
            name
        }
        Family::MachineState => return orders::moved_machine(view, resource, change),
        Family::Rollout => return orders::moved_rollout(resource, change),
        Family::Definition | Family::Review | Family::Nothing => return None,
    };
    let is_own = |value: &Value| {
        resource.family != Family::Tinkerbell(Kind::Workflow)
            || value.get("apiVersion").and_then(Value::as_str) != Some(model::v1alpha2::API_VERSION)
    };
    let read = |pair: &KeyValue| {
        let value: Value = serde_json::from_slice(&pair.value).ok().filter(is_own)?;
        Some((value, Revisions { created: pair.created, modified: pair.modified }))
    };
    let old = change.previous.as_deref().and_then(read);
    let new = change.pair.as_deref().and_then(read);
    if old.is_none() && new.is_none() {
        return None;
    }
    let gone = new.is_none();
    let old = old.map(|(value, revisions)| {
        // What is gone shows the revision at which it went.
        let modified = if gone { change.revision } else { revisions.modified };
        present(resource, value, Revisions { modified, ..revisions })
    });
    Some(Moved { name, old, new: new.map(|(value, revisions)| present(resource, value, revisions)) })
}

/// A Workflow of v1alpha2 changes with either of its records. The other one is taken from the view.
fn moved_pair(view: &View, resource: &Resource, change: &Change, kind: Kind, name: ObjectName) -> Option<Moved> {
    let read = |pair: &KeyValue| serde_json::from_slice::<Value>(&pair.value).ok();
    let (old, new) = (change.previous.as_deref(), change.pair.as_deref());
    let run = view.workflows.get(&name);
    let written = view.v1alpha2.workflows.get(&name);
    if kind == Kind::WorkflowV1alpha2 {
        let status = run.and_then(|run| serde_json::to_value(&run.object.status).ok());
        let whole = |pair: &KeyValue, modified: u64| {
            Some(joined(resource, read(pair)?, status.clone(), Revisions { created: pair.created, modified }))
        };
        let gone = new.is_none();
        let old = old.and_then(|pair| whole(pair, if gone { change.revision } else { pair.modified }));
        return Some(Moved { name, old, new: new.and_then(|pair| whole(pair, pair.modified)) });
    }
    let (old, new, written) = (old?, new?, written?);
    let value = serde_json::to_value(&*written.object).ok()?;
    let whole = |pair: &KeyValue| {
        let status = read(pair)?.get("status").cloned();
        let modified = written.modified.max(pair.modified);
        Some(joined(resource, value.clone(), status, Revisions { created: written.created, modified }))
    };
    Some(Moved { name, old: whole(old), new: whole(new) })
}
