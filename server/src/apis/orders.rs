//! `thimble.dev`: MachineStates and Rollouts. Writing their spec is an order, as the commands of `thimble` give them.

use std::collections::BTreeMap;

use api::paths::{machine_log, of_workflow};
use api::{MachineState, OrderKind, Rollout, RolloutChange, RolloutSpec, RolloutState};
use kubernetes::present::{Revisions, present};
use kubernetes::{Request, Resource, Status, status};
use model::{Hardware, Kind, ObjectName, Workflow};
use serde_json::{Map, Value, json};

use super::source::Moved;
use super::{causes, failed};
use crate::boot::boot_state;
use crate::last_steps::LAST_STEPS;
use crate::logs::running;
use crate::machines::OrderError;
use crate::rollout::RolloutError;
use crate::service::Server;
use crate::store::{Change, KeyValue};
use crate::view::{MACHINES, View, parsed};

const ROLLOUTS: &str = "/rollouts/";

/// Each Hardware has one.
pub fn machine_states(view: &View, resource: &Resource) -> BTreeMap<ObjectName, Value> {
    let named = view.hardware.iter().map(|(name, stored)| {
        let revisions = Revisions { created: stored.created, modified: stored.modified };
        (name.clone(), machine_state(view, resource, &stored.object, revisions))
    });
    named.collect()
}

pub fn machine_state_named(view: &View, resource: &Resource, name: &ObjectName) -> Option<Value> {
    let stored = view.hardware.get(name)?;
    let revisions = Revisions { created: stored.created, modified: stored.modified };
    Some(machine_state(view, resource, &stored.object, revisions))
}

/// What a machine boots and why, and how far its order is. The labels are those of the Hardware.
fn machine_state(view: &View, resource: &Resource, hardware: &Hardware, mut revisions: Revisions) -> Value {
    let name = hardware.name();
    let boot = boot_state(view, hardware, None);
    let mut shown = json!({"boot": boot.word(), "log": machine_log(&name)});
    let mut intent = json!("inventory");
    if let (Some(stored), Some(fields)) = (view.machines.get(&name), shown.as_object_mut()) {
        let state: &MachineState = &stored.object;
        revisions.modified = revisions.modified.max(stored.modified);
        let decision = &state.decision;
        intent = json!(decision.intent);
        fields.extend(Map::from_iter([
            ("intent".to_owned(), json!(decision.intent)),
            ("by".to_owned(), json!(decision.by)),
            ("at".to_owned(), json!(decision.at)),
            ("reason".to_owned(), json!(decision.reason)),
            ("orders".to_owned(), json!(state.orders)),
            ("finished".to_owned(), json!(state.finished)),
        ]));
    }
    if let (Some(stored), Some(fields)) = (view.workflows_for(hardware).first(), shown.as_object_mut()) {
        revisions.modified = revisions.modified.max(stored.modified);
        fields.insert("workflow".to_owned(), json!(stored.object.metadata.name));
        fields.insert("workflowLog".to_owned(), json!(of_workflow(&stored.object.name(), "log")));
        fields.extend(last_step(&stored.object).map(|step| ("lastStep".to_owned(), json!(step))));
    }
    let progress = running(view, hardware).and_then(|(workflow, ..)| workflow.status.progress.as_ref());
    if let (Some(progress), Some(fields)) = (progress, shown.as_object_mut()) {
        fields.insert("progress".to_owned(), json!(progress));
    }
    if let (Some(stored), Some(fields)) = (view.last_steps.get(&name), shown.as_object_mut()) {
        let last = &stored.object;
        revisions.modified = revisions.modified.max(stored.modified);
        fields.insert("bootStep".to_owned(), json!(last.step));
        fields.insert("bootStepAt".to_owned(), json!(last.at));
        fields.extend(last.other_server.map(|server| ("otherDHCPServer".to_owned(), json!(server))));
    }
    let metadata = json!({
        "name": name.name, "namespace": name.namespace, "labels": hardware.metadata.labels,
        "creationTimestamp": hardware.metadata.creation_timestamp,
    });
    present(resource, json!({"metadata": metadata, "spec": {"intent": intent}, "status": shown}), revisions)
}

fn last_step(workflow: &Workflow) -> Option<String> {
    let current = workflow.status.current_state.as_ref()?;
    Some(format!("{}/{} {}", current.task_name, current.action_name, current.state))
}

/// A MachineState changes with its Hardware, its intent, the steps of its boot, and the Workflows that name the Hardware.
pub fn moved_machine(view: &View, resource: &Resource, change: &Change) -> Option<Moved> {
    let known = |name: ObjectName| {
        let stored = view.hardware.get(&name)?;
        let revisions = Revisions { created: stored.created, modified: change.revision };
        let state = machine_state(view, resource, &stored.object, revisions);
        Some(Moved { name, old: Some(state.clone()), new: Some(state) })
    };
    let of_machine = change.key.strip_prefix(MACHINES).or_else(|| change.key.strip_prefix(LAST_STEPS));
    if let Some((namespace, name)) = of_machine.and_then(|name| name.split_once('/')) {
        return known(ObjectName::new(namespace, name));
    }
    let (kind, name) = parsed(&change.key)?;
    let pair = change.pair.as_deref().or(change.previous.as_deref())?;
    match kind {
        Kind::Workflow => {
            let workflow: Workflow = serde_json::from_slice(&pair.value).ok()?;
            known(ObjectName::new(name.namespace, workflow.spec.hardware_ref))
        }
        Kind::Hardware => {
            let read = |pair: &KeyValue| {
                let hardware: Hardware = serde_json::from_slice(&pair.value).ok()?;
                let revisions = Revisions { created: pair.created, modified: change.revision };
                Some(machine_state(view, resource, &hardware, revisions))
            };
            let (old, new) = (change.previous.as_deref().and_then(read), change.pair.as_deref().and_then(read));
            Some(Moved { name, old, new })
        }
        _ => None,
    }
}

fn shown_rollout(resource: &Resource, pair: &KeyValue) -> Option<(ObjectName, Value)> {
    let rollout: Rollout = serde_json::from_slice(&pair.value).ok()?;
    let mut spec = serde_json::to_value(&rollout.spec).ok()?;
    let ordered = match rollout.state {
        RolloutState::Paused => "paused",
        RolloutState::Stopped => "stopped",
        RolloutState::Running | RolloutState::Done => "running",
    };
    spec.as_object_mut()?.insert("state".to_owned(), json!(ordered));
    let machines: usize = rollout.waves.iter().map(Vec::len).sum();
    let status = json!({
        "state": rollout.state, "reason": rollout.reason, "by": rollout.by, "machines": machines, "forgiven": rollout.forgiven,
        "waves": rollout.waves,
    });
    let metadata = json!({"name": rollout.name, "namespace": rollout.namespace, "creationTimestamp": rollout.at});
    let object = json!({"metadata": metadata, "spec": spec, "status": status});
    let revisions = Revisions { created: pair.created, modified: pair.modified };
    Some((ObjectName::new(rollout.namespace, rollout.name), present(resource, object, revisions)))
}

pub fn moved_rollout(resource: &Resource, change: &Change) -> Option<Moved> {
    change.key.strip_prefix(ROLLOUTS)?;
    let read = |pair: &KeyValue| shown_rollout(resource, pair);
    let (old, new) = (change.previous.as_deref().and_then(read), change.pair.as_deref().and_then(read));
    let name = new.as_ref().or(old.as_ref())?.0.clone();
    Some(Moved { name, old: old.map(|(_, object)| object), new: new.map(|(_, object)| object) })
}

fn invalid(request: &Request, field: &str, why: impl Into<String>) -> Status {
    let name = request.name.as_deref().unwrap_or_default();
    Status::invalid(request.resource, name, &[status::Cause::new(status::INVALID, field, why)])
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Server {
    pub(super) async fn rollout_objects(&self, resource: &Resource) -> Result<(BTreeMap<ObjectName, Value>, u64), Status> {
        let listed = self.0.store.list(ROLLOUTS).await;
        let (pairs, revision) = listed.map_err(|reason| failed("listing rollouts", &reason))?;
        Ok((pairs.iter().filter_map(|pair| shown_rollout(resource, pair)).collect(), revision))
    }

    /// Gives the order that a changed `spec.intent` is.
    pub(super) async fn order_machine(&self, request: &Request, new: &Value, by: &str) -> Result<(), Status> {
        let order = match text(new, "/spec/intent") {
            "install" => OrderKind::Reinstall,
            "local" => OrderKind::Local,
            "rescue" => OrderKind::Rescue,
            "hold" => OrderKind::Hold,
            "approve" => OrderKind::Approve,
            other => {
                let why = format!("{other:?} cannot be ordered; install, local, rescue, hold and approve can");
                return Err(invalid(request, "spec.intent", why));
            }
        };
        if request.options.dry_run {
            return Ok(());
        }
        let name = super::source::asked_name(request);
        match self.order(&name.to_string(), order, by, text(new, "/spec/reason")).await {
            Ok(_) => Ok(()),
            Err(OrderError::Unknown(_)) => Err(Status::not_found(request.resource, &name.name)),
            Err(OrderError::Store(reason)) => Err(failed("ordering a machine", &reason)),
            Err(OrderError::Mistakes(found)) => Err(Status::invalid(request.resource, &name.name, &causes(&found))),
            Err(refused @ OrderError::Refused { .. }) => {
                Err(Status::conflict(request.resource, &name.name, &refused.to_string()))
            }
        }
    }

    pub(super) async fn begin_rollout(&self, request: &Request, new: &Value, by: &str) -> Result<ObjectName, Status> {
        let name = ObjectName::new(text(new, "/metadata/namespace"), text(new, "/metadata/name"));
        let spec: RolloutSpec = serde_json::from_value(new.get("spec").cloned().unwrap_or_default())
            .map_err(|error| invalid(request, "spec", error.to_string()))?;
        if self.0.store.get(&format!("{ROLLOUTS}{name}")).await.map_err(|reason| failed("reading a rollout", &reason))?.is_some()
        {
            return Err(Status::already_exists(request.resource, &name.name));
        }
        let begun = self.start_rollout(&name, spec, by, request.options.dry_run).await;
        begun.map(|_| name.clone()).map_err(|error| rollout_refusal(request, &name, &error))
    }

    /// Pauses, resumes or stops a rollout. Nothing else of it can change.
    pub(super) async fn order_rollout(&self, request: &Request, new: &Value, current: &Value, by: &str) -> Result<(), Status> {
        let without_state = |object: &Value| {
            let mut spec = object.get("spec").cloned().unwrap_or_default();
            spec.as_object_mut().map(|spec| spec.remove("state"));
            spec
        };
        if without_state(new) != without_state(current) {
            return Err(invalid(request, "spec", "only state can change; delete the rollout and start another one"));
        }
        let change = match text(new, "/spec/state") {
            "paused" => RolloutChange::Pause,
            "stopped" => RolloutChange::Stop,
            _ => RolloutChange::Resume,
        };
        if request.options.dry_run || text(new, "/spec/state") == text(current, "/spec/state") {
            return Ok(());
        }
        let name = super::source::asked_name(request);
        self.change_rollout(&name, change, by, "").await.map(drop).map_err(|error| rollout_refusal(request, &name, &error))
    }

    pub(super) async fn forget_rollout(&self, request: &Request, name: &ObjectName) -> Result<(), Status> {
        self.delete_rollout(name).await.map_err(|error| rollout_refusal(request, name, &error))
    }
}

fn rollout_refusal(request: &Request, name: &ObjectName, error: &RolloutError) -> Status {
    match error {
        RolloutError::Unknown(_) => Status::not_found(request.resource, &name.name),
        RolloutError::Refused { .. } => Status::conflict(request.resource, &name.name, &error.to_string()),
        RolloutError::Store(reason) => failed("changing a rollout", reason),
    }
}
