//! Hands out actions and records reports: connects the pure rules of `progress` to the store.

use std::time::Duration;

use api::RunningAction;
use jiff::Timestamp;
use log::{info, warn};
use model::{ActionState, AgentId, Kind, ObjectName, Workflow, WorkflowAction, WorkflowState, WorkflowTask};
use tokio::time::{Instant, sleep_until};

use crate::change::{Acting, encoded};
use crate::intent;
use crate::plan::after_success;
use crate::progress::{self, Command, Heard, Idle, Next, Position, Refused, Report};
use crate::service::Server;
use crate::store::{StoreError, Transaction};
use crate::turns::{Place, may_run, rivals};
use crate::view::{key, machine_key};
use crate::wake::Subject;

/// An action that was handed out. That fact is stored already.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub workflow: ObjectName,
    pub task: WorkflowTask,
    pub action: WorkflowAction,
    /// The image that the agent needs after this action.
    pub next_image: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum NoWork {
    /// Nothing to do, and the reason. `None` if no workflow names this agent.
    #[error("nothing to do")]
    Idle(Option<Idle>),
    /// The agent asks for a workflow that has no task for it.
    #[error("the workflow has no task for this agent")]
    NotItsWorkflow,
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
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("Workflow {0} does not exist")]
    NoWorkflow(ObjectName),
    #[error("Workflow {name} is {state} already")]
    Over { name: ObjectName, state: WorkflowState },
    #[error("Workflow {name}: {refused}")]
    Refused { name: ObjectName, refused: Refused },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Server {
    /// The agent's next action, as soon as there is one. The call is held up to the configured limit.
    ///
    /// # Errors
    /// When nothing was to do until that limit.
    pub async fn next_action(&self, agent: &AgentId) -> Result<Assignment, NoWork> {
        self.next_action_within(agent, self.0.config().long_poll).await
    }

    /// The same with another limit.
    pub(crate) async fn next_action_within(&self, agent: &AgentId, limit: Duration) -> Result<Assignment, NoWork> {
        let deadline = Instant::now() + limit;
        let (mut changes, mut stopping) = (self.wait_for(Subject::agent(agent)), self.stopping());
        Box::pin(self.end_left_by(agent)).await?;
        loop {
            changes.look(); // before reading the state, so that later changes are seen below
            if *stopping.borrow() {
                return Err(NoWork::Stopping);
            }
            // Boxed, because a call that waits keeps the room of everything that it does in between.
            let idle = match Box::pin(self.hand_out(agent)).await {
                Err(NoWork::Idle(idle)) => idle,
                other => return other,
            };
            tokio::select! {
                () = changes.changed() => {}
                stopped = stopping.changed() => stopped.map_err(|_| NoWork::Stopping)?,
                () = sleep_until(deadline) => return Err(NoWork::Idle(idle)),
            }
        }
    }

    /// Like `next_action`, without waiting. Old workers ask again every few seconds.
    ///
    /// # Errors
    /// When there is nothing to do.
    pub async fn action_now(&self, agent: &AgentId) -> Result<Assignment, NoWork> {
        self.end_left_by(agent).await?;
        self.hand_out(agent).await
    }

    /// Holds the call until the agent must stop its action of the workflow, and returns the reason. `None` if that did not
    /// happen within the limit for held calls.
    ///
    /// # Errors
    /// When the workflow has no task for the agent, or the server stops.
    pub async fn until_stopped(&self, agent: &AgentId, name: &ObjectName) -> Result<Option<String>, NoWork> {
        let deadline = Instant::now() + self.0.config().long_poll;
        let (mut changes, mut stopping) = (self.wait_for(Subject::Workflow(name.clone())), self.stopping());
        loop {
            changes.look(); // before reading the state, so that later changes are seen below
            let why = match self.view().workflows.get(name) {
                Some(stored) if !progress::is_agent_of(&stored.object, agent) => {
                    warn!("workflow={name} agent={agent} watches it and is refused: no task of the workflow is for this agent");
                    return Err(NoWork::NotItsWorkflow);
                }
                Some(stored) => progress::why_stop(&stored.object, agent),
                None => Some(format!("workflow {name} was deleted")),
            };
            if why.is_some() {
                return Ok(why);
            }
            if *stopping.borrow() {
                return Err(NoWork::Stopping);
            }
            tokio::select! {
                () = changes.changed() => {}
                stopped = stopping.changed() => stopped.map_err(|_| NoWork::Stopping)?,
                () = sleep_until(deadline) => return Ok(None),
            }
        }
    }

    /// Cancels a workflow, and returns the action whose end it waits for. See `progress::cancel`.
    ///
    /// # Errors
    /// When the workflow does not exist or has ended, or the store fails.
    pub async fn cancel(&self, name: &ObjectName, reason: &str, at_once: bool) -> Result<Option<RunningAction>, CancelError> {
        let cancelled = self.change_with(name, |workflow| {
            let state = workflow.status.state;
            workflow.take(&Command::Cancel { reason, at_once }, Timestamp::now()).map_err(|refused| match state {
                Some(state) => CancelError::Over { name: name.clone(), state },
                None => CancelError::Refused { name: name.clone(), refused },
            })?;
            let running = progress::running_action(workflow);
            let withdrawal = if running.is_none() { self.withdrawal(workflow)? } else { Transaction::default() };
            Ok::<_, CancelError>((running, withdrawal))
        });
        let (workflow, running) = cancelled.await?.ok_or_else(|| CancelError::NoWorkflow(name.clone()))?;
        warn!("workflow={name} {}", workflow.status.message);
        Ok(running)
    }

    /// Ends cancelled workflows whose agent asks for work without the action.
    async fn end_left_by(&self, agent: &AgentId) -> Result<(), StoreError> {
        let left: Vec<ObjectName> = {
            let view = self.view();
            let workflows = view.workflows_of(agent).map(|stored| &stored.object);
            workflows.filter(|workflow| progress::is_left_by(workflow, agent)).map(|workflow| workflow.name()).collect()
        };
        for name in left {
            self.by_itself(&name, &Command::Leave { agent }, Timestamp::now()).await?;
        }
        Ok(())
    }

    async fn hand_out(&self, agent: &AgentId) -> Result<Assignment, NoWork> {
        let name = self.chosen(agent).map_err(NoWork::Idle)?;
        let handed_out = self.change_with(&name, |workflow| match progress::next_action(workflow, agent) {
            Next::Run(position) => {
                let begins = self.begins(agent, workflow)?;
                workflow
                    .take(&Command::HandOut { agent }, Timestamp::now())
                    .map_err(|_| NoWork::Idle(Some(Idle::NotRunnable)))?;
                Ok((position, begins))
            }
            Next::Idle(idle) => Err(NoWork::Idle(Some(idle))),
        });
        let (workflow, position) = handed_out.await?.ok_or(NoWork::Idle(None))?;
        assignment(&workflow, position).ok_or(NoWork::Idle(Some(Idle::NothingLeft)))
    }

    fn chosen(&self, agent: &AgentId) -> Result<ObjectName, Option<Idle>> {
        let view = self.view();
        let mut workflows: Vec<&Workflow> = view.workflows_of(agent).map(|stored| &*stored.object).collect();
        let state = view.machine_of(agent).and_then(|hardware| view.machines.get(&hardware.object.name()));
        if let Some(state) = state.filter(|state| state.object.orders.len() > 1) {
            workflows.sort_by_cached_key(|workflow| {
                let name = workflow.name().to_string();
                state.object.orders.iter().position(|order| *order == name)
            });
        }
        let may = |workflow: &Workflow| may_run(&view, agent, workflow).map(drop);
        progress::choose(workflows.into_iter(), agent, may).map(|(workflow, _)| workflow.name())
    }

    /// Only if the machine's intent is to run this workflow. With its first action the order has begun.
    fn begins(&self, agent: &AgentId, workflow: &Workflow) -> Result<Transaction, NoWork> {
        let (place, rivals) = {
            let view = self.view();
            let place = may_run(&view, agent, workflow).map_err(|idle| NoWork::Idle(Some(idle)))?;
            (place, if progress::order_has_begun(workflow) { Vec::new() } else { rivals(&view, agent, workflow) })
        };
        let begun = Transaction { conditions: rivals, ..Transaction::default() };
        let Place::Machine(machine, stored) = place else { return Ok(begun) };
        if stored.object.begun {
            return Ok(begun.when(machine_key(&machine), stored.modified));
        }
        let mut state = api::MachineState::clone(&stored.object);
        intent::began(&mut state);
        Ok(begun.put(machine_key(&machine), stored.modified, encoded(&state)?))
    }

    /// An agent says for the first time that an action runs, or has ended. It does not begin what was called off since it
    /// was handed out; what it has done already is taken.
    fn begins_to_run(&self, workflow: &Workflow, report: &Report) -> Result<Transaction, ReportError> {
        if report.state == ActionState::Pending || !progress::is_waiting(workflow, report) {
            return Ok(Transaction::default());
        }
        match self.begins(&report.agent, workflow) {
            Ok(begun) => Ok(begun),
            Err(NoWork::Store(error)) => Err(error.into()),
            Err(_) if report.state == ActionState::Running => Err(Refused::NotOrdered.into()),
            Err(_) => Ok(Transaction::default()),
        }
    }

    /// Records an agent's report. It is durable when this returns. True if it contains news.
    ///
    /// # Errors
    /// When the report is refused or cannot be stored.
    pub async fn report(&self, name: &ObjectName, report: &Report) -> Result<bool, ReportError> {
        let recorded = self.change_with(name, |workflow| {
            let now = Timestamp::now();
            let refused = |refused: &ReportError| {
                warn!(
                    "workflow={name} agent={} action={} report {} refused: {refused}",
                    report.agent, report.action_id, report.state
                );
            };
            let begun = self.begins_to_run(workflow, report).inspect_err(refused)?;
            let news = workflow.take(&Command::Report(report), now).map_err(ReportError::from).inspect_err(refused)?;
            if !news {
                return Ok::<_, ReportError>((news, Transaction::default()));
            }
            if self.gets_lines_of(workflow, &report.agent) {
                self.own_log_server().into_iter().for_each(|own| workflow.name_log_server(own));
            }
            let mut others = self.conclude(workflow, now)?;
            let succeeded = report.state == ActionState::Success || progress::is_in_background(workflow, report);
            if succeeded && !workflow.status.state.is_some_and(WorkflowState::is_final) {
                others = others.and(self.with_machines(workflow, |_, _, state| intent::progressed(state))?);
            }
            Ok((news, if others.writes.is_empty() { begun } else { others }))
        });
        let (workflow, news) = recorded.await?.ok_or_else(|| ReportError::NoWorkflow(name.clone()))?;
        if news {
            announce(name, &workflow, report);
        } else if progress::is_in_background(&workflow, report) && report.state.is_final() {
            let (agent, action, state) = (&report.agent, &report.action_id, report.state);
            info!("workflow={name} agent={agent} action={action} ended {state} in the background: {}", report.message);
        }
        Ok(news)
    }

    /// Records that an agent watches a workflow. That counts only if it runs an action of it.
    pub(crate) fn agent_watches(&self, agent: &AgentId, name: &ObjectName) {
        if self.view().workflows.get(name).is_some_and(|stored| progress::runs_on(&stored.object) == Some(agent)) {
            self.0.agents.watches(agent);
        }
    }

    /// Workflows whose agent is lost or does not end its action in time. Only those are looked at whose time has come, or that
    /// have changed, or whose agent has called after a silence.
    pub(crate) fn neglected(&self, now: Timestamp) -> Vec<(ObjectName, Heard)> {
        let returned = self.0.agents.returned();
        let of_returned: Vec<ObjectName> = {
            let view = self.view();
            returned.iter().flat_map(|agent| view.workflows_of(agent)).map(|stored| stored.object.name()).collect()
        };
        let names = {
            let mut due = self.0.due();
            of_returned.iter().for_each(|name| due.changed(name));
            due.take(now)
        };
        let view = self.snapshot(); // after the names were taken: what changes from now on is due again
        let mut found = Vec::new();
        for name in names {
            let Some(stored) = view.workflows.get(&name) else { continue };
            let Some(agent) = progress::runs_on(&stored.object) else { continue };
            let heard = self.0.agents.heard(agent, self.started());
            if progress::is_silent(heard, now) {
                self.0.agents.expect(agent, self.started(), heard);
            }
            let next = if progress::is_neglected(&stored.object, heard, now) {
                found.push((name.clone(), heard));
                Some(now) // until its end is stored
            } else {
                progress::next_look(&stored.object, heard, now)
            };
            next.into_iter().for_each(|next| self.0.due().later(&name, next));
        }
        found
    }

    pub(crate) async fn look_after(&self, name: &ObjectName, heard: Heard, now: Timestamp) -> Result<(), StoreError> {
        self.by_itself(name, &Command::LookAfter(heard), now).await
    }

    pub(crate) async fn expire(&self, name: &ObjectName, now: Timestamp) -> Result<(), StoreError> {
        self.by_itself(name, &Command::Expire, now).await
    }

    /// What happens without anybody's doing. A phase that has no use for the command leaves it alone.
    async fn by_itself(&self, name: &ObjectName, command: &Command<'_>, now: Timestamp) -> Result<(), StoreError> {
        let changed = self.change_with(name, |workflow| {
            let news = workflow.take(command, now).unwrap_or(false);
            Ok::<_, StoreError>((news, if news { self.conclude(workflow, now)? } else { Transaction::default() }))
        });
        if let Some((workflow, true)) = changed.await? {
            warn!("workflow={name} {}", workflow.status.message);
        }
        Ok(())
    }

    /// What else is written with a change of a workflow: after its last action the work that follows, after its end what its
    /// machines boot.
    fn conclude(&self, workflow: &mut Acting, now: Timestamp) -> Result<Transaction, StoreError> {
        match workflow.status.state {
            Some(WorkflowState::Post) => {
                let closed = after_success(&self.view(), workflow);
                // The table lets every workflow take it that has come this far.
                let _ = workflow.take(&Command::Finish { netboot_closed: !closed.is_empty() }, now);
                let mut others = Transaction::default();
                for (hardware, object, modified) in closed {
                    others = others.put(key(Kind::Hardware, &hardware), modified, encoded(&object)?);
                }
                Ok(others.and(self.success(workflow, now)?))
            }
            Some(state) if state.is_final() => self.withdrawal(workflow),
            _ => Ok(Transaction::default()),
        }
    }
}

fn assignment(workflow: &Workflow, position: Position) -> Option<Assignment> {
    let task = workflow.status.tasks.get(position.task)?;
    let mut action = task.actions.get(position.action)?.clone();
    if let Some(left) = progress::time_left(&action, Timestamp::now()) {
        action.timeout = left.max(1); // 0 would mean no limit
    }
    let again = if position.again { " again" } else { "" };
    info!(
        "workflow={} agent={} action={} handed out{again}, attempt {}",
        workflow.name(),
        task.agent_id,
        action.name,
        action.attempts
    );
    let next_image = progress::next_image(workflow, position).map(str::to_owned);
    Some(Assignment { workflow: workflow.name(), task: task.clone(), action, next_image })
}

fn announce(name: &ObjectName, workflow: &Workflow, report: &Report) {
    let status = &workflow.status;
    let actions = || status.tasks.iter().flat_map(|task| &task.actions);
    let Some(action) = actions().find(|action| action.id == report.action_id) else {
        return info!("workflow={name} agent={} {}", report.agent, status.message); // it runs again with another id
    };
    info!("workflow={name} agent={} action={} {} {}", report.agent, action.name, action.state, action.execution_duration);
    if status.state.is_some_and(|state| state.is_final()) {
        info!("workflow={name} {}: {}", status.state.map_or("", |state| state.as_str()), status.message);
    }
}
