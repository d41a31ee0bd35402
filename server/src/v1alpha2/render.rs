//! Workflow + Tasks + Hardware -> the tasks that run. Pure: the same input gives the same result.
//!
//! The Workflow is rendered first, once for each of its tasks, because `.hardware` is that of the task. Then the Task is
//! rendered. In both, `vars` come first, then the environment and the volumes, then the rest. Each part sees the parts
//! before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use model::v1alpha2::{Extra, Places, Task, TaskSpec, Workflow, WorkflowTask, is_command};
use model::{Document, Hardware, Mistake, Namespaces, condition, is_image};
use serde_json::{Value, json};

use super::values::{Rest, Wrong, has_templates};
use crate::references::References;
use crate::template::hardware_data;

/// The most tasks of one Workflow.
pub const MAX_TASKS: usize = 256;

/// The objects that one entry of `spec.tasks` names, and what its Task may read.
pub struct Bound<'b> {
    pub task: &'b Task,
    pub hardware: Option<&'b Hardware>,
    pub references: References,
}

/// Renders the workflow. `bound` has its tasks, in order.
///
/// # Errors
/// The mistakes, with their positions if the file is known.
pub fn render(workflow: &Workflow, references: &References, bound: &[Bound<'_>]) -> Result<Document, Vec<Mistake>> {
    let of_workflow = format!("Workflow {}", workflow.name());
    let mut document = Document {
        name: workflow.metadata.name.clone(),
        global_timeout: workflow.spec.timeout_seconds.unwrap_or(0),
        tasks: Vec::new(),
    };
    if bound.len() > MAX_TASKS {
        let wrong = Wrong::at("spec.tasks", format!("{} tasks; at most {MAX_TASKS} are allowed", bound.len()));
        return Err(vec![wrong.mistake(&of_workflow, &Places::default())]);
    }
    let rendered = rendered(workflow, references, bound).map_err(|wrong| vec![wrong])?;
    let mut mistakes = Vec::new();
    let mut names = HashMap::<&str, u32>::new();
    for (bound, (place, task)) in bound.iter().zip(rendered) {
        let name = bound.task.metadata.name.as_str();
        let count = names.entry(name).or_default();
        *count += 1;
        let name = if *count > 1 { format!("{name}-{count}") } else { name.to_owned() };
        let of_task = format!("Task {} for agent {}", bound.task.name(), place.agent_id);
        let mut wrong = |path: String, message: String| {
            let wrong = Wrong::at(path, message);
            mistakes.push(wrong.mistake(&of_task, &bound.task.spec.places));
        };
        judge(&task, &mut wrong);
        document.tasks.push(assembled(name, place, task));
    }
    let skipped = |action: &model::Action| action.condition.as_deref().and_then(condition) == Some(false);
    if mistakes.is_empty() && document.tasks.iter().flat_map(|task| &task.actions).all(skipped) {
        let message = "no action would run, because the `if` of each one is false";
        mistakes.push(Wrong::at("spec.tasks", message).mistake(&of_workflow, &workflow.spec.places));
    }
    if mistakes.is_empty() { Ok(document) } else { Err(mistakes) }
}

/// Each entry of the Workflow's tasks with its Task, both rendered.
fn rendered(workflow: &Workflow, references: &References, bound: &[Bound<'_>]) -> Result<Vec<(Rendered, TaskSpec)>, Mistake> {
    let encode = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let whole = encode(serde_json::to_value(workflow));
    let jobs: Vec<Job> = bound
        .iter()
        .enumerate()
        .map(|(index, bound)| Job {
            index,
            task: encode(serde_json::to_value(bound.task)),
            hardware: bound.hardware.map(hardware_data),
            references: bound.references.data(),
        })
        .collect();
    let plain = !has_templates(&whole) && !jobs.iter().any(|job| has_templates(&job.task));
    let now = Timestamp::now().as_second();
    let of_workflow = references.data();
    let work = move |stop: Arc<AtomicBool>| {
        let mut rest = Rest::new(stop, now);
        jobs.into_iter().map(|job| job.render(whole.clone(), &of_workflow, &mut rest)).collect::<Result<Vec<_>, _>>()
    };
    let done = if plain {
        work(Arc::default())
    } else {
        let limits = gotemplate::Limits::default();
        gotemplate::on_a_thread(&limits, work).unwrap_or_else(|message| Err((None, Wrong::at("spec", message))))
    };
    done.map_err(|(task, wrong)| {
        let of_task = task.and_then(|index| bound.get(index));
        let (mut mistake, references) = match of_task {
            Some(bound) => (wrong.mistake(&format!("Task {}", bound.task.name()), &bound.task.spec.places), &bound.references),
            None => (wrong.mistake(&format!("Workflow {}", workflow.name()), &workflow.spec.places), references),
        };
        mistake.hint = references.hint(&mistake.message);
        mistake
    })
}

struct Job {
    index: usize,
    task: Value,
    hardware: Option<Value>,
    references: Value,
}

/// The values that a task of the Workflow passes to its Task.
struct Rendered {
    agent_id: String,
    timeout: i64,
    globals: Extra,
    extra: Extra,
}

/// A mistake in the Task with this index, or in the Workflow.
type Failed = (Option<usize>, Wrong);

impl Job {
    fn render(self, mut workflow: Value, references: &Value, rest: &mut Rest) -> Result<(Rendered, TaskSpec), Failed> {
        let of_task = |wrong| (Some(self.index), wrong);
        let entry = format!("/spec/tasks/{}", self.index);
        let parts = ["/spec/vars".to_owned(), "/spec/globals".to_owned(), entry.clone()];
        phases(&mut workflow, &parts, rest, &|object| self.data("workflow", object, references))
            .map_err(|wrong| (None, wrong))?;
        let place: WorkflowTask = decoded(workflow.pointer(&entry)).map_err(|wrong| (None, wrong))?;
        let globals: Option<Extra> =
            workflow.pointer("/spec/globals").map(|part| decoded(Some(part))).transpose().map_err(|wrong| (None, wrong))?;
        let (globals, extra) = (globals.unwrap_or_default(), place.extra.unwrap_or_default());
        if place.agent_id.trim().is_empty() {
            return Err((None, Wrong::at(format!("spec.tasks[{}].agentID", self.index), "renders to nothing")));
        }
        // The task's values are beside the global ones, so that a Task that several entries name can find them.
        let values: BTreeMap<&String, &String> = globals.template_map.iter().chain(&extra.template_map).collect();
        if let Some(spec) = workflow.pointer_mut("/spec").and_then(Value::as_object_mut) {
            let globals = spec.entry("globals").or_insert_with(|| json!({}));
            if let Some(globals) = globals.as_object_mut() {
                globals.insert("templateMap".to_owned(), json!(values));
            }
        }
        let mut task = self.task.clone();
        let parts = ["/spec/vars", "/spec/env", "/spec/volumes", "/spec/actions"].map(str::to_owned);
        phases(&mut task, &parts, rest, &|object| {
            let mut data = self.data("task", object, &self.references);
            data["workflow"] = workflow.clone();
            data
        })
        .map_err(of_task)?;
        let spec = decoded(task.pointer("/spec")).map_err(of_task)?;
        let timeout = place.timeout_seconds.unwrap_or(0);
        Ok((Rendered { agent_id: place.agent_id, timeout, globals, extra }, spec))
    }

    fn data(&self, name: &str, object: &Value, references: &Value) -> Value {
        let mut data = json!({"references": references, "hardware": self.hardware.as_ref().unwrap_or(&json!({}))});
        data[name] = object.clone();
        data
    }
}

/// Renders one part after the other. The data of each part comes from the object as rendered so far.
fn phases(object: &mut Value, parts: &[String], rest: &mut Rest, data: &dyn Fn(&Value) -> Value) -> Result<(), Wrong> {
    for part in parts {
        let Some(mut value) = object.pointer(part).filter(|part| has_templates(part)).cloned() else { continue };
        rest.render(&mut value, &path(part), &data(object))?;
        if let Some(place) = object.pointer_mut(part) {
            *place = value;
        }
    }
    Ok(())
}

/// `/spec/tasks/0` as `spec.tasks[0]`.
fn path(pointer: &str) -> String {
    pointer.split('/').filter(|step| !step.is_empty()).fold(String::new(), |path, step| match step.parse::<usize>() {
        Ok(index) => format!("{path}[{index}]"),
        Err(_) if path.is_empty() => step.to_owned(),
        Err(_) => format!("{path}.{step}"),
    })
}

fn decoded<T: serde::de::DeserializeOwned>(part: Option<&Value>) -> Result<T, Wrong> {
    serde_json::from_value(part.cloned().unwrap_or_default()).map_err(|error| Wrong::at("spec", error.to_string()))
}

/// Checks that need the rendered values.
fn judge(task: &TaskSpec, wrong: &mut dyn FnMut(String, String)) {
    let mut seen = HashSet::new();
    for (index, action) in task.actions.iter().enumerate() {
        let mut wrong = |key: &str, message: String| wrong(format!("spec.actions[{index}].{key}"), message);
        if !(1..200).contains(&action.name.chars().count()) {
            wrong("name", "a name has 1 to 199 characters".to_owned());
        }
        if !seen.insert(&action.name) {
            wrong("name", format!("the name {:?} is used twice", action.name));
        }
        if !is_image(&action.image) {
            wrong("image", format!("{:?} is not the name of an image", action.image));
        }
        if let Some(text) = action.condition.as_deref().filter(|text| condition(text).is_none()) {
            let text: String = text.chars().take(100).collect();
            wrong("if", format!("{text:?} is not true, false or empty"));
        }
        if let Some(command) = action.command.as_deref().filter(|command| !is_command(command)) {
            wrong("command", format!("{command:?} is not the path of a program"));
        }
    }
}

/// The Task as it runs. If a variable occurs twice, the later one counts: globals, Task, extra, action.
fn assembled(name: String, place: Rendered, task: TaskSpec) -> model::Task {
    let mut environment = place.globals.env;
    environment.extend(task.env);
    environment.extend(place.extra.env);
    let action = |action: model::v1alpha2::Action| model::Action {
        name: action.name,
        image: action.image,
        timeout: action.timeout_seconds.unwrap_or(0),
        timeout_of_all: true,
        entrypoint: action.command.filter(|command| !command.is_empty()),
        command: action.args,
        volumes: action.volumes,
        environment: action.env,
        namespaces: action.namespaces.filter(|namespaces| *namespaces != Namespaces::default()),
        condition: action.condition,
        retries: action.retries,
        background: action.background,
        ..model::Action::default()
    };
    model::Task {
        name,
        worker: place.agent_id,
        volumes: place.globals.volumes.into_iter().chain(task.volumes).chain(place.extra.volumes).collect(),
        environment,
        actions: task.actions.into_iter().map(action).collect(),
        timeout: place.timeout,
    }
}

#[cfg(test)]
mod tests;
