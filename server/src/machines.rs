//! Explicit orders for a machine, and its boots: connects the pure rules of `intent` to the store.

use api::{Intent, MachineLine, MachineState, OrderKind};
use jiff::Timestamp;
use log::{info, warn};
use machine::Chain;
use model::{AgentId, Hardware, Mac, Mistake, Object, ObjectName, Workflow};

use crate::boot::{is_open, may_not_netboot};
use crate::change::{Tries, encoded};
use crate::intent;
use crate::progress::{has_begun_on, order_has_begun};
use crate::service::{ApplyError, Server};
use crate::store::{StoreError, Transaction};
use crate::view::{View, machine_key};
use crate::workflows::copy;

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("no Hardware has the name, the MAC or the IP address {0}")]
    Unknown(String),
    #[error("Hardware {hardware} cannot take the order {order}: {reason}")]
    Refused { hardware: ObjectName, order: &'static str, reason: String },
    #[error("the workflow cannot be ordered: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mistakes(Vec<Mistake>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApplyError> for OrderError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Refused(mistakes) => Self::Mistakes(mistakes),
            ApplyError::Store(error) => Self::Store(error),
        }
    }
}

const fn word(order: OrderKind) -> &'static str {
    match order {
        OrderKind::Rescue => "rescue",
        OrderKind::Hold => "hold",
        OrderKind::Local => "local",
        OrderKind::Reinstall => "reinstall",
        OrderKind::Approve => "approve",
    }
}

/// What `reinstall` does, given the machine's workflows.
enum Again {
    /// A workflow that has not ended continues.
    Continue(String),
    /// The newest workflow runs once more, as a new Workflow.
    Anew(Box<Object>),
}

impl Server {
    /// Sets what a machine should boot, by MAC, IP address or name of the Hardware. Returns the decision.
    ///
    /// # Errors
    /// When the machine is not known, the order does not make sense for it, or the store fails.
    pub async fn order(&self, machine: &str, order: OrderKind, by: &str, reason: &str) -> Result<MachineState, OrderError> {
        let mut tries = Tries::default();
        loop {
            let (hardware, again) = self.possible(machine, order)?;
            let name = hardware.name();
            if let Some(Again::Anew(workflow)) = again {
                self.run_anew(*workflow, by, reason).await?;
                return Ok(self.state_of(&name).1);
            }
            let (expected, mut state) = self.state_of(&name);
            self.decide(&mut state, order, again, by, reason);
            let value = encoded(&state)?;
            if tries.done(self.commit(Transaction::default().put(machine_key(&name), expected, value)).await)? {
                info!("hardware={name} intent={} by {by}: {}", state.decision.intent, state.decision.reason);
                return Ok(state);
            }
        }
    }

    /// Every machine with an intent, by the name of its Hardware.
    #[must_use]
    pub fn machine_lines(&self) -> Vec<MachineLine> {
        let view = self.snapshot();
        let known = view.machines.iter().filter_map(|(name, state)| Some((name, state, view.hardware.get(name)?)));
        let lines = known.map(|(name, state, hardware)| {
            let agent = self.agent_of(&hardware.object);
            MachineLine {
                hardware: name.to_string(),
                decision: state.object.decision.clone(),
                orders: state.object.orders.clone(),
                address: agent.as_ref().and_then(|agent| agent.address),
                last_seen: agent.map(|agent| agent.last_seen),
            }
        });
        lines.collect()
    }

    fn state_of(&self, name: &ObjectName) -> (u64, MachineState) {
        match self.view().machines.get(name) {
            Some(stored) => (stored.modified, MachineState::clone(&stored.object)),
            None => (0, intent::unordered(Timestamp::now())),
        }
    }

    fn decide(&self, state: &mut MachineState, order: OrderKind, again: Option<Again>, by: &str, reason: &str) {
        let now = Timestamp::now();
        let said = |otherwise: String| if reason.is_empty() { otherwise } else { reason.to_owned() };
        let by_order = || said(format!("`thimble machine {}`", word(order)));
        match (order, again) {
            (OrderKind::Rescue, _) => intent::set(state, Intent::Rescue, by, by_order(), now),
            (OrderKind::Hold, _) => intent::set(state, Intent::Hold, by, by_order(), now),
            (OrderKind::Local, _) => intent::set(state, Intent::Local, by, by_order(), now),
            (_, Some(Again::Continue(workflow))) => {
                let reason = said(format!("workflow {workflow} was ordered"));
                intent::ordered_by(state, &workflow, by, reason, now);
            }
            (OrderKind::Approve | OrderKind::Reinstall, _) => {
                let view = self.view();
                intent::approved(state, |order| view.workflow(order).is_some_and(is_open), by, by_order(), now);
            }
        }
    }

    fn possible(&self, machine: &str, order: OrderKind) -> Result<(Hardware, Option<Again>), OrderError> {
        let view = self.view();
        let hardware = find(&view, machine).ok_or_else(|| OrderError::Unknown(machine.to_owned()))?;
        let name = hardware.name();
        let refused = |reason: String| OrderError::Refused { hardware: name.clone(), order: word(order), reason };
        let intent = view.machines.get(&name).map(|stored| stored.object.decision.intent);
        let takes_in = order == OrderKind::Approve && intent == Some(Intent::Discover);
        if order != OrderKind::Local
            && !takes_in
            && let Some(reason) = may_not_netboot(hardware, None)
        {
            return Err(refused(reason));
        }
        if order == OrderKind::Approve && !matches!(intent, Some(Intent::Hold | Intent::Discover)) {
            return Err(refused(format!("it is not held; its intent is {}", intent.unwrap_or(Intent::Inventory))));
        }
        if order != OrderKind::Reinstall {
            return Ok((hardware.clone(), None));
        }
        let workflows = view.workflows_for(hardware);
        if let Some(open) = workflows.iter().map(|stored| &stored.object).find(|workflow| is_open(workflow)) {
            return Ok((hardware.clone(), Some(Again::Continue(open.name().to_string()))));
        }
        let newest = workflows.iter().map(|stored| &stored.object).find(|workflow| workflow.status.state.is_some());
        let newest = newest.ok_or_else(|| refused("no workflow has been made ready for it; apply one".to_owned()))?;
        let mut others = view.machines_of(newest);
        others.remove(&name);
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            let (workflow, others) = (newest.name(), others.join(", "));
            let again = format!("`thimble workflow rerun {workflow}` runs it once more on all of them");
            return Err(refused(format!("its newest workflow {workflow} is for {others} as well; {again}")));
        }
        Ok((hardware.clone(), Some(Again::Anew(Box::new(copy(&view, newest))))))
    }

    /// boots gives the machine the ramdisk to install. A machine that comes back too often is held.
    pub async fn installs_at(&self, mac: Mac, now: Timestamp) {
        if let Err(error) = self.count_return(mac, now).await {
            warn!("mac={mac} its boot could not be counted: {}", Chain(&error));
        }
    }

    async fn count_return(&self, mac: Mac, now: Timestamp) -> Result<(), StoreError> {
        let mut tries = Tries::default();
        loop {
            let Some(name) = self.view().by_mac(mac).map(|stored| stored.object.name()) else { return Ok(()) };
            let (expected, mut state) = self.state_of(&name);
            if !intent::came_back(&mut state, now) {
                return Ok(());
            }
            let transaction = Transaction::default().put(machine_key(&name), expected, encoded(&state)?);
            if tries.done(self.commit(transaction).await)? {
                if state.decision.intent == Intent::Hold {
                    warn!("hardware={name} is held: {}; `thimble machine approve {name}` ends the hold", state.decision.reason);
                }
                return Ok(());
            }
        }
    }

    /// What the end of a workflow without success changes for its machines.
    pub(crate) fn withdrawal(&self, workflow: &Workflow) -> Result<Transaction, StoreError> {
        self.with_machines(workflow, |_, _, state| {
            intent::withdrawn(state, &workflow.name().to_string(), order_has_begun(workflow));
        })
    }

    /// What a success changes for the machines of the workflow: they boot their disks. A machine whose agent has gone to
    /// another one meanwhile has only its order ended.
    pub(crate) fn success(&self, workflow: &Workflow, now: Timestamp) -> Result<Transaction, StoreError> {
        let name = workflow.name().to_string();
        let own = self.view().machines_of(workflow);
        self.with_machines(workflow, |view, machine, state| {
            if !own.contains(machine) {
                return intent::withdrawn(state, &name, false);
            }
            let is_here = |agent: &AgentId| view.machine_of(agent).is_some_and(|stored| stored.object.name() == *machine);
            let open = |order: &str| view.workflow(order).is_some_and(is_open);
            let begun = |order: &str| view.workflow(order).is_some_and(|other| has_begun_on(other, is_here));
            intent::succeeded(state, &name, open, begun, now);
        })
    }

    /// Writes the states of a workflow's machines that `edit` changes: those that it concerns, and those for which it is
    /// ordered.
    pub(crate) fn with_machines(
        &self,
        workflow: &Workflow,
        edit: impl Fn(&View, &ObjectName, &mut MachineState),
    ) -> Result<Transaction, StoreError> {
        let view = self.view();
        let mut transaction = Transaction::default();
        let mut names = view.machines_of(workflow);
        names.extend(view.ordered_on(&workflow.name()));
        for name in names {
            let stored = view.machines.get(&name);
            let before = stored.map_or_else(|| intent::unordered(Timestamp::now()), |stored| MachineState::clone(&stored.object));
            let mut state = before.clone();
            edit(&view, &name, &mut state);
            if state != before {
                transaction = transaction.put(machine_key(&name), stored.map_or(0, |stored| stored.modified), encoded(&state)?);
            }
        }
        Ok(transaction)
    }
}

/// Finds Hardware by MAC in any notation, by IP address, or by name.
pub fn find<'v>(view: &'v View, text: &str) -> Option<&'v Hardware> {
    if let Ok(mac) = text.parse::<Mac>() {
        return view.by_mac(mac).map(|stored| &*stored.object);
    }
    if let Ok(address) = text.parse() {
        return view.by_address(address).map(|stored| &*stored.object);
    }
    let Ok(name) = text.parse::<ObjectName>();
    view.hardware.get(&name).map(|stored| &*stored.object)
}
