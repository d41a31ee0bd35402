//! Writes of checked kinds: through the same plan as `thimble apply`, with the revision that the client has seen.

use jiff::Timestamp;
use kubernetes::present::{Revisions, present};
use kubernetes::{Resource, Status};
use model::{Kept, Kind, Object, ObjectName, parse_documents};
use serde_json::Value;

use super::source::{joined, of_view};
use super::{causes, failed};
use crate::plan::{Kept as Stays, Rules, deletion};
use crate::service::Server;
use crate::store::{StoreError, Transaction, Write};
use crate::view::key;

/// What a write came to.
pub enum Outcome {
    /// The object as it is now, and what the client should know about it.
    Done(Value, Vec<String>),
    /// Another writer was faster.
    Overtaken,
}

/// An object that clients wrote, as the plan takes it.
fn object_of(resource: &Resource, name: &ObjectName, value: &Value) -> Result<Object, Status> {
    let invalid = |found: &[model::Mistake]| Status::invalid(resource, &name.name, &causes(found));
    let mut objects = parse_documents(&value.to_string(), "request").map_err(|found| invalid(&found))?;
    let mut object = objects.pop().ok_or_else(|| Status::bad_request("the body is not an object"))?;
    let unreadable = |error: serde_json::Error| Status::bad_request(format!("the metadata cannot be read: {error}"));
    if let Some(metadata) = value.get("metadata") {
        object.metadata_mut().kept = serde_json::from_value::<Kept>(metadata.clone()).map_err(unreadable)?;
    }
    let status = value.get("status").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let unreadable = |error: serde_json::Error| Status::bad_request(format!("the status cannot be read: {error}"));
    match &mut object {
        Object::Hardware(hardware) => hardware.status = serde_json::from_value(status).map_err(unreadable)?,
        Object::Template(template) => template.status = serde_json::from_value(status).map_err(unreadable)?,
        _ => {}
    }
    Ok(object)
}

impl Server {
    /// Writes an object whose stored form has the revision `seen`, 0 for none.
    pub(super) async fn put_typed(
        &self,
        resource: &Resource,
        kind: Kind,
        name: &ObjectName,
        value: &Value,
        seen: Seen,
        dry_run: bool,
    ) -> Result<Outcome, Status> {
        let object = object_of(resource, name, value)?;
        let rules = Rules { complete: true, ..self.rules() };
        let plan = self.plan_under(rules, vec![object]).await.map_err(|reason| failed("planning a change", &reason))?;
        let plan = plan.map_err(|found| Status::invalid(resource, &name.name, &causes(&found)))?;
        let shown = name.to_string();
        let warnings: Vec<String> = plan
            .changes
            .iter()
            .filter(|change| change.kind == kind && change.name == shown)
            .filter_map(|change| change.problem.as_ref().map(|problem| format!("{} {shown} {problem}", kind.word())))
            .collect();
        let written = |key: &str| {
            plan.transaction.writes.iter().find_map(|write| match write {
                Write::Put { key: other, value } if other == key => serde_json::from_slice::<Value>(value).ok(),
                _ => None,
            })
        };
        let run = written(&key(Kind::Workflow, name)).and_then(|run| run.get("status").cloned());
        let Some(object) = written(&key(kind, name)) else {
            // Nothing of it changes, or only what runs for it.
            let unchanged = plan.transaction.writes.is_empty();
            if !unchanged && !dry_run && !self.committed(plan.transaction).await? {
                return Ok(Outcome::Overtaken);
            }
            let current = of_view(&self.view(), resource, kind, name);
            return Ok(current.map_or(Outcome::Overtaken, |current| Outcome::Done(current, warnings)));
        };
        let show = |created: u64, modified: u64| {
            let revisions = Revisions { created, modified };
            match kind {
                Kind::WorkflowV1alpha2 => joined(resource, object.clone(), run.clone(), revisions),
                _ => present(resource, object.clone(), revisions),
            }
        };
        if dry_run {
            return Ok(Outcome::Done(show(seen.created, seen.modified), warnings));
        }
        let transaction = plan.transaction.when(key(kind, name), seen.modified);
        let (own, run) = (transaction.after(&key(kind, name)).unwrap_or(0), transaction.after(&key(Kind::Workflow, name)));
        match self.commit(transaction).await {
            Ok(last) => {
                let created = if seen.modified == 0 { last - own } else { seen.created };
                let modified = last - run.map_or(own, |run| run.min(own));
                Ok(Outcome::Done(show(created, modified), warnings))
            }
            Err(StoreError::Conflict { .. }) => Ok(Outcome::Overtaken),
            Err(reason) => Err(failed("writing an object", &reason)),
        }
    }

    /// False if another writer was faster.
    async fn committed(&self, transaction: Transaction) -> Result<bool, Status> {
        match self.commit(transaction).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(reason) => Err(failed("writing an object", &reason)),
        }
    }

    /// Deletes an object; false if another writer was faster.
    ///
    /// # Errors
    /// 409 with the workflows that use it, unless `force`.
    pub(super) async fn remove_typed(
        &self,
        resource: &Resource,
        kind: Kind,
        name: &ObjectName,
        seen: Seen,
        force: bool,
        dry_run: bool,
    ) -> Result<bool, Status> {
        let plan = deletion(&self.view(), kind, name, force, Timestamp::now()).map_err(|stays| match stays {
            Stays::Missing => Status::not_found(resource, &name.name),
            Stays::Used(users) => {
                let listed: Vec<String> = users.iter().take(5).map(|user| format!("Workflow {user}")).collect();
                let more = users.len().saturating_sub(listed.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let why = format!(
                    "it is used by {}{more}; delete them first, or set gracePeriodSeconds to 0 (thimble: --force, kubectl: --grace-period=0 --force)",
                    listed.join(", ")
                );
                Status::conflict(resource, &name.name, &why)
            }
        })?;
        if dry_run {
            return Ok(true);
        }
        self.committed(plan.transaction.when(key(kind, name), seen.modified)).await
    }

    /// The revisions of the record that a write of this kind replaces.
    pub(super) fn seen(&self, kind: Kind, name: &ObjectName) -> Seen {
        let view = self.view();
        let found = match kind {
            Kind::Hardware => view.hardware.get(name).map(|stored| (stored.created, stored.modified)),
            Kind::Template => view.templates.get(name).map(|stored| (stored.created, stored.modified)),
            Kind::Workflow => view.workflows.get(name).map(|stored| (stored.created, stored.modified)),
            Kind::WorkflowRuleSet => view.rule_sets.get(name).map(|stored| (stored.created, stored.modified)),
            Kind::Task => view.v1alpha2.tasks.get(name).map(|stored| (stored.created, stored.modified)),
            Kind::Policy => view.v1alpha2.policies.get(name).map(|stored| (stored.created, stored.modified)),
            Kind::WorkflowV1alpha2 => view.v1alpha2.workflows.get(name).map(|stored| (stored.created, stored.modified)),
        };
        found.map_or_else(Seen::default, |(created, modified)| Seen { created, modified })
    }
}

/// The revisions of a record that was looked at; 0 if there was none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub created: u64,
    pub modified: u64,
}
