//! One action as the server describes it. It is checked before anything runs.

mod wishes;

use std::time::Duration;

use proto::ActionResponse;
use serde::{Deserialize, Serialize};

pub use wishes::{BadWish, Network, Wishes, is_wish};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// `namespace/name`
    pub workflow: String,
    pub task: String,
    pub id: String,
    pub name: String,
    pub image: String,
    /// The time limit, or `None` for no limit. Tinkerbell's agent takes 0 as an immediate end, which helps no template.
    pub timeout: Option<Duration>,
    pub command: Vec<String>,
    /// Bind strings in Docker's syntax.
    pub volumes: Vec<String>,
    pub environment: Environment,
    pub pid: String,
    pub network: String,
    /// The image that the server expects to be needed next. It is only a hint.
    #[serde(default)]
    pub next_image: Option<String>,
    /// It has succeeded once it runs, and other actions run meanwhile.
    #[serde(default)]
    pub background: bool,
}

/// The variables of an action, each as `KEY=VALUE`, and the wishes among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Environment {
    entries: Vec<String>,
    wishes: Result<Wishes, BadWish>,
}

impl Environment {
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    pub fn wishes(&self) -> Result<&Wishes, &BadWish> {
        self.wishes.as_ref()
    }
}

impl From<Vec<String>> for Environment {
    fn from(entries: Vec<String>) -> Self {
        let wishes = Wishes::of(&entries);
        Self { entries, wishes }
    }
}

impl From<Environment> for Vec<String> {
    fn from(environment: Environment) -> Self {
        environment.entries
    }
}

/// Without these fields the agent could not report, so the answer does not count as an action.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer has no {0}")]
pub struct Incomplete(&'static str);

/// What an action sees of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The machine's network.
    Machine,
    /// An empty one, as it asks for.
    Nothing,
    /// An empty one, because it is unprivileged and asks for none.
    NothingUnasked,
}

impl Action {
    /// From the machine's address an action could speak to the server as its agent does. So an unprivileged one has to ask.
    pub fn reach(&self, wishes: &Wishes) -> Reach {
        let asks = self.network == "host" || wishes.network == Some(Network::Host) || wishes.low_ports;
        match (self.network.as_str(), wishes.network) {
            ("none", _) | (_, Some(Network::None)) => Reach::Nothing,
            _ if wishes.privileged || asks => Reach::Machine,
            _ => Reach::NothingUnasked,
        }
    }

    pub fn from_wire(wire: ActionResponse) -> Result<Self, Incomplete> {
        let needed = |field: Option<String>, name| field.filter(|v| !v.is_empty()).ok_or(Incomplete(name));
        let namespaces = wire.namespaces.unwrap_or_default();
        let seconds = u64::try_from(wire.timeout.unwrap_or_default()).unwrap_or(0);
        let pid = namespaces.pid.filter(|p| !p.is_empty()).or(wire.pid).unwrap_or_default();
        Ok(Self {
            workflow: needed(wire.workflow_id, "workflow id")?,
            task: needed(wire.task_id, "task id")?,
            id: needed(wire.action_id, "action id")?,
            name: wire.name.unwrap_or_default(),
            image: wire.image.unwrap_or_default(),
            timeout: (seconds > 0).then(|| Duration::from_secs(seconds)),
            command: wire.command,
            volumes: wire.volumes,
            environment: wire.environment.into(),
            pid,
            network: namespaces.network.unwrap_or_default(),
            next_image: None,
            background: wire.background.unwrap_or_default(),
        })
    }

    /// The action's name in log lines.
    pub fn title(&self) -> String {
        format!("workflow {} action {}", self.workflow, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> ActionResponse {
        ActionResponse {
            workflow_id: Some("default/w".into()),
            task_id: Some("t".into()),
            action_id: Some("a".into()),
            ..ActionResponse::default()
        }
    }

    #[test]
    fn zero_missing_and_negative_timeouts_mean_no_limit() {
        for timeout in [None, Some(0), Some(-1)] {
            assert_eq!(Action::from_wire(ActionResponse { timeout, ..wire() }).unwrap().timeout, None);
        }
        let action = Action::from_wire(ActionResponse { timeout: Some(90), ..wire() }).unwrap();
        assert_eq!(action.timeout, Some(Duration::from_secs(90)));
    }

    #[test]
    fn namespaces_beat_the_deprecated_pid() {
        let namespaces = proto::Namespaces { pid: Some("host".into()), network: None };
        let both = ActionResponse { pid: Some("old".into()), namespaces: Some(namespaces), ..wire() };
        assert_eq!(Action::from_wire(both).unwrap().pid, "host");
        let old = ActionResponse { pid: Some("host".into()), ..wire() };
        assert_eq!(Action::from_wire(old).unwrap().pid, "host");
    }

    #[test]
    fn an_answer_without_ids_is_refused_by_field() {
        let empty = ActionResponse { action_id: Some(String::new()), ..wire() };
        assert_eq!(Action::from_wire(empty).unwrap_err().to_string(), "the server's answer has no action id");
    }
}
