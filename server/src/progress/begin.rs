//! The start of a workflow, with its rendered tasks and before anything runs.

use jiff::Timestamp;
use model::{AgentId, CurrentState, Document, Workflow, WorkflowAction, WorkflowState, WorkflowStatus, WorkflowTask};
use model::{FailureWord, OnFailure, condition};

use super::evolve::first_id;
use super::failure::without_commands;
use super::happened::{Fact, Happened, bounded};

/// Puts the rendered tasks into a workflow that has not started. `new_id` gives each task and action its ULID.
pub fn begin(workflow: &mut Workflow, document: Document, mut new_id: impl FnMut() -> String) {
    let mut task = |task: model::Task| WorkflowTask {
        id: new_id(),
        name: task.name,
        agent_id: AgentId(task.worker),
        volumes: task.volumes,
        environment: task.environment,
        timeout: task.timeout,
        actions: task.actions.into_iter().map(|action| pending(action, new_id())).collect(),
    };
    let status = &mut workflow.status;
    status.tasks = document.tasks.into_iter().map(&mut task).collect();
    status.agent_id = first_agent(&status.tasks);
    status.global_timeout = document.global_timeout;
    status.template_rendering = Some("successful".to_owned());
    status.state = Some(WorkflowState::Pending);
    status.message.clear();
}

/// The agent of the first action that is not skipped.
fn first_agent(tasks: &[WorkflowTask]) -> Option<AgentId> {
    let runs = |task: &&WorkflowTask| task.actions.iter().any(|action| !action.skip);
    tasks.iter().find(runs).or(tasks.first()).map(|task| task.agent_id.clone())
}

fn pending(action: model::Action, id: String) -> WorkflowAction {
    let continues = action.on_failure == Some(OnFailure::Word(FailureWord::Continue));
    let (on_failure, on_timeout) = match action.on_failure {
        Some(OnFailure::Command(command)) => (command.clone(), command),
        _ => (action.failure_command, action.timeout_command),
    };
    WorkflowAction {
        id,
        skip: action.condition.as_deref().and_then(condition) == Some(false),
        retries: action.retries,
        continues,
        background: action.background,
        on_failure,
        on_timeout,
        timeout_of_all: action.timeout_of_all,
        name: action.name,
        image: action.image,
        timeout: action.timeout,
        command: action.command,
        volumes: action.volumes,
        pid: action.pid,
        namespaces: action.namespaces,
        environment: action.environment,
        ..WorkflowAction::default()
    }
}

/// What rendering has changed in a workflow, as an event, or `None` if nothing changed. The tasks are not part of the log:
/// they are its starting point.
#[must_use]
pub fn prepared(old: Option<&Workflow>, new: &mut Workflow, now: Timestamp) -> Option<Happened> {
    new.status.message = bounded(&new.status.message);
    if old.is_some_and(|old| old.status == new.status) {
        return None;
    }
    let status = &new.status;
    Some(Happened {
        at: now,
        fact: Fact::Prepared {
            state: status.state,
            actions: status.tasks.iter().map(|task| task.actions.len()).sum(),
            message: status.message.clone(),
            rendering: status.template_rendering.clone(),
            ordered: status.ordered,
            boot_options: status.boot_options.clone(),
        },
    })
}

/// The workflow as it was rendered, before the events of its log.
#[must_use]
pub fn beginning(workflow: &Workflow) -> Workflow {
    let mut tasks = workflow.status.tasks.clone();
    tasks.iter_mut().for_each(|task| without_commands(task, 0));
    for action in tasks.iter_mut().flat_map(|task| &mut task.actions) {
        *action = WorkflowAction {
            id: first_id(&action.id).to_owned(),
            state: model::ActionState::Pending,
            execution_start: None,
            execution_stop: None,
            execution_duration: String::new(),
            message: String::new(),
            attempts: 0,
            retried: 0,
            passed_over: false,
            first_start: None,
            ..std::mem::take(action)
        };
    }
    let agent_id = first_agent(&tasks);
    let global_timeout = workflow.status.global_timeout;
    Workflow { status: WorkflowStatus { tasks, agent_id, global_timeout, ..WorkflowStatus::default() }, ..workflow.clone() }
}

/// The position of a workflow: this action of this task.
pub(super) fn current_state(task: &WorkflowTask, action: usize) -> Option<CurrentState> {
    let action = task.actions.get(action)?;
    Some(CurrentState {
        agent_id: task.agent_id.clone(),
        task_id: task.id.clone(),
        action_id: action.id.clone(),
        state: action.state,
        action_name: action.name.clone(),
        task_name: task.name.clone(),
    })
}
