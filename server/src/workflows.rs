//! Explicit orders for one workflow: pause, resume, retry and rerun. The rules are those of `progress` and `intent`.

use api::{WorkflowChange, WorkflowOrdered};
use jiff::Timestamp;
use log::info;
use model::{Kept, Object, ObjectName, Workflow, WorkflowState, WorkflowStatus};

use crate::boot::may_not_netboot;
use crate::change::Acting;
use crate::intent;
use crate::machines::OrderError;
use crate::plan::Person;
use crate::progress::{Command, Refused};
use crate::service::{ApplyError, Server};
use crate::store::{StoreError, Transaction};
use crate::v1alpha2::runs;
use crate::view::View;

#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    #[error("Workflow {0} does not exist")]
    Unknown(ObjectName),
    #[error("Workflow {name}: {refused}")]
    Refused { name: ObjectName, refused: Refused },
    #[error("Workflow {name} cannot be ordered again: {reason}")]
    Unable { name: ObjectName, reason: String },
    #[error("Workflow {name} is {state}; only a workflow that has ended can run again. `thimble workflow cancel` ends it")]
    Unfinished { name: ObjectName, state: &'static str },
    #[error("Workflow {again}, which repeats {name}, has not ended; wait for its end, or cancel it first")]
    Again { name: ObjectName, again: ObjectName },
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApplyError> for WorkflowError {
    fn from(error: ApplyError) -> Self {
        Self::Order(error.into())
    }
}

impl Server {
    /// Carries out a person's order. Returns the workflow that the person should follow from now on.
    ///
    /// # Errors
    /// When the workflow does not exist or refuses the order, or the store fails.
    pub async fn change_workflow(
        &self,
        name: &ObjectName,
        change: &WorkflowChange,
        by: &str,
        reason: &str,
    ) -> Result<WorkflowOrdered, WorkflowError> {
        let (workflow, message) = match change {
            WorkflowChange::Pause => self.pause(name, by, reason).await?,
            WorkflowChange::Resume => self.resume(name, by).await?,
            WorkflowChange::Retry { from } => self.retry(name, from.as_deref(), by, reason).await?,
            WorkflowChange::Rerun => self.rerun(name, by, reason).await?,
        };
        info!("workflow={workflow} by={by} {message}");
        Ok(WorkflowOrdered { workflow: workflow.to_string(), message })
    }

    /// No further action is handed out, and the running action continues.
    async fn pause(&self, name: &ObjectName, by: &str, reason: &str) -> Result<(ObjectName, String), WorkflowError> {
        let workflow = self.take(name, &Command::Pause { by, reason }, |_| Ok(Transaction::default())).await?;
        let running = crate::progress::running_action(&workflow).map(|running| running.action);
        let going_on = running.map_or_else(String::new, |action| format!("; action {action} continues to its end"));
        Ok((workflow.name(), format!("paused{going_on}")))
    }

    async fn resume(&self, name: &ObjectName, by: &str) -> Result<(ObjectName, String), WorkflowError> {
        let workflow = self.take(name, &Command::Resume { by }, |_| Ok(Transaction::default())).await?;
        Ok((workflow.name(), "resumed".to_owned()))
    }

    /// Continues a failed workflow. Actions that succeeded before `from` keep their state, and the machines get the intent
    /// `install` again.
    async fn retry(
        &self,
        name: &ObjectName,
        from: Option<&str>,
        by: &str,
        reason: &str,
    ) -> Result<(ObjectName, String), WorkflowError> {
        let workflow = self.take(name, &Command::Retry { from, by, reason }, |workflow| self.ordered(workflow, by)).await?;
        Ok((workflow.name(), workflow.status.message))
    }

    /// What the new order changes for the machines of a workflow.
    fn ordered(&self, workflow: &Workflow, by: &str) -> Result<Transaction, WorkflowError> {
        let (name, now) = (workflow.name(), Timestamp::now());
        let unable = {
            let view = self.view();
            let machines = view.machines_of(workflow);
            machines.iter().filter_map(|machine| view.hardware.get(machine)).find_map(|one| may_not_netboot(&one.object, None))
        };
        if let Some(reason) = unable {
            return Err(WorkflowError::Unable { name, reason });
        }
        let reason = format!("workflow {name} was {}", workflow.status.message);
        Ok(self.with_machines(workflow, |_, _, state| intent::ordered_by(state, &name.to_string(), by, reason.clone(), now))?)
    }

    async fn take(
        &self,
        name: &ObjectName,
        command: &Command<'_>,
        others: impl Fn(&Acting) -> Result<Transaction, WorkflowError>,
    ) -> Result<Workflow, WorkflowError> {
        let changed = self.change_with(name, |workflow| {
            let refused = |refused| WorkflowError::Refused { name: name.clone(), refused };
            workflow.take(command, Timestamp::now()).map_err(refused)?;
            Ok::<_, WorkflowError>(((), others(workflow)?))
        });
        let (workflow, ()) = changed.await?.ok_or_else(|| WorkflowError::Unknown(name.clone()))?;
        Ok(workflow)
    }

    /// Runs a workflow that has ended once more, as a new one.
    async fn rerun(&self, name: &ObjectName, by: &str, reason: &str) -> Result<(ObjectName, String), WorkflowError> {
        let again = {
            let view = self.view();
            let stored = view.workflows.get(name).ok_or_else(|| WorkflowError::Unknown(name.clone()))?;
            let state = stored.object.status.state;
            if !state.is_some_and(WorkflowState::is_final) {
                let state = state.map_or("not ready", WorkflowState::as_str);
                return Err(WorkflowError::Unfinished { name: name.clone(), state });
            }
            // If an order is repeated because its answer was lost, it must not install twice.
            if let Some(again) = unfinished_copy(&view, &stored.object) {
                return Err(WorkflowError::Again { name: name.clone(), again });
            }
            copy(&view, &stored.object)
        };
        let new = again.name();
        let problem = self.run_anew(again, by, reason).await?;
        let why = if problem.is_empty() { String::new() } else { format!(": {problem}") };
        Ok((new.clone(), format!("workflow {new} repeats {name}{why}")))
    }

    /// Stores the copy of a workflow as a person's order. If the copy does not run, returns the reason.
    pub(crate) async fn run_anew(&self, workflow: Object, by: &str, reason: &str) -> Result<String, OrderError> {
        let name = workflow.name();
        info!("workflow={name} ordered by {by}: {reason}");
        let person = Person { by: by.to_owned(), reason: reason.to_owned() };
        let applied = self.apply_by(vec![workflow], Some(person)).await?;
        let mut changes = applied.changes.into_iter();
        let changed = changes.find(|changed| changed.kind.word() == "Workflow" && changed.name == name.to_string());
        Ok(changed.and_then(|changed| changed.problem).unwrap_or_default())
    }
}

/// `w` of `w-run7`.
fn base(workflow: &Workflow) -> String {
    let name = workflow.metadata.name.as_str();
    let base = name.rsplit_once("-run").filter(|(_, number)| number.parse::<u32>().is_ok());
    base.map_or(name, |(base, _)| base).chars().take(240).collect()
}

/// The copies of a workflow in their order, and the first free name.
fn copies(view: &View, workflow: &Workflow) -> (Vec<ObjectName>, ObjectName) {
    let base = base(workflow);
    let mut taken = Vec::new();
    for number in 2_u32.. {
        let name = ObjectName::new(&workflow.metadata.namespace, format!("{base}-run{number}"));
        if !view.workflows.contains_key(&name) {
            return (taken, name);
        }
        taken.push(name);
    }
    (taken, workflow.name())
}

/// The newest copy, if it has not ended.
fn unfinished_copy(view: &View, workflow: &Workflow) -> Option<ObjectName> {
    let newest = copies(view, workflow).0.pop()?;
    let copy = &view.workflows.get(&newest)?.object;
    let over = copy.status.state.is_some_and(WorkflowState::is_final);
    (!over && copy.spec == workflow.spec).then_some(newest)
}

/// A workflow that repeats this one. A finished workflow itself never runs again.
pub fn copy(view: &View, workflow: &Workflow) -> Object {
    let name = copies(view, workflow).1.name;
    if let Some(written) = view.v1alpha2.workflows.get(&workflow.name()).filter(|_| runs(workflow)) {
        let mut copy = model::v1alpha2::Workflow::clone(&written.object);
        (copy.metadata.name, copy.metadata.creation_timestamp) = (name, None);
        copy.metadata.kept = Kept::default();
        return Object::WorkflowV1alpha2(Box::new(copy));
    }
    let mut copy = workflow.clone();
    copy.metadata.name = name;
    copy.metadata.creation_timestamp = None;
    copy.metadata.kept = Kept::default();
    copy.status = WorkflowStatus::default();
    Object::Workflow(Box::new(copy))
}
