//! The first generation of the workflow service, with contexts and lists of actions instead of one action at a time. The
//! worker's loop is that of the second generation. Requests and reports are translated here.

use proto::action_status_request::StateType;
use proto::gen1::{
    Client, State, WorkflowAction, WorkflowActionStatus, WorkflowActionsRequest, WorkflowContext, WorkflowContextRequest,
};
use proto::{ActionRequest, ActionResponse, ActionStatusRequest};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::action::Action;
use crate::outcome::Reason;

/// The translation. Old templates rely on their worker to put its registry before every image, so this does the same.
#[derive(Debug, Clone)]
pub struct Dialect {
    registry: String,
    /// The action that the server already has as RUNNING.
    running: Option<String>,
    /// The reactions if the latest action does not succeed.
    reactions: Reactions,
}

/// Commands for a second container with the action's image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reactions {
    action: String,
    on_timeout: Vec<String>,
    on_failure: Vec<String>,
}

impl Reactions {
    /// An action that never ran has no reaction.
    fn to(&self, action: &str, failure: &Reason) -> Option<(&'static str, &[String])> {
        let (name, command) = match failure {
            Reason::Timeout { .. } => ("on-timeout", &self.on_timeout),
            Reason::NonZeroExit { .. } | Reason::OomKilled { .. } | Reason::Said { .. } => ("on-failure", &self.on_failure),
            _ => return None,
        };
        (self.action == action && !command.is_empty()).then_some((name, command.as_slice()))
    }
}

impl Dialect {
    pub fn new(registry: &str) -> Self {
        Self { registry: registry.to_owned(), running: None, reactions: Reactions::default() }
    }

    /// The next action of the first workflow that waits for this agent.
    pub async fn get_action(&mut self, channel: Channel, request: &ActionRequest) -> Result<ActionResponse, Status> {
        let mut client = Client::new(channel);
        let worker = request.agent_id.clone().unwrap_or_default();
        let mut contexts = client.contexts(WorkflowContextRequest { worker_id: worker.clone() }).await?;
        while let Some(context) = contexts.message().await? {
            if !is_open(&context) {
                continue;
            }
            let workflow_id = context.workflow_id.clone();
            let list = client.actions(WorkflowActionsRequest { workflow_id }).await?.action_list;
            if let Some((number, action)) = current(&context, &list, &worker) {
                let (on_timeout, on_failure) = (action.on_timeout.clone(), action.on_failure.clone());
                let action = in_new_words(&context, number, action, &self.registry);
                self.reactions = Reactions { action: action.action_id().to_owned(), on_timeout, on_failure };
                self.running = (context.current_action_state() == State::Running).then(|| action.action_id().to_owned());
                return Ok(action);
            }
        }
        Err(Status::not_found("no workflow waits for this worker"))
    }

    /// The action that follows a failed one: the same with another command.
    pub fn reaction(&self, action: &Action, failure: &Reason) -> Option<Action> {
        let (name, command) = self.reactions.to(&action.id, failure)?;
        Some(Action { name: format!("{} ({name})", action.name), command: command.to_vec(), ..action.clone() })
    }

    pub async fn report(&mut self, channel: Channel, report: &ActionStatusRequest) -> Result<(), Status> {
        if report.action_state() == StateType::Running && self.running == report.action_id {
            return Ok(()); // a second report would restart the action's time at the server
        }
        Client::new(channel).report(in_old_words(report)).await
    }
}

/// Old servers give actions no id. The agent makes one, which says where to report even after a restart.
const ID: &str = "gen1:";

pub fn is_old_report(report: &ActionStatusRequest) -> bool {
    is_old_id(report.action_id())
}

/// Whether the agent made this id for an action of an old server.
pub fn is_old_id(id: &str) -> bool {
    id.starts_with(ID)
}

/// Whether the server lacks the second generation.
pub fn is_old(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}

/// Whether the workflow may continue. A failed workflow stays failed.
fn is_open(context: &WorkflowContext) -> bool {
    !matches!(context.current_action_state(), State::Failed | State::Timeout)
}

/// The context names the first action that has not succeeded. Even older servers named the last one that had.
fn current<'l>(context: &WorkflowContext, list: &'l [WorkflowAction], worker: &str) -> Option<(usize, &'l WorkflowAction)> {
    let named = |action: &WorkflowAction| action.task_name == context.current_task && action.name == context.current_action;
    let index = usize::try_from(context.current_action_index).ok();
    let at = index.filter(|at| list.get(*at).is_some_and(named)).or_else(|| list.iter().position(named)).or(index)?;
    let at = if context.current_action_state() == State::Success { at + 1 } else { at };
    let action = list.get(at)?;
    (action.worker_id.is_empty() || action.worker_id == worker).then_some((at, action))
}

fn in_new_words(context: &WorkflowContext, number: usize, action: &WorkflowAction, registry: &str) -> ActionResponse {
    // In that generation the actions of a workflow share a folder of the worker.
    let shared = "workflow:/workflow".to_owned();
    ActionResponse {
        workflow_id: Some(context.workflow_id.clone()),
        task_id: Some(action.task_name.clone()),
        agent_id: Some(action.worker_id.clone()),
        action_id: Some(format!("{ID}{}:{number}", context.workflow_id)),
        name: Some(action.name.clone()),
        image: Some(prefixed(&action.image, registry)),
        timeout: Some(action.timeout),
        command: action.command.clone(),
        volumes: std::iter::once(shared).chain(action.volumes.iter().cloned()).collect(),
        environment: action.environment.clone(),
        pid: Some(action.pid.clone()),
        namespaces: None,
        background: None,
    }
}

fn prefixed(image: &str, registry: &str) -> String {
    let with = format!("{registry}/");
    if registry.is_empty() || image.starts_with(&with) { image.to_owned() } else { with + image }
}

fn in_old_words(report: &ActionStatusRequest) -> WorkflowActionStatus {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let state = match report.action_state() {
        StateType::Unspecified | StateType::Pending => State::Pending,
        StateType::Running => State::Running,
        StateType::Failed => State::Failed,
        StateType::Timeout => State::Timeout,
        StateType::Success => State::Success,
    };
    let second = |time: Option<proto::Timestamp>| time.map_or(0, |time| time.seconds);
    WorkflowActionStatus {
        workflow_id: text(&report.workflow_id),
        task_name: text(&report.task_id),
        action_name: text(&report.action_name),
        action_status: state.into(),
        seconds: second(report.execution_stop).saturating_sub(second(report.execution_start)).max(0),
        message: report.message.as_ref().map(|message| text(&message.message)).unwrap_or_default(),
        created_at: report.execution_stop,
        worker_id: text(&report.agent_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(action: &str, index: i64, state: State) -> WorkflowContext {
        WorkflowContext {
            workflow_id: "ns/w".into(),
            current_task: "t".into(),
            current_action: action.into(),
            current_action_index: index,
            current_action_state: state.into(),
            ..WorkflowContext::default()
        }
    }

    fn action(name: &str, worker: &str) -> WorkflowAction {
        WorkflowAction { task_name: "t".into(), name: name.into(), worker_id: worker.into(), ..WorkflowAction::default() }
    }

    #[test]
    fn the_context_determines_the_next_action() {
        let list = [action("a", "m"), action("b", "m"), action("c", "other")];
        for (case, context, want) in [
            ("nothing was done", context("a", 0, State::Pending), Some("a")),
            ("one was interrupted", context("b", 1, State::Running), Some("b")),
            ("the last success is named", context("a", 0, State::Success), Some("b")),
            ("the index counts within a task", context("b", 7, State::Pending), Some("b")),
            ("names that are missing", context("", 1, State::Pending), Some("b")),
            ("another worker's turn", context("b", 1, State::Success), None),
            ("all is done", context("c", 2, State::Success), None),
            ("a negative index", context("", -1, State::Pending), None),
        ] {
            assert_eq!(current(&context, &list, "m").map(|(_, action)| action.name.as_str()), want, "{case}");
        }
        for (state, open) in [(State::Pending, true), (State::Success, true), (State::Failed, false), (State::Timeout, false)] {
            assert_eq!(is_open(&context("a", 0, state)), open, "{state:?}");
        }
    }

    #[test]
    fn a_reaction_fits_the_kind_of_failure_and_the_action() {
        let words = |text: &str| vec![text.to_owned()];
        let reactions = Reactions { action: "a".into(), on_timeout: words("slow"), on_failure: words("broken") };
        let timeout = Reason::Timeout { limit: std::time::Duration::from_secs(1), phase: Default::default() };
        let said = Reason::Said { reason: "DiskNotFound".into(), message: String::new(), exit_code: 1 };
        for (failure, want) in [
            (&timeout, Some(("on-timeout", "slow"))),
            (&Reason::NonZeroExit { exit_code: 1 }, Some(("on-failure", "broken"))),
            (&said, Some(("on-failure", "broken"))),
            (&Reason::ImagePull("away".into()), None),
            (&Reason::Policy("no".into()), None),
            (&Reason::Cancelled("why".into()), None),
        ] {
            let follows = reactions.to("a", failure).map(|(name, command)| (name, command[0].as_str()));
            assert_eq!(follows, want, "{failure:?}");
            assert_eq!(reactions.to("b", failure), None, "another action");
        }
        assert_eq!(Reactions { on_timeout: vec![], ..reactions }.to("a", &timeout), None, "no reaction was given");
    }

    #[test]
    fn the_registry_comes_before_each_image() {
        for (image, registry, want) in [
            ("writefile:v1", "10.0.0.1", "10.0.0.1/writefile:v1"),
            ("10.0.0.1/writefile:v1", "10.0.0.1", "10.0.0.1/writefile:v1"),
            ("quay.io/x/y:z", "", "quay.io/x/y:z"),
        ] {
            assert_eq!(prefixed(image, registry), want);
        }
    }

    #[test]
    fn an_old_report_has_seconds_and_the_old_numbers_of_states() {
        let time = |seconds| Some(proto::Timestamp { seconds, nanos: 0 });
        let report = ActionStatusRequest {
            action_state: Some(StateType::Success.into()),
            execution_start: time(100),
            execution_stop: time(107),
            task_id: Some("t".into()),
            action_name: Some("a".into()),
            ..ActionStatusRequest::default()
        };
        let old = in_old_words(&report);
        assert_eq!((old.seconds, old.action_status, old.task_name.as_str(), old.action_name.as_str()), (7, 4, "t", "a"));
    }
}
