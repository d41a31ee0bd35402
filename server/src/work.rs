//! Handing out actions and taking in reports: the pure rules of `progress` around the store.

use jiff::Timestamp;
use log::{info, warn};
use model::{AgentId, Kind, ObjectName, Workflow, WorkflowAction, WorkflowState, WorkflowTask};
use tokio::time::{Instant, sleep_until};

use crate::plan::after_success;
use crate::progress::{self, Cancelled, Change, Idle, Position, Refused, Report};
use crate::service::{Server, TRIES};
use crate::store::{StoreError, Transaction};
use crate::view::key;

/// An action that was handed out, and that this is stored.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub workflow: ObjectName,
    pub task: WorkflowTask,
    pub action: WorkflowAction,
}

#[derive(Debug, thiserror::Error)]
pub enum NoWork {
    /// Nothing, and why: `None` when there is no workflow for this agent at all.
    #[error("nothing to do")]
    Idle(Option<Idle>),
    #[error("server shutting down")]
    Stopping,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("workflow {0} does not exist")]
    NoWorkflow(ObjectName),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("error writing report status")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("Workflow {0} does not exist")]
    NoWorkflow(ObjectName),
    #[error("Workflow {name} is {state} already")]
    Over { name: ObjectName, state: WorkflowState },
    #[error("the workflow is changed by others all the time; try again")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Server {
    /// The agent's next action: at once, or as soon as there is one, or why there was none for as long as calls are held.
    ///
    /// # Errors
    /// When there is nothing to do.
    pub async fn next_action(&self, agent: &AgentId) -> Result<Assignment, NoWork> {
        let deadline = Instant::now() + self.0.config.long_poll;
        let (mut changes, mut stopping) = (self.changes(), self.stopping());
        self.end_left_by(agent).await?;
        loop {
            changes.borrow_and_update(); // before looking: what comes after is seen below
            if *stopping.borrow() {
                return Err(NoWork::Stopping);
            }
            let idle = match self.hand_out(agent).await {
                Err(NoWork::Idle(idle)) => idle,
                other => return other,
            };
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| NoWork::Stopping)?,
                stopped = stopping.changed() => stopped.map_err(|_| NoWork::Stopping)?,
                () = sleep_until(deadline) => return Err(NoWork::Idle(idle)),
            }
        }
    }

    /// Holds the call until what runs of the workflow shall stop, and says why; nothing when that did not come to pass for
    /// as long as calls are held.
    ///
    /// # Errors
    /// When the server stops.
    pub async fn until_stopped(&self, name: &ObjectName) -> Result<Option<String>, NoWork> {
        let deadline = Instant::now() + self.0.config.long_poll;
        let (mut changes, mut stopping) = (self.changes(), self.stopping());
        loop {
            changes.borrow_and_update(); // before looking: what comes after is seen below
            let why = match self.view().workflows.get(name) {
                Some(stored) => progress::why_stop(&stored.object),
                None => Some(format!("workflow {name} was deleted")),
            };
            if why.is_some() {
                return Ok(why);
            }
            if *stopping.borrow() {
                return Err(NoWork::Stopping);
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| NoWork::Stopping)?,
                stopped = stopping.changed() => stopped.map_err(|_| NoWork::Stopping)?,
                () = sleep_until(deadline) => return Ok(None),
            }
        }
    }

    /// Cancels a workflow; see `progress::cancel`.
    ///
    /// # Errors
    /// When it does not exist or is over, or the store fails.
    pub async fn cancel(&self, name: &ObjectName, reason: &str, at_once: bool) -> Result<Cancelled, CancelError> {
        for _ in 0..TRIES {
            let (mut workflow, modified) = self.stored(name).await?.ok_or_else(|| CancelError::NoWorkflow(name.clone()))?;
            let cancelled = progress::cancel(&mut workflow, reason, at_once, Timestamp::now())
                .map_err(|state| CancelError::Over { name: name.clone(), state })?;
            match self.commit(put(&workflow, modified)?).await {
                Ok(_) => {
                    warn!("workflow={name} {}", workflow.status.message);
                    return Ok(cancelled);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CancelError::Contended)
    }

    /// Ends cancelled workflows whose agent came back without the action.
    async fn end_left_by(&self, agent: &AgentId) -> Result<(), StoreError> {
        let left: Vec<ObjectName> = {
            let view = self.view();
            let workflows = view.workflows_of(agent).map(|stored| &stored.object);
            workflows.filter(|workflow| progress::is_left_by(workflow, agent)).map(|workflow| workflow.name()).collect()
        };
        for name in left {
            let Some((mut workflow, modified)) = self.stored(&name).await? else { continue };
            if !progress::is_left_by(&workflow, agent) {
                continue;
            }
            progress::end_cancelled(&mut workflow, Timestamp::now());
            match self.commit(put(&workflow, modified)?).await {
                Ok(_) => warn!("workflow={name} agent={agent} {}; the agent runs nothing of it", workflow.status.message),
                Err(StoreError::Conflict { .. }) => {} // somebody else has changed it: looked at again with the next call
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn hand_out(&self, agent: &AgentId) -> Result<Assignment, NoWork> {
        for _ in 0..TRIES {
            let (mut workflow, position, modified) = self.chosen(agent).map_err(NoWork::Idle)?;
            let changed = progress::hand_out(&mut workflow, position);
            if changed {
                match self.commit(put(&workflow, modified)?).await {
                    Ok(_) => {}
                    Err(StoreError::Conflict { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            return assignment(&workflow, position).ok_or(NoWork::Idle(Some(Idle::NothingLeft)));
        }
        Err(NoWork::Idle(Some(Idle::NotRunnable)))
    }

    fn chosen(&self, agent: &AgentId) -> Result<(Workflow, Position, u64), Option<Idle>> {
        let view = self.view();
        let (workflow, position) = progress::choose(view.workflows_of(agent).map(|stored| &*stored.object), agent)?;
        let modified = view.workflows.get(&workflow.name()).map_or(0, |stored| stored.modified);
        Ok((workflow.clone(), position, modified))
    }

    /// Records what an agent reports; durable when this returns.
    ///
    /// # Errors
    /// When the report is refused or cannot be stored.
    pub async fn report(&self, name: &ObjectName, report: &Report) -> Result<Change, ReportError> {
        for _ in 0..TRIES {
            let (mut workflow, modified) = self.stored(name).await?.ok_or_else(|| ReportError::NoWorkflow(name.clone()))?;
            let change = progress::apply(&mut workflow, report, Timestamp::now()).inspect_err(|refused| {
                warn!(
                    "workflow={name} agent={} action={} report {} refused: {refused}",
                    report.agent, report.action_id, report.state
                );
            })?;
            if change == Change::Nothing {
                return Ok(change);
            }
            let mut transaction = Transaction::default();
            if change == Change::LastAction {
                if let Some((hardware, object, modified)) = after_success(&self.view(), &mut workflow) {
                    transaction = transaction.put(key(Kind::Hardware, &hardware), modified, encoded(&object)?);
                }
                progress::finish(&mut workflow);
            }
            match self.commit(transaction.put(key(Kind::Workflow, name), modified, encoded(&workflow)?)).await {
                Ok(_) => {
                    announce(name, &workflow, report);
                    return Ok(change);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReportError::Contended)
    }

    pub(crate) async fn expire(&self, name: &ObjectName, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let Some((mut workflow, modified)) = self.stored(name).await? else { return Ok(()) };
            if !progress::expire(&mut workflow, now) {
                return Ok(());
            }
            match self.commit(put(&workflow, modified)?).await {
                Err(StoreError::Conflict { .. }) => {}
                done => {
                    warn!("workflow={name} {}", workflow.status.message);
                    return done.map(drop);
                }
            }
        }
        Ok(()) // looked at again with the next tick
    }

    /// As the store has it, which may be ahead of the view.
    async fn stored(&self, name: &ObjectName) -> Result<Option<(Workflow, u64)>, StoreError> {
        let Some(entry) = self.0.store.get(&key(Kind::Workflow, name)).await? else { return Ok(None) };
        let workflow = serde_json::from_slice(&entry.value).map_err(|error| broken("read a workflow", error))?;
        Ok(Some((workflow, entry.modified)))
    }
}

fn broken(doing: &'static str, error: serde_json::Error) -> StoreError {
    StoreError::Failed { doing, source: error.into() }
}

fn encoded<T: serde::Serialize>(object: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(object).map_err(|error| broken("encode an object", error))
}

fn put(workflow: &Workflow, modified: u64) -> Result<Transaction, StoreError> {
    Ok(Transaction::default().put(key(Kind::Workflow, &workflow.name()), modified, encoded(workflow)?))
}

fn assignment(workflow: &Workflow, position: Position) -> Option<Assignment> {
    let task = workflow.status.tasks.get(position.task)?;
    let action = task.actions.get(position.action)?.clone();
    let again = if position.again { " again" } else { "" };
    info!(
        "workflow={} agent={} action={} handed out{again}, attempt {}",
        workflow.name(),
        task.agent_id,
        action.name,
        action.attempts
    );
    Some(Assignment { workflow: workflow.name(), task: task.clone(), action })
}

fn announce(name: &ObjectName, workflow: &Workflow, report: &Report) {
    let status = &workflow.status;
    let actions = || status.tasks.iter().flat_map(|task| &task.actions);
    let Some(action) = actions().find(|action| action.id == report.action_id) else { return };
    info!("workflow={name} agent={} action={} {} {}", report.agent, action.name, action.state, action.execution_duration);
    if status.state.is_some_and(|state| state.is_final()) {
        info!("workflow={name} {}: {}", status.state.map_or("", |state| state.as_str()), status.message);
    }
}
