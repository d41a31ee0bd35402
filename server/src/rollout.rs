//! One order for many machines: connects the pure rules of `step` to the store.
//!
//! The store has the selection, and a mark for each machine that has begun. The mark and the machine's Workflow are written
//! in one transaction, so a kill of the server never orders a machine twice. The Workflow says how far its machine is.

mod drive;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use api::{Member, MemberState, Rollout, RolloutChange, RolloutProgress, RolloutSpec, RolloutState};
use jiff::{SignedDuration, Timestamp};
use log::{error, info, warn};
use model::{API_VERSION, Hardware, Kind, Metadata, Object, ObjectName, Selector, Workflow, WorkflowSpec, WorkflowState};
use serde::{Deserialize, Serialize};

use crate::boot::{is_open, may_not_netboot};
use crate::change::{Tries, encoded};
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::view::View;
use drive::Again;
pub(crate) use drive::{Wake, drive};
use step::Seen;

pub(crate) const ROLLOUTS: &str = "/rollouts/";
const MEMBERS: &str = "/rollout-members/";
/// The label of the Workflows that a rollout makes.
const LABEL: &str = "thimble.dev/rollout";

/// The longest value of a label.
const MAX_NAME: usize = 63;
const MOST_WAVES: usize = 100;
/// How many machines a refusal names.
const NAMED: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    #[error("rollout {0} does not exist")]
    Unknown(ObjectName),
    #[error("rollout {name} cannot be {word}: {reason}")]
    Refused { name: ObjectName, word: &'static str, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn refused(name: &ObjectName, word: &'static str, reason: impl Into<String>) -> RolloutError {
    RolloutError::Refused { name: name.clone(), word, reason: reason.into() }
}

/// The mark of a machine that has begun.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    at: Timestamp,
    /// Why its order was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    refused: String,
}

fn rollout_key(name: &ObjectName) -> String {
    format!("{ROLLOUTS}{name}")
}

fn members_prefix(name: &ObjectName) -> String {
    format!("{MEMBERS}{name}/")
}

fn name_of(rollout: &Rollout) -> ObjectName {
    ObjectName::new(&rollout.namespace, &rollout.name)
}

fn workflow_name(rollout: &ObjectName, hardware: &str) -> ObjectName {
    ObjectName::new(&rollout.namespace, format!("{}-{hardware}", rollout.name))
}

impl Server {
    /// Starts a rollout. With `dry_run` it only returns what it would select.
    ///
    /// # Errors
    /// When nothing is selected, a selected machine cannot be ordered now, the name is taken, or the store fails.
    pub async fn start_rollout(
        &self,
        name: &ObjectName,
        spec: RolloutSpec,
        by: &str,
        dry_run: bool,
    ) -> Result<Rollout, RolloutError> {
        if self.0.store.get(&rollout_key(name)).await?.is_some() {
            return Err(refused(name, "started", "it exists already; choose another name, or delete it first"));
        }
        let selected = select(&self.view(), name, &spec).map_err(|reason| refused(name, "started", reason))?;
        let rollout = Rollout {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            waves: step::waves(selected, &spec.waves),
            spec,
            state: RolloutState::Running,
            reason: "started".to_owned(),
            by: by.to_owned(),
            at: Timestamp::now(),
            forgiven: 0,
        };
        if !dry_run {
            // The marks of an earlier rollout with this name would count.
            self.forget_members(name).await?;
            let written = self.commit(Transaction::default().put(rollout_key(name), 0, encoded(&rollout)?)).await;
            match written {
                Err(StoreError::Conflict { .. }) => {
                    return Err(refused(name, "started", "another rollout of this name was started just now"));
                }
                done => done?,
            };
            info!("rollout={name} {by} orders {} machines", rollout.waves.iter().map(Vec::len).sum::<usize>());
            self.0.rollouts.notify_one();
        }
        Ok(rollout)
    }

    /// All rollouts, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        let (pairs, _) = self.0.store.list(ROLLOUTS).await?;
        Ok(pairs.iter().filter_map(|pair| read(&pair.key, &pair.value)).collect())
    }

    /// A rollout with each of its machines.
    ///
    /// # Errors
    /// When the rollout does not exist, or the store fails.
    pub async fn rollout(&self, name: &ObjectName) -> Result<RolloutProgress, RolloutError> {
        let (rollout, _) = self.stored_rollout(name).await?;
        let seen = self.members(&rollout, Timestamp::now()).await?;
        let member = |wave: usize, hardware: &String| {
            let Seen { state, message } = seen_of(&seen, hardware);
            let workflow = workflow_name(name, hardware).name;
            Member { hardware: hardware.clone(), wave: wave + 1, workflow, state, message }
        };
        let waves = rollout.waves.iter().enumerate();
        let members = waves.flat_map(|(wave, machines)| machines.iter().map(move |machine| (wave, machine)));
        let members = members.map(|(wave, machine)| member(wave, machine)).collect();
        Ok(RolloutProgress { rollout, members })
    }

    /// Pauses, resumes or stops a rollout. Machines that have begun continue.
    ///
    /// # Errors
    /// When the rollout does not exist, has ended, or the store fails.
    pub async fn change_rollout(
        &self,
        name: &ObjectName,
        change: RolloutChange,
        by: &str,
        reason: &str,
    ) -> Result<Rollout, RolloutError> {
        let mut tries = Tries::default();
        loop {
            let (mut rollout, modified) = self.stored_rollout(name).await?;
            let (state, word) = match change {
                RolloutChange::Pause => (RolloutState::Paused, "paused"),
                RolloutChange::Resume => (RolloutState::Running, "resumed"),
                RolloutChange::Stop => (RolloutState::Stopped, "stopped"),
            };
            if rollout.state == RolloutState::Done {
                return Err(refused(name, word, format!("it has ended: {}", rollout.reason)));
            }
            if change == RolloutChange::Resume && rollout.state != RolloutState::Running {
                let seen = self.members(&rollout, Timestamp::now()).await?;
                let failed = seen.values().filter(|seen| seen.state == MemberState::Failed).count();
                rollout.forgiven = u32::try_from(failed).unwrap_or(u32::MAX);
            }
            rollout.state = state;
            rollout.reason = if reason.is_empty() { format!("{word} by {by}") } else { format!("{word} by {by}: {reason}") };
            if tries.done(self.commit(Transaction::default().put(rollout_key(name), modified, encoded(&rollout)?)).await)? {
                info!("rollout={name} {}", rollout.reason);
                self.0.rollouts.notify_one();
                return Ok(rollout);
            }
        }
    }

    /// Deletes a rollout. Its Workflows stay.
    ///
    /// # Errors
    /// When the rollout does not exist, runs, or the store fails.
    pub async fn delete_rollout(&self, name: &ObjectName) -> Result<(), RolloutError> {
        let mut tries = Tries::default();
        loop {
            let (rollout, modified) = self.stored_rollout(name).await?;
            if rollout.state == RolloutState::Running {
                return Err(refused(name, "deleted", "it is running; stop it first"));
            }
            if tries.done(self.commit(Transaction::default().delete(rollout_key(name), modified)).await)? {
                return Ok(self.forget_members(name).await?);
            }
        }
    }

    async fn forget_members(&self, name: &ObjectName) -> Result<(), StoreError> {
        let (pairs, _) = self.0.store.list(&members_prefix(name)).await?;
        if pairs.is_empty() {
            return Ok(());
        }
        let delete = |all: Transaction, pair: crate::store::KeyValue| all.delete(pair.key, pair.modified);
        self.commit(pairs.into_iter().fold(Transaction::default(), delete)).await.map(drop)
    }

    async fn stored_rollout(&self, name: &ObjectName) -> Result<(Rollout, u64), RolloutError> {
        let unknown = || RolloutError::Unknown(name.clone());
        let pair = self.0.store.get(&rollout_key(name)).await?.ok_or_else(unknown)?;
        Ok((read(&pair.key, &pair.value).ok_or_else(unknown)?, pair.modified))
    }

    /// The machines that have begun.
    async fn members(&self, rollout: &Rollout, now: Timestamp) -> Result<BTreeMap<String, Seen>, StoreError> {
        self.members_until(rollout, now).await.map(|(members, _)| members)
    }

    /// The machines that have begun, and when the time of the first of them is over that works.
    async fn members_until(
        &self,
        rollout: &Rollout,
        now: Timestamp,
    ) -> Result<(BTreeMap<String, Seen>, Option<Timestamp>), StoreError> {
        let name = name_of(rollout);
        let prefix = members_prefix(&name);
        let (pairs, revision) = self.0.store.list(&prefix).await?;
        self.shows(revision).await; // a mark whose Workflow another server has just made would look like one that was deleted
        let limit = SignedDuration::from_secs(i64::from(rollout.spec.machine_timeout));
        let view = self.view();
        let mut over = None;
        let mut seen = |pair: &crate::store::KeyValue| {
            let hardware = pair.key.strip_prefix(&prefix)?;
            let begun: Begun = read(&pair.key, &pair.value)?;
            let workflow = view.workflows.get(&workflow_name(&name, hardware)).map(|stored| &*stored.object);
            let seen = seen(&begun, workflow, limit, now);
            if seen.state == MemberState::Ordered && !limit.is_zero() {
                let end = begun.at.checked_add(limit).unwrap_or(Timestamp::MAX);
                over = Some(over.map_or(end, |over: Timestamp| over.min(end)));
            }
            Some((hardware.to_owned(), seen))
        };
        let members = pairs.iter().filter_map(&mut seen).collect();
        Ok((members, over))
    }

    /// The host's clock was set by so much: what machines have taken so far stays as long.
    pub(crate) async fn rollouts_follow_clock(&self, by: SignedDuration) -> Result<(), StoreError> {
        let (pairs, _) = self.0.store.list(MEMBERS).await?;
        for pair in pairs.iter().filter(|_| !by.is_zero()) {
            let Some(begun) = read::<Begun>(&pair.key, &pair.value) else { continue };
            let at = begun.at.checked_add(by).unwrap_or(begun.at);
            self.replace(&pair.key, Some(&encoded(&Begun { at, ..begun })?)).await?;
        }
        self.0.rollouts.notify_one();
        Ok(())
    }

    /// One step of every rollout.
    async fn step_rollouts(&self) -> Result<Again, StoreError> {
        let (pairs, _) = self.0.store.list(ROLLOUTS).await?;
        let mut again = Again::Never;
        for pair in pairs {
            let Some(rollout) = read::<Rollout>(&pair.key, &pair.value) else { continue };
            if rollout.state == RolloutState::Running {
                again = again.min(self.step_rollout(rollout, pair.modified).await?);
            }
        }
        Ok(again)
    }

    async fn step_rollout(&self, mut rollout: Rollout, modified: u64) -> Result<Again, StoreError> {
        let name = name_of(&rollout);
        let (members, over) = self.members_until(&rollout, Timestamp::now()).await?;
        let next = step::step(&rollout, |hardware| seen_of(&members, hardware));
        let has_begun = !next.begin.is_empty();
        for hardware in next.begin {
            self.begin_member(&rollout, modified, hardware).await?;
        }
        let Some((state, reason)) = next.becomes else {
            // A machine that could not be ordered makes room for the next one.
            return Ok(if has_begun { Again::Soon } else { over.map_or(Again::WhenSomethingHappens, Again::At) });
        };
        (rollout.state, rollout.reason) = (state, reason);
        match self.commit(Transaction::default().put(rollout_key(&name), modified, encoded(&rollout)?)).await {
            // Another client paused or stopped it meanwhile. The next step sees that.
            Err(StoreError::Conflict { .. }) => return Ok(Again::Soon),
            done => done?,
        };
        if rollout.state == RolloutState::Stopped {
            warn!("rollout={name} is stopped: {}", rollout.reason);
        } else {
            info!("rollout={name} is {}: {}", rollout.state, rollout.reason);
        }
        Ok(Again::Never)
    }

    /// Orders one machine, unless the rollout was changed since it was read.
    async fn begin_member(&self, rollout: &Rollout, modified: u64, hardware: &str) -> Result<(), StoreError> {
        let name = name_of(rollout);
        let mut tries = Tries::default();
        loop {
            let (transaction, refused) = match self.order_of(rollout, hardware).await? {
                Ok(transaction) => (transaction, String::new()),
                Err(reason) => (Transaction::default(), reason),
            };
            let mark = Begun { at: Timestamp::now(), refused };
            let transaction = transaction.when(rollout_key(&name), modified).put(
                format!("{}{hardware}", members_prefix(&name)),
                0,
                encoded(&mark)?,
            );
            let committed = self.commit(transaction).await;
            if let Err(StoreError::Conflict { key }) = &committed
                && (key.starts_with(ROLLOUTS) || key.starts_with(MEMBERS))
            {
                return Ok(()); // another client paused it or ordered the machine
            }
            if tries.done(committed)? {
                match mark.refused.as_str() {
                    "" => info!("rollout={name} hardware={hardware} is ordered"),
                    reason => warn!("rollout={name} hardware={hardware} cannot be ordered: {reason}"),
                }
                return Ok(());
            }
        }
    }

    /// The writes that order a machine, or why it cannot be ordered.
    async fn order_of(&self, rollout: &Rollout, hardware: &str) -> Result<Result<Transaction, String>, StoreError> {
        let name = name_of(rollout);
        let workflow = {
            let view = self.view();
            let Some(stored) = view.hardware.get(&ObjectName::new(&name.namespace, hardware)) else {
                return Ok(Err("its Hardware was deleted".to_owned()));
            };
            match order(&view, rollout, &stored.object) {
                Ok(workflow) => workflow,
                Err(reason) => return Ok(Err(reason)),
            }
        };
        let plan = match self.plan(vec![Object::Workflow(Box::new(workflow))]).await? {
            Ok(plan) => plan,
            Err(mistakes) => return Ok(Err(mistakes.first().map(ToString::to_string).unwrap_or_default())),
        };
        Ok(Ok(plan.transaction))
    }
}

fn read<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).inspect_err(|reason| error!("{key} in the store cannot be read: {reason}")).ok()
}

fn seen_of(members: &BTreeMap<String, Seen>, hardware: &str) -> Seen {
    members.get(hardware).cloned().unwrap_or(Seen { state: MemberState::Waiting, message: String::new() })
}

fn seen(begun: &Begun, workflow: Option<&Workflow>, limit: SignedDuration, now: Timestamp) -> Seen {
    let said = |state, message: &str| Seen { state, message: message.to_owned() };
    if !begun.refused.is_empty() {
        return said(MemberState::Failed, &begun.refused);
    }
    let Some(workflow) = workflow else { return said(MemberState::Withdrawn, "its Workflow was deleted") };
    let status = &workflow.status;
    match status.state {
        Some(WorkflowState::Success) => said(MemberState::Succeeded, &status.message),
        Some(WorkflowState::Failed | WorkflowState::Timeout) if status.cancellation.is_some() => {
            said(MemberState::Withdrawn, &status.message)
        }
        Some(WorkflowState::Failed | WorkflowState::Timeout) => said(MemberState::Failed, &status.message),
        _ if !limit.is_zero() && now.duration_since(begun.at) > limit => {
            said(MemberState::Failed, &format!("not finished within {} s; {}", limit.as_secs(), status.message))
        }
        _ => said(MemberState::Ordered, &status.message),
    }
}

/// The Workflow of a machine.
fn order(view: &View, rollout: &Rollout, hardware: &Hardware) -> Result<Workflow, String> {
    let name = workflow_name(&name_of(rollout), &hardware.metadata.name);
    if view.workflows.contains_key(&name) {
        return Err(format!("Workflow {name} exists already"));
    }
    let interfaces = &hardware.spec.interfaces;
    let macs = interfaces.iter().filter(|one| one.may_netboot()).filter_map(|one| one.dhcp.as_ref()?.mac);
    let agent = hardware.spec.agent_id.clone().or_else(|| Some(macs.into_iter().next()?.to_string()));
    let agent =
        agent.ok_or_else(|| "its Hardware has neither agentID nor an interface that may boot from the network".to_owned())?;
    Ok(Workflow {
        api_version: API_VERSION.to_owned(),
        kind: Kind::Workflow.to_string(),
        metadata: Metadata {
            name: name.name,
            namespace: name.namespace,
            labels: BTreeMap::from([(LABEL.to_owned(), rollout.name.clone())]),
            ..Metadata::default()
        },
        spec: WorkflowSpec {
            template_ref: rollout.spec.template_ref.clone(),
            hardware_ref: hardware.metadata.name.clone(),
            hardware_map: BTreeMap::from([(rollout.spec.worker_key.clone(), agent)]),
            ..WorkflowSpec::default()
        },
        status: model::WorkflowStatus::default(),
    })
}

/// The names of the Hardware that a rollout selects.
fn select(view: &View, name: &ObjectName, spec: &RolloutSpec) -> Result<Vec<String>, String> {
    if name.name.len() > MAX_NAME || !model::is_name(&name.name) {
        return Err(format!("its name must have up to {MAX_NAME} lower-case letters, digits, '-' and '.'"));
    }
    if spec.at_once == 0 || spec.waves.len() > MOST_WAVES || spec.waves.contains(&0) {
        return Err(format!("`at once` must be at least 1, and there may be up to {MOST_WAVES} waves of at least one machine"));
    }
    let selector: Selector = spec.selector.parse().map_err(|error: model::SelectorError| error.to_string())?;
    if selector.is_empty() {
        return Err("an empty selector would select every machine; name a label of the machines".to_owned());
    }
    let template = ObjectName::new(&name.namespace, &spec.template_ref);
    if !view.templates.contains_key(&template) {
        return Err(format!("Template {template} does not exist"));
    }
    let selected: Vec<&Hardware> = view
        .hardware
        .iter()
        .filter(|(hardware, _)| hardware.namespace == name.namespace)
        .map(|(_, stored)| &*stored.object)
        .filter(|hardware| selector.selects(&hardware.metadata.labels))
        .collect();
    if selected.is_empty() {
        return Err(format!("no Hardware of namespace {} matches the selector {:?}", name.namespace, spec.selector));
    }
    let why = |hardware: &Hardware| unable(view, name, hardware).map(|reason| format!("{}: {reason}", hardware.metadata.name));
    let unable: Vec<String> = selected.iter().filter_map(|hardware| why(hardware)).collect();
    if !unable.is_empty() {
        let more = unable.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        return Err(format!("{}{more}", unable.into_iter().take(NAMED).collect::<Vec<_>>().join("; ")));
    }
    let names: BTreeSet<String> = selected.into_iter().map(|hardware| hardware.metadata.name.clone()).collect();
    Ok(names.into_iter().collect())
}

/// Why a machine cannot take part now.
fn unable(view: &View, rollout: &ObjectName, hardware: &Hardware) -> Option<String> {
    if let Some(reason) = may_not_netboot(hardware, None) {
        return Some(reason);
    }
    let taken = workflow_name(rollout, &hardware.metadata.name);
    if view.workflows.contains_key(&taken) {
        return Some(format!("Workflow {taken} exists already"));
    }
    let open = view.workflows_for(hardware).into_iter().find(|stored| is_open(&stored.object))?;
    Some(format!("workflow {} has not ended", open.object.name()))
}
