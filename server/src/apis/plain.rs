//! Kinds that are kept as they are: keys, and Namespaces that exist because objects are in them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kubernetes::present::{Revisions, present, seconds, stored};
use kubernetes::resources::{Plain, RESOURCES, find};
use kubernetes::{Family, Resource, Status};
use model::ObjectName;
use serde_json::{Value, json};

use super::failed;
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::view::View;

/// Always there.
const DEFAULT: &str = "default";

#[must_use]
pub fn key(prefix: &str, name: &ObjectName) -> String {
    if name.namespace.is_empty() { format!("{prefix}{}", name.name) } else { format!("{prefix}{name}") }
}

/// The name in a key, if the key is one of this prefix.
#[must_use]
pub fn name(resource: &Resource, prefix: &str, key: &str) -> Option<ObjectName> {
    let rest = key.strip_prefix(prefix)?;
    if !resource.namespaced {
        return Some(ObjectName::new("", rest));
    }
    let (namespace, name) = rest.split_once('/')?;
    Some(ObjectName::new(namespace, name))
}

const fn is_namespace(resource: &Resource) -> bool {
    matches!(resource.family, Family::Plain(_, Plain::Namespace))
}

/// Namespaces in which checked objects are.
fn used(view: &View) -> BTreeSet<String> {
    let machines = view.hardware.keys().chain(view.templates.keys()).chain(view.workflows.keys());
    let others = view.rule_sets.keys().chain(view.v1alpha2.tasks.keys()).chain(view.v1alpha2.policies.keys());
    let used = machines.chain(others).map(|name| name.namespace.clone());
    used.chain([DEFAULT.to_owned()]).collect()
}

/// A Namespace that was never created, but is in use: files that `thimble apply` reads name any.
#[must_use]
pub fn implied(view: &View, resource: &Resource, name: &str) -> Option<Value> {
    (is_namespace(resource) && used(view).contains(name)).then(|| namespace(resource, name))
}

#[must_use]
pub fn all_implied(view: &View, resource: &Resource) -> Vec<(ObjectName, Value)> {
    if !is_namespace(resource) {
        return Vec::new();
    }
    used(view).iter().map(|name| (ObjectName::new("", name), namespace(resource, name))).collect()
}

fn namespace(resource: &Resource, name: &str) -> Value {
    let object = json!({
        "metadata": {
            "name": name, "creationTimestamp": seconds(Timestamp::UNIX_EPOCH), "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    });
    present(resource, object, Revisions { created: 1, modified: 1 })
}

impl Server {
    /// # Errors
    /// 404 when the Namespace does not exist.
    pub(super) async fn namespace_exists(&self, namespace: Option<&str>) -> Result<(), Status> {
        let (Some(name), Some(namespaces)) = (namespace, find("", "v1", "namespaces")) else { return Ok(()) };
        match self.object(namespaces, &ObjectName::new("", name)).await? {
            Some(_) => Ok(()),
            None => Err(Status::not_found(namespaces, name)),
        }
    }

    /// Writes an object that is kept as it is; `None` if another writer was faster. Nothing is written by a dry run.
    pub(super) async fn put_plain(
        &self,
        resource: &Resource,
        name: &ObjectName,
        object: &Value,
        expected: u64,
        dry_run: bool,
    ) -> Result<Option<Value>, Status> {
        let Family::Plain(prefix, _) = resource.family else { return Err(Status::method_not_allowed()) };
        let kept = stored(resource, object);
        let created = match self.0.store.get(&key(prefix, name)).await {
            Ok(pair) => pair.map(|pair| pair.created),
            Err(reason) => return Err(failed("reading an object", &reason)),
        };
        // A Namespace that is shown because it is in use has no record yet.
        let expected = if created.is_some() || !is_namespace(resource) { expected } else { 0 };
        if dry_run {
            let revisions = Revisions { created: created.unwrap_or(0), modified: expected };
            return Ok(Some(present(resource, kept, revisions)));
        }
        let transaction = Transaction::default().put(key(prefix, name), expected, kept.to_string().into_bytes());
        match self.commit(transaction).await {
            Ok(modified) => {
                let revisions = Revisions { created: created.filter(|_| expected > 0).unwrap_or(modified), modified };
                Ok(Some(present(resource, kept, revisions)))
            }
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(reason) => Err(failed("writing an object", &reason)),
        }
    }

    /// Removes it; false if another writer was faster.
    pub(super) async fn remove_plain(&self, resource: &Resource, name: &ObjectName, expected: u64) -> Result<bool, Status> {
        let Family::Plain(prefix, _) = resource.family else { return Err(Status::method_not_allowed()) };
        match self.commit(Transaction::default().delete(key(prefix, name), expected)).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(reason) => Err(failed("deleting an object", &reason)),
        }
    }
}

/// Every resource that can have objects in a namespace, each store once.
pub fn in_namespaces() -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(|resource| {
        resource.namespaced
            && matches!(resource.family, Family::Plain(..) | Family::Tinkerbell(_))
            && !matches!(resource.family, Family::Plain(_, Plain::NewEvent))
    })
}
