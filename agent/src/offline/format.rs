//! The forms of a workflow file: a rendered template (`tasks`), an object with `actions`, or a list of actions. Every
//! mistake names its position.

use std::collections::BTreeMap;

use proto::{ActionResponse, Namespaces};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "version")]
    _version: Value,
    /// Ignored, because only a server enforces it. Here each action has a limit.
    #[serde(default, rename = "global_timeout")]
    _global_timeout: Value,
    #[serde(default)]
    tasks: Vec<Task>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    #[serde(default)]
    name: String,
    /// Ignored, because the agent that reads the file is the worker.
    #[serde(default, rename = "worker")]
    _worker: String,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    environment: Environment,
    actions: Vec<Action>,
}

/// The names of a template. The aliases are those of tink-agent's file transport.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    image: String,
    #[serde(default, alias = "args")]
    command: Vec<String>,
    /// tink-agent replaces the entrypoint with it. This agent does not support that.
    #[serde(default)]
    cmd: String,
    /// The limit in seconds. 0 means no limit.
    #[serde(default, alias = "timeoutSeconds")]
    timeout: i64,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default, alias = "env")]
    environment: Environment,
    #[serde(default)]
    pid: Option<String>,
    #[serde(default)]
    namespaces: Option<Shared>,
    #[serde(default)]
    retries: u32,
    /// A server's names for the action, which a file does not need.
    #[serde(default, rename = "agent_id")]
    _agent: String,
    #[serde(default, rename = "task_id")]
    _task: String,
    #[serde(default, rename = "workflow_id")]
    _workflow: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    #[serde(default)]
    network: Option<String>,
    #[serde(default)]
    pid: Option<String>,
}

/// `KEY: value`, a list of `{key, value}`, or a list of `KEY=value`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Environment {
    Map(BTreeMap<String, Value>),
    List(Vec<Variable>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Variable {
    Pair { key: String, value: Value },
    Text(String),
}

impl Default for Environment {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Environment {
    fn entries(&self) -> Result<Vec<(String, String)>, String> {
        let scalar = |key: &str, value: &Value| match value {
            Value::String(text) => Ok((key.to_owned(), text.clone())),
            Value::Null => Ok((key.to_owned(), String::new())),
            Value::Bool(_) | Value::Number(_) => Ok((key.to_owned(), value.to_string())),
            Value::Array(_) | Value::Object(_) => Err(format!("environment {key} must be a text")),
        };
        match self {
            Self::Map(map) => map.iter().map(|(key, value)| scalar(key, value)).collect(),
            Self::List(list) => list
                .iter()
                .map(|variable| match variable {
                    Variable::Pair { key, value } => scalar(key, value),
                    Variable::Text(text) => match text.split_once('=') {
                        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                        None => Err(format!("environment {text:?} is not KEY=value")),
                    },
                })
                .collect(),
        }
    }
}

/// The actions of a workflow file, in order. `name` is the workflow's name if the file has none.
pub fn actions(file: &Value, name: &str) -> Result<Vec<ActionResponse>, String> {
    let document = match file {
        Value::Array(_) => serde_json::from_value(serde_json::json!({ "actions": file })),
        _ => Document::deserialize(file),
    };
    let mut document = document.map_err(|error| error.to_string())?;
    let workflow = if document.name.is_empty() { name.to_owned() } else { std::mem::take(&mut document.name) };
    let loose = Task {
        name: "file".to_owned(),
        _worker: String::new(),
        volumes: Vec::new(),
        environment: Environment::default(),
        actions: std::mem::take(&mut document.actions),
    };
    let mut found = Vec::new();
    for task in document.tasks.iter().chain([&loose]) {
        for action in &task.actions {
            let number = found.len() + 1;
            let action = wire(&workflow, task, action, number);
            found.push(action.map_err(|mistake| format!("action {number}: {mistake}"))?);
        }
    }
    if found.is_empty() { Err("the file has no action".to_owned()) } else { Ok(found) }
}

fn wire(workflow: &str, task: &Task, action: &Action, number: usize) -> Result<ActionResponse, String> {
    if !action.cmd.is_empty() {
        return Err("cmd would replace the image's entrypoint, which is not supported: use command".to_owned());
    }
    if action.image.is_empty() {
        return Err("the action has no image".to_owned());
    }
    // The action's value wins. The variables are sorted, as from a server.
    let mut environment: BTreeMap<String, String> = task.environment.entries()?.into_iter().collect();
    environment.extend(action.environment.entries()?);
    if action.retries > 0 {
        environment.insert("THIMBLE_RETRIES".to_owned(), action.retries.to_string());
    }
    let or = |text: &str, other: String| if text.is_empty() { other } else { text.to_owned() };
    Ok(ActionResponse {
        workflow_id: Some(workflow.to_owned()),
        task_id: Some(or(&task.name, "task".to_owned())),
        action_id: Some(or(&action.id, format!("action-{number}"))),
        name: Some(or(&action.name, format!("action {number}"))),
        image: Some(action.image.clone()),
        timeout: Some(action.timeout),
        command: action.command.clone(),
        volumes: task.volumes.iter().chain(&action.volumes).cloned().collect(),
        environment: environment.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        pid: action.pid.clone(),
        namespaces: action
            .namespaces
            .as_ref()
            .map(|shared| Namespaces { network: shared.network.clone(), pid: shared.pid.clone() }),
        ..ActionResponse::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rendered_template_gives_its_actions_with_the_values_of_their_task() {
        let template = json!({
            "version": "0.1", "name": "debian", "global_timeout": 600,
            "tasks": [{
                "name": "os", "worker": "02:00:00:00:00:01", "volumes": ["/dev:/dev"], "environment": { "A": "task", "B": 1 },
                "actions": [
                    { "name": "stream", "image": "r/image2disk", "timeout": 90, "environment": { "A": "action" } },
                    { "name": "reboot", "image": "r/reboot", "volumes": ["/worker:/worker"], "pid": "host" },
                ],
            }],
        });
        let found = actions(&template, "file").unwrap();
        assert_eq!(found.len(), 2);
        let (first, second) = (&found[0], &found[1]);
        assert_eq!((first.workflow_id(), first.task_id(), first.name()), ("debian", "os", "stream"));
        assert_eq!((first.timeout(), first.environment.join(" ")), (90, "A=action B=1".to_owned()));
        assert_eq!((second.volumes.join(" "), second.pid()), ("/dev:/dev /worker:/worker".to_owned(), "host"));
        assert_ne!(first.action_id, second.action_id);
    }

    #[test]
    fn a_plain_list_may_use_the_names_of_tink_agents_file() {
        let list = json!([{
            "id": "7", "name": "say", "image": "busybox", "args": ["echo", "x"], "timeoutSeconds": 5, "retries": 2,
            "env": [{ "key": "K", "value": "v" }, "L=w"], "namespaces": { "network": "none" }, "agent_id": "m",
        }]);
        let action = actions(&list, "offline").unwrap().remove(0);
        assert_eq!((action.workflow_id(), action.action_id(), action.timeout()), ("offline", "7", 5));
        assert_eq!(action.environment, ["K=v", "L=w", "THIMBLE_RETRIES=2"]);
        assert_eq!((action.command.join(" "), action.namespaces.unwrap().network()), ("echo x".to_owned(), "none"));
    }

    #[test]
    fn mistakes_are_named() {
        for (file, want) in [
            (json!([]), "no action"),
            (json!({ "tasks": [] }), "no action"),
            (json!([{ "name": "x" }]), "image"),
            (json!([{ "image": "" }]), "action 1: the action has no image"),
            (json!([{ "image": "i" }, { "image": "i", "cmd": "/x" }]), "action 2: cmd"),
            (json!([{ "image": "i", "comand": [] }]), "comand"),
            (json!([{ "image": "i", "env": ["K"] }]), "\"K\" is not KEY=value"),
            (json!([{ "image": "i", "environment": { "K": [1] } }]), "environment K"),
            (json!("text"), "invalid type"),
        ] {
            let mistake = actions(&file, "f").unwrap_err();
            assert!(mistake.contains(want), "{want:?} is missing in {mistake:?}");
        }
    }
}
