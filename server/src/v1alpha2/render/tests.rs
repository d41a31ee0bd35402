use model::{Object, parse_documents};

use super::*;

const HARDWARE: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: NAME}
spec: {agentID: NAME-agent, disks: [{device: /dev/vda}]}
";

const TASK: &str = r#"apiVersion: tinkerbell.org/v1alpha2
kind: Task
metadata: {name: install}
spec:
  vars: {image: "{{ .workflow.spec.vars.registry }}/img:v1"}
  env: {DISK: "{{ (index .hardware.spec.disks 0).device }}", MODE: 0644, WHO: task}
  volumes: [/dev:/dev]
  actions:
    - name: write
      image: "{{ .task.spec.vars.image }}"
      command: /bin/write
      args: ["{{ .task.spec.env.DISK }}", "{{ .workflow.spec.globals.templateMap.other }}"]
      env: {WHO: action}
      retries: 2
      timeoutSeconds: 60
    - name: once
      if: '{{ eq .hardware.spec.agentID "one-agent" }}'
      image: "{{ .references.config.spec.image }}"
  references: {config: {name: one, group: tinkerbell.org, version: v1alpha1, resource: hardware}}
"#;

const WORKFLOW: &str = r#"apiVersion: tinkerbell.org/v1alpha2
kind: Workflow
metadata: {name: w}
spec:
  vars: {registry: quay.io}
  globals: {env: {WHO: globals, WHERE: "{{ .workflow.spec.vars.registry }}"}, templateMap: {other: x}, volumes: [/a:/a]}
  timeoutSeconds: 600
  tasks:
    - {agentID: "{{ .hardware.spec.agentID }}", taskRef: {name: install}, hardware: {hardwareRef: {name: one}}, timeoutSeconds: 90}
    - {agentID: two, taskRef: {name: install}, hardware: {hardwareRef: {name: two}}, extra: {templateMap: {other: y}, env: {WHO: extra}, volumes: [/b:/b]}}
"#;

fn rendered(task: &str, workflow: &str) -> Result<Document, Vec<String>> {
    let text = format!("{}---\n{}", HARDWARE.replace("NAME", "one"), HARDWARE.replace("NAME", "two"));
    let hardware: Vec<Hardware> = parse_documents(&text, "f")
        .unwrap()
        .into_iter()
        .filter_map(|object| match object {
            Object::Hardware(hardware) => Some(*hardware),
            _ => None,
        })
        .collect();
    let mut objects = parse_documents(task, "task.yaml").unwrap();
    objects.extend(parse_documents(workflow, "workflow.yaml").unwrap());
    let [Object::Task(task), Object::WorkflowV1alpha2(workflow)] = objects.as_slice() else { panic!("{objects:?}") };
    let metadata = model::Metadata { namespace: "default".into(), ..model::Metadata::default() };
    let source = crate::references::Source { kind: model::Kind::Task, metadata: &metadata };
    let policy = "apiVersion: tinkerbell.org/v1alpha2\nkind: Policy\nmetadata: {name: p}\nspec: {rules: {referenceAccess: {task: {allow: [{reference: {name: [one]}}]}}}}\n";
    let Some(Object::Policy(policy)) = parse_documents(policy, "f").unwrap().pop() else { panic!() };
    let found = |_, _: &model::ObjectName| Some(json!({"spec": {"image": "i"}}));
    let config = crate::references::resolve(source, &task.spec.references, std::iter::once(&*policy), found);
    let bound: Vec<Bound<'_>> =
        hardware.iter().map(|hardware| Bound { task, hardware: Some(hardware), references: config.clone() }).collect();
    render(workflow, &References::default(), bound.get(..workflow.spec.tasks.len()).unwrap())
        .map_err(|found| found.iter().map(ToString::to_string).collect())
}

#[test]
fn one_workflow_runs_a_task_on_two_machines() {
    let document = rendered(TASK, WORKFLOW).unwrap();
    assert_eq!((document.name.as_str(), document.global_timeout), ("w", 600));
    let [one, two] = document.tasks.as_slice() else { panic!("{document:?}") };
    assert_eq!((one.name.as_str(), one.worker.as_str(), one.timeout), ("install", "one-agent", 90));
    assert_eq!((two.name.as_str(), two.worker.as_str(), two.timeout), ("install-2", "two", 0));
    let action = &one.actions[0];
    assert_eq!((action.image.as_str(), action.entrypoint.as_deref()), ("quay.io/img:v1", Some("/bin/write")));
    assert_eq!((&action.command, &two.actions[0].command[1]), (&vec!["/dev/vda".to_owned(), "x".to_owned()], &"y".to_owned()));
    assert_eq!((action.retries, action.timeout, action.timeout_of_all), (2, 60, true));
    let env = |task: &model::Task, key: &str| task.environment.get(key).cloned().unwrap_or_default();
    assert_eq!([env(one, "WHO"), env(one, "WHERE"), env(one, "MODE")], ["task", "quay.io", "0644"]);
    assert_eq!((env(two, "WHO").as_str(), action.environment["WHO"].as_str()), ("extra", "action"));
    assert_eq!(two.volumes, ["/a:/a", "/dev:/dev", "/b:/b"]);
    let conditions: Vec<Option<&str>> = document.tasks.iter().map(|task| task.actions[1].condition.as_deref()).collect();
    assert_eq!(conditions, [Some("true"), Some("false")]);
    assert_eq!(one.actions[1].image, "i", "the image comes from the Task's reference");
}

#[test]
fn a_mistake_in_a_value_has_its_position() {
    for (case, from, to, expected) in [
        (
            "a missing key",
            ".task.spec.vars.image",
            ".task.spec.vars.img",
            "task.yaml:10:14: spec.actions[0].image: <.task.spec.vars.img>: map has no entry",
        ),
        (
            "a bad condition",
            "{{ eq .hardware.spec.agentID \"one-agent\" }}",
            "{{ .hardware.spec.agentID }}",
            "task.yaml:17:11: spec.actions[1].if: \"one-agent\" is not true, false or empty",
        ),
        (
            "a bad image",
            "/img:v1",
            "/Img:v1",
            "task.yaml:10:14: spec.actions[0].image: \"quay.io/Img:v1\" is not the name of an image",
        ),
        (
            "a command with words",
            "/bin/write",
            "/bin/{{ .task.spec.vars.image }} x",
            "task.yaml:11:16: spec.actions[0].command: \"/bin/quay.io/img:v1 x\" is not",
        ),
        (
            "the name of another action",
            "name: once",
            "name: '{{ \"write\" }}'",
            "task.yaml:16:13: spec.actions[1].name: the name \"write\" is used twice",
        ),
    ] {
        let task = TASK.replace(from, to);
        assert_ne!(task, TASK, "{case}");
        let found = rendered(&task, WORKFLOW).unwrap_err();
        assert!(found.iter().any(|line| line.starts_with(expected)), "{case}: {found:#?}");
    }
    let found = rendered(TASK, &WORKFLOW.replace(".hardware.spec.agentID", ".hardware.spec.agent")).unwrap_err();
    assert!(found[0].starts_with("workflow.yaml:9:17: spec.tasks[0].agentID"), "{found:?}");
}

#[test]
fn a_workflow_in_which_every_action_is_skipped_is_refused() {
    let none = TASK.replace("    - name: write\n", "    - name: write\n      if: 'False'\n").replace("one-agent", "no-agent");
    let found = rendered(&none, WORKFLOW).unwrap_err();
    assert_eq!(found, ["Workflow default/w: spec.tasks: no action would run, because the `if` of each one is false"]);
}

#[test]
fn values_that_grow_too_large_are_refused_before_they_are_stored() {
    let bomb =
        TASK.replace("WHO: task", "WHO: '{{ $a := \"0123456789\" }}{{ range until 30 }}{{ $a = print $a $a }}{{ end }}{{ $a }}'");
    let found = rendered(&bomb, WORKFLOW).unwrap_err();
    assert!(found[0].contains("MiB of memory"), "{found:?}");
    let large: String = (0..3).map(|n| format!("LARGE{n}: '{{{{ repeat 200000 \"x\" }}}}', ")).collect();
    let found = rendered(&TASK.replace("MODE: 0644", &format!("{large}MODE: 0644")), WORKFLOW).unwrap_err();
    assert!(found[0].contains("the values render to more than 1048576 bytes"), "{found:?}");
    let loops = TASK.replace("WHO: task", "WHO: '{{ range until 3000 }}{{ range until 3000 }}{{ end }}{{ end }}'");
    let found = rendered(&loops, WORKFLOW).unwrap_err();
    assert!(["steps", "longer", "memory"].iter().any(|word| found[0].contains(word)), "{found:?}");
}
