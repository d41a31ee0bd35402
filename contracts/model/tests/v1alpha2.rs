//! Task, Workflow and Policy of v1alpha2 from YAML.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use model::{Kind, Object, parse_documents};

const TASK: &str = r#"apiVersion: tinkerbell.org/v1alpha2
kind: Task
metadata: {name: install}
spec:
  actions:
    - name: "action 1"
      if: '{{ eq .hardware.spec.agentID "a" }}'
      image: alpine
      command: /bin/sleep
      args: ["{{ .task.spec.env.two }}", 7]
      env: {MODE: 0644}
      volumes: ["/var/data:/var-data:ro"]
      namespaces: {network: host, pid: host}
      retries: 4
      timeoutSeconds: 120
      background: false
    - {name: two, image: "{{ .task.spec.vars.image }}", command: "/bin/{{ .task.spec.vars.shell }}"}
  env: {two: "2"}
  references:
    config: {name: settings, namespace: tinkerbell, resource: configmaps, version: v1}
  vars: {image: alpine, shell: sh}
  volumes: ["/etc/data1:/data1:ro"]
"#;

const WORKFLOW: &str = r#"apiVersion: tinkerbell.org/v1alpha2
kind: Workflow
metadata: {name: example, namespace: tinkerbell}
spec:
  disabled: true
  globals:
    env: {ONE: "1"}
    templateMap: {key: value}
    volumes: ["/etc/data2:/data2:ro"]
  timeoutSeconds: 600
  tasks:
    - agentID: "1234"
      extra: {env: {TWO: "1"}, templateMap: {other: value}, volumes: ["/a:/b"]}
      hardware:
        bootOptions: {toggleNetboot: true, bootMode: netboot}
        hardwareRef: {name: node-1, namespace: default}
      timeoutSeconds: 60
      taskRef: {name: install}
  vars: {a: b}
"#;

const POLICY: &str = r#"apiVersion: tinkerbell.org/v1alpha2
kind: Policy
metadata: {name: p}
spec:
  rules:
    referenceAccess:
      hardware:
        allow:
          - source: {name: [node-01, {wildcard: "worker-*"}], labels: [rack]}
            reference: {resource: [hardware], group: [""]}
        deny:
          - reference: {name: [{anything-but: [shared]}]}
"#;

fn one(text: &str) -> Object {
    parse_documents(text, "f.yaml").unwrap().pop().unwrap()
}

#[test]
fn objects_of_v1alpha2_are_read_and_read_the_same_again() {
    for (text, kind) in [(TASK, Kind::Task), (WORKFLOW, Kind::WorkflowV1alpha2), (POLICY, Kind::Policy)] {
        let object = one(text);
        assert_eq!(object.kind(), kind);
        assert_eq!(one(&serde_json::to_string_pretty(&object).unwrap()), object);
    }
    let Object::Task(task) = one(TASK) else { panic!() };
    let action = &task.spec.actions[0];
    assert_eq!((action.retries, action.timeout_seconds, action.command.as_deref()), (4, Some(120), Some("/bin/sleep")));
    assert_eq!((action.env["MODE"].as_str(), action.args[1].as_str()), ("0644", "7"), "scalars stay as they were written");
    assert_eq!(task.spec.places.place("spec.actions[1].command"), Some(("f.yaml", 17, 66)));
    let Object::WorkflowV1alpha2(workflow) = one(WORKFLOW) else { panic!() };
    let task = &workflow.spec.tasks[0];
    assert_eq!(task.hardware_name("tinkerbell").unwrap().to_string(), "default/node-1");
    assert_eq!(task.task_ref.object_name("tinkerbell").to_string(), "tinkerbell/install");
}

#[test]
fn both_versions_of_one_name_are_two_objects() {
    let old = "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: example, namespace: tinkerbell}\nspec: {templateRef: t}\n";
    let kinds: Vec<Kind> = parse_documents(&format!("{WORKFLOW}{old}"), "f").unwrap().iter().map(Object::kind).collect();
    assert_eq!(kinds, [Kind::WorkflowV1alpha2, Kind::Workflow]);
}

#[test]
fn mistakes_have_their_places() {
    for (case, text, from, to, expected) in [
        ("a key of v1alpha1", TASK, "timeoutSeconds: 120", "timeout: 120", "f:15:7: spec.actions[0]: unknown key \"timeout\""),
        (
            "a command with words",
            TASK,
            "command: /bin/sleep",
            "command: /bin/sleep 7",
            "f:9:16: spec.actions[0].command: \"/bin/sleep 7\" is not the path of a program",
        ),
        (
            "no condition",
            TASK,
            "'{{ eq .hardware.spec.agentID \"a\" }}'",
            "perhaps",
            "f:7:11: spec.actions[0].if: \"perhaps\" is not true, false or empty",
        ),
        ("a quoted number", TASK, "retries: 4", "retries: '4'", "f:14:16: spec.actions[0].retries: \"4\" is text"),
        ("a bad image", TASK, "image: alpine\n      command", "image: Alpine\n      command", "f:8:14: spec.actions[0].image"),
        (
            "a name twice",
            TASK,
            "name: two",
            "name: action 1",
            "f:17:14: spec.actions[1].name: the name \"action 1\" is used twice",
        ),
        (
            "no tasks",
            WORKFLOW,
            &WORKFLOW[WORKFLOW.find("  tasks:").unwrap()..],
            "  tasks: []\n",
            "f:11:10: spec.tasks: at least one",
        ),
        (
            "boot options without Hardware",
            WORKFLOW,
            "        hardwareRef: {name: node-1, namespace: default}\n",
            "",
            "f:15:22: spec.tasks[0].hardware: bootOptions need a hardwareRef",
        ),
        ("no agent", WORKFLOW, "agentID: \"1234\"", "agentID: ''", "f:12:16: spec.tasks[0]: agentID is empty"),
        (
            "a rule for all",
            POLICY,
            "reference: {name: [{anything-but: [shared]}]}",
            "{}",
            "f:12:13: spec.rules.referenceAccess.hardware.deny[0]",
        ),
        (
            "a rule of nothing",
            POLICY,
            "name: [node-01, {wildcard: \"worker-*\"}]",
            "name: []",
            "f:9:28: spec.rules.referenceAccess.hardware.allow[0].name",
        ),
        (
            "workflows from a Policy",
            POLICY,
            "    referenceAccess:",
            "    workflowAutoCreation: []\n    referenceAccess:",
            "f:6:27: spec.rules.workflowAutoCreation: Workflows are not created by a Policy",
        ),
        (
            "hardware of v1alpha2",
            TASK,
            "kind: Task",
            "kind: Hardware",
            "f:1:13: apiVersion: \"tinkerbell.org/v1alpha2\" is not known here",
        ),
    ] {
        let text = text.replace(from, to);
        let found = parse_documents(&text, "f").unwrap_err();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|line| line.starts_with(expected)), "{case}: {found:#?}");
    }
}
