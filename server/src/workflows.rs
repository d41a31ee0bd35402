//! Explicit orders for one workflow: pause, resume, retry and rerun. The rules are those of `progress` and `intent`.

use api::{WorkflowChange, WorkflowOrdered};
use jiff::Timestamp;
use log::info;
use model::{Object, ObjectName, Workflow, WorkflowState, WorkflowStatus};

use crate::boot::may_not_netboot;
use crate::change::Acting;
use crate::intent;
use crate::machines::OrderError;
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
    #[error("Workflow {name} is {state}; only one that has ended runs once more. `thimble workflow cancel` ends it")]
    Unfinished { name: ObjectName, state: &'static str },
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
    /// Carries out an order of a person. Returns the workflow that it concerns from now on.
    ///
    /// # Errors
    /// When the workflow does not exist, does not take the order, or the store fails.
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

    /// Nothing further is handed out; the action that runs goes on.
    async fn pause(&self, name: &ObjectName, by: &str, reason: &str) -> Result<(ObjectName, String), WorkflowError> {
        let workflow = self.take(name, &Command::Pause { by, reason }, |_| Ok(Transaction::default())).await?;
        let running = crate::progress::running_action(&workflow).map(|running| running.action);
        let going_on = running.map_or_else(String::new, |action| format!("; action {action} goes on to its end"));
        Ok((workflow.name(), format!("paused{going_on}")))
    }

    async fn resume(&self, name: &ObjectName, by: &str) -> Result<(ObjectName, String), WorkflowError> {
        let workflow = self.take(name, &Command::Resume { by }, |_| Ok(Transaction::default())).await?;
        Ok((workflow.name(), "resumed".to_owned()))
    }

    /// A failed workflow goes on. What succeeded before `from` stays so, and its machines get the intent `install` again.
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
        Ok(self.with_machines(workflow, |_, state| intent::ordered_by(state, &name.to_string(), by, reason.clone(), now))?)
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

    /// A workflow that has ended runs once more, as a new one.
    async fn rerun(&self, name: &ObjectName, by: &str, reason: &str) -> Result<(ObjectName, String), WorkflowError> {
        let again = {
            let view = self.view();
            let stored = view.workflows.get(name).ok_or_else(|| WorkflowError::Unknown(name.clone()))?;
            let state = stored.object.status.state;
            if !state.is_some_and(WorkflowState::is_final) {
                let state = state.map_or("not ready", WorkflowState::as_str);
                return Err(WorkflowError::Unfinished { name: name.clone(), state });
            }
            copy(&view, &stored.object)
        };
        let new = again.name();
        let problem = self.run_anew(again, by, reason).await?;
        let why = if problem.is_empty() { String::new() } else { format!(": {problem}") };
        Ok((new.clone(), format!("workflow {new} does once more what {name} did{why}")))
    }

    /// Stores the copy of a workflow. The order of a person goes over a rescue, a hold and the setting for new machines.
    /// Returns why the copy does not run, if it does not.
    pub(crate) async fn run_anew(&self, workflow: Object, by: &str, reason: &str) -> Result<String, OrderError> {
        let name = workflow.name();
        info!("workflow={name} ordered by {by}: {reason}");
        let applied = self.apply(vec![workflow]).await?;
        let machines = {
            let view = self.view();
            let order = name.to_string();
            let ordered =
                |machine: &ObjectName| view.machines.get(machine).is_some_and(|stored| stored.object.orders.contains(&order));
            let stored = view.workflows.get(&name);
            stored
                .map(|stored| view.machines_of(&stored.object))
                .unwrap_or_default()
                .into_iter()
                .filter(ordered)
                .collect::<Vec<_>>()
        };
        for machine in &machines {
            self.approve_now(machine, by, reason).await?;
        }
        let changed =
            applied.changes.into_iter().find(|changed| changed.kind.word() == "Workflow" && changed.name == name.to_string());
        let held = |problem: &String| !problem.contains("`thimble machine approve");
        Ok(changed.and_then(|changed| changed.problem).filter(held).unwrap_or_default())
    }
}

/// A workflow that does once more what this one did: a finished workflow itself never runs again.
pub fn copy(view: &View, workflow: &Workflow) -> Object {
    let base = workflow.metadata.name.rsplit_once("-run").filter(|(_, number)| number.parse::<u32>().is_ok());
    let base: String = base.map_or(workflow.metadata.name.as_str(), |(base, _)| base).chars().take(240).collect();
    let free = |name: &String| !view.workflows.contains_key(&ObjectName::new(&workflow.metadata.namespace, name));
    let name = (2_u32..).map(|number| format!("{base}-run{number}")).find(free).unwrap_or(base.clone());
    if let Some(written) = view.v1alpha2.workflows.get(&workflow.name()).filter(|_| runs(workflow)) {
        let mut copy = model::v1alpha2::Workflow::clone(&written.object);
        (copy.metadata.name, copy.metadata.creation_timestamp) = (name, None);
        return Object::WorkflowV1alpha2(Box::new(copy));
    }
    let mut copy = workflow.clone();
    copy.metadata.name = name;
    copy.metadata.creation_timestamp = None;
    copy.status = WorkflowStatus::default();
    Object::Workflow(Box::new(copy))
}
