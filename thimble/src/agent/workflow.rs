//! Workflow files in the forms that people have: a list of actions, a template (rendered, or to be rendered), or the
//! Hardware, Template and Workflow objects for a server.

use std::collections::BTreeMap;
use std::path::Path;

use model::{
    API_VERSION, Hardware, Metadata, Mistake, Mistakes, Object, Resource, Template, TemplateSpec, Workflow, WorkflowSpec,
};
use model::{parse_documents, parse_values};
use proto::ActionResponse;
use serde_json::Value;
use server::template::render;

/// The worker of a template that leaves it out. Templates call it `{{.device_1}}`.
const WORKER: &str = "local";

pub fn read(path: &Path) -> Result<Vec<ActionResponse>, String> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read the workflow file {file}: {error}"))?;
    let name = path.file_stem().map_or_else(|| WORKER.into(), |stem| stem.to_string_lossy());
    parse(&text, &file, &name).map_err(|mistakes| format!("the workflow file cannot be used: {mistakes}"))
}

fn parse(text: &str, file: &str, name: &str) -> Result<Vec<ActionResponse>, String> {
    let values = parse_values(text, file);
    if values.as_ref().is_ok_and(|values| values.iter().any(is_object)) {
        return objects(parse_documents(text, file).map_err(lines)?);
    }
    match values {
        Ok(values) => match values.as_slice() {
            [value] if value.is_array() || value.get("actions").is_some() => {
                ::agent::offline::actions(value, name).map_err(|mistake| format!("{file}: {mistake}"))
            }
            _ => template(text, name),
        },
        // Text with `{{ }}` in it is not always YAML before it is rendered.
        Err(_) if text.contains("{{") => template(text, name),
        Err(mistakes) => Err(lines(mistakes)),
    }
}

fn is_object(value: &Value) -> bool {
    let first = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    first.get("kind").is_some_and(Value::is_string)
}

fn lines(mistakes: Vec<Mistake>) -> String {
    Mistakes(mistakes).to_string()
}

fn object<Spec, Status: Default + PartialEq>(kind: &str, name: &str, spec: Spec) -> Resource<Spec, Status> {
    let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
    Resource { api_version: API_VERSION.to_owned(), kind: kind.to_owned(), metadata, spec, status: Status::default() }
}

/// A template alone is rendered without hardware.
fn template(text: &str, name: &str) -> Result<Vec<ActionResponse>, String> {
    rendered(&object("Template", name, TemplateSpec { data: text.to_owned(), ..TemplateSpec::default() }), &nobody(name), None)
}

fn nobody(name: &str) -> Workflow {
    let hardware_map = BTreeMap::from([("device_1".to_owned(), WORKER.to_owned())]);
    object("Workflow", name, WorkflowSpec { hardware_map, ..WorkflowSpec::default() })
}

fn rendered(template: &Template, workflow: &Workflow, hardware: Option<&Hardware>) -> Result<Vec<ActionResponse>, String> {
    let mut document = render(template, workflow, hardware).map_err(lines)?;
    for task in &mut document.tasks {
        task.actions.retain(|action| action.condition.as_deref().and_then(model::condition) != Some(false));
        if let Some(action) = task.actions.iter().find(|action| action.retries > 0 || action.on_failure.is_some()) {
            return Err(format!(
                "action {:?}: retries and on_failure need a server, so leave them out of a workflow file",
                action.name
            ));
        }
    }
    for action in document.tasks.iter_mut().flat_map(|task| &mut task.actions) {
        // Like Tinkerbell's agents, this leaves out commands after a failure.
        (action.condition, action.failure_command, action.timeout_command) = (None, Vec::new(), Vec::new());
    }
    let document = serde_json::to_value(document).map_err(|error| error.to_string())?;
    ::agent::offline::actions(&document, &workflow.metadata.name)
}

fn objects(objects: Vec<Object>) -> Result<Vec<ActionResponse>, String> {
    let (mut all, mut templates, mut workflows) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        match object {
            Object::Hardware(hardware) => all.push(*hardware),
            Object::Template(template) => templates.push(*template),
            Object::Workflow(workflow) => workflows.push(*workflow),
            other => return Err(format!("{} {} needs a server", other.kind(), other.name())),
        }
    }
    let workflow = match workflows.as_slice() {
        [one] => one.clone(),
        [] => {
            let [template] = templates.as_slice() else {
                return Err("the file has neither a Workflow nor exactly one Template".to_owned());
            };
            let mut workflow = nobody(&template.metadata.name);
            workflow.spec.template_ref.clone_from(&template.metadata.name);
            workflow.spec.hardware_ref = all.first().map(|hardware| hardware.metadata.name.clone()).unwrap_or_default();
            workflow
        }
        several => return Err(format!("the file has {} Workflows, and only one can run", several.len())),
    };
    let spec = &workflow.spec;
    let Some(template) = templates.iter().find(|template| template.metadata.name == spec.template_ref) else {
        return Err(format!("the Template {:?} of the Workflow is not in the file", spec.template_ref));
    };
    let hardware = all.iter().find(|hardware| hardware.metadata.name == spec.hardware_ref);
    if hardware.is_none() && !spec.hardware_ref.is_empty() {
        return Err(format!("the Hardware {:?} of the Workflow is not in the file", spec.hardware_ref));
    }
    let mut actions = rendered(template, &workflow, hardware)?;
    if let [workflow] = workflows.as_slice() {
        // The name that a server would use.
        actions.iter_mut().for_each(|action| action.workflow_id = Some(workflow.name().to_string()));
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"version: "0.1"
name: debian
global_timeout: 600
tasks:
  - name: os
    worker: "{{.device_1}}"
    volumes: [/dev:/dev]
    actions:
      - name: stream
        image: r/image2disk
        timeout: 90
        environment:
          DEST_DISK: {{ if .hardware }}{{ index .Hardware.Disks 0 }}{{ else }}/dev/sda{{ end }}
          MODE: 0644
"#;

    fn told(text: &str) -> String {
        match parse(text, "f.yaml", "f") {
            Ok(actions) => {
                let line =
                    |a: &ActionResponse| format!("{} {} {} {}", a.workflow_id(), a.task_id(), a.name(), a.environment.join(" "));
                actions.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Err(mistake) => format!("error: {mistake}"),
        }
    }

    #[test]
    fn files_of_every_kind_become_actions() {
        let plain = TEMPLATE.replace("{{ if .hardware }}{{ index .Hardware.Disks 0 }}{{ else }}", "").replace("{{ end }}", "");
        let indented: String = TEMPLATE.lines().map(|line| format!("    {line}\n")).collect();
        let kinds = |kind: &str, spec: &str| {
            format!("apiVersion: tinkerbell.org/v1alpha1\nkind: {kind}\nmetadata: {{name: one}}\nspec:\n{spec}\n---\n")
        };
        let hardware = kinds("Hardware", "  disks: [{device: /dev/nvme0n1}]");
        let template = kinds("Template", &format!("  data: |\n{indented}"));
        let workflow = kinds("Workflow", "  templateRef: one\n  hardwareRef: one\n  hardwareMap: {device_1: m}");
        for (case, text, want) in [
            ("a list", "- {name: say, image: i, env: {K: v}}".to_owned(), "f file say K=v"),
            ("a list with a name", "name: w\nactions:\n- {name: say, image: i}".to_owned(), "w file say "),
            ("a rendered template", plain.replace("{{.device_1}}", "m"), "debian os stream DEST_DISK=/dev/sda MODE=0644"),
            ("objects", format!("{hardware}{template}{workflow}"), "default/one os stream DEST_DISK=/dev/nvme0n1 MODE=0644"),
            ("a template and its hardware", format!("{hardware}{template}"), "debian os stream DEST_DISK=/dev/nvme0n1 MODE=0644"),
        ] {
            assert!(told(&text).ends_with(want), "{case}: {}", told(&text));
        }
        assert!(told(&plain).ends_with("stream DEST_DISK=/dev/sda MODE=0644"), "a worker without a name: {}", told(&plain));
    }

    #[test]
    fn mistakes_are_named_with_their_position() {
        let workflow = "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {templateRef: t}\n";
        for (text, want) in [
            ("- {name: x}", "image"),
            ("tasks: [", "f.yaml:1"),
            ("tasks: []\nname: {{ .missing }}", "missing"),
            ("tasks: []\nname: x", "tasks"),
            (workflow, "the Template \"t\" of the Workflow is not in the file"),
            ("", "error: "),
        ] {
            let mistake = told(text);
            assert!(mistake.starts_with("error: ") && mistake.contains(want), "{want:?} is missing in {mistake:?}");
        }
    }
}
