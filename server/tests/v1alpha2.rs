//! Objects of v1alpha2 beside those of v1alpha1: stored separately, and rendered into tasks that the engine runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use lab::{Lab, MAC, apply, hardware, soon, template, workflow};
use model::{Kind, ObjectName, parse_documents};
use proto::action_status_request::StateType;
use server::ApplyError;

const OTHER: &str = "52:54:00:12:34:57";

/// A Task with one action, and these further keys.
fn task(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Task\nmetadata: {{name: {name}}}\nspec:\n  actions:\n  - {{name: a, image: 'i:v1', args: \
         ['{{{{ (index .hardware.spec.disks 0).device }}}}']{more}}}\n"
    )
}

/// A Workflow for two machines.
fn both() -> String {
    let entry = |machine: &str, agent: &str| {
        format!("  - {{agentID: '{agent}', taskRef: {{name: t}}, hardware: {{hardwareRef: {{name: {machine}}}}}}}\n")
    };
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {{name: two}}\nspec:\n  tasks:\n{}{}",
        entry("node-1", MAC),
        entry("node-2", OTHER)
    )
}

fn machines() -> String {
    format!("{}{}", hardware("node-1", MAC), hardware("node-2", OTHER).replace("10.0.0.20", "10.0.0.21"))
}

async fn refused(lab: &Lab, text: &str) -> String {
    match lab.server.apply(parse_documents(text, "test.yaml").unwrap()).await {
        Err(ApplyError::Refused(mistakes)) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        other => panic!("{other:?}"),
    }
}

fn default(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

#[tokio::test]
async fn one_workflow_runs_its_tasks_on_two_machines_in_order() {
    let lab = Lab::hasty().await;
    let applied = apply(&lab.server, &format!("{}{}{}", machines(), task("t", ""), both())).await;
    assert_eq!(applied.installs, ["default/node-1", "default/node-2"]);
    let (mut one, mut two) = (lab.agent(MAC).await, lab.agent(OTHER).await);
    let action = soon(one.ask()).await.unwrap();
    assert_eq!((action.workflow_id(), action.name(), action.image()), ("default/two", "a", "i:v1"));
    assert_eq!(action.command, ["/dev/vda"]);
    assert!(soon(two.ask()).await.is_err(), "its task is the second one");
    for agent in [&mut one, &mut two] {
        let action = soon(agent.ask()).await.unwrap();
        soon(agent.say(&action, StateType::Running)).await.unwrap();
        soon(agent.say(&action, StateType::Success)).await.unwrap();
    }
    let shown = lab.server.get(Kind::WorkflowV1alpha2, &default("two")).unwrap();
    assert_eq!((&shown["status"]["state"], &shown["apiVersion"]), (&"SUCCESS".into(), &"tinkerbell.org/v1alpha2".into()));
    assert_eq!(shown["spec"]["tasks"][1]["hardware"]["hardwareRef"]["name"], "node-2");
    let refused = lab.server.order("node-1", api::OrderKind::Reinstall, "ada", "").await.unwrap_err();
    assert!(refused.to_string().contains("its newest workflow default/two is for default/node-2 as well"), "{refused}");
    lab.server.change_workflow(&default("two"), &api::WorkflowChange::Rerun, "ada", "").await.unwrap();
    let again = lab.server.get(Kind::WorkflowV1alpha2, &default("two-run2")).unwrap();
    assert_eq!((&again["spec"], &again["status"]["state"]), (&shown["spec"], &"PENDING".into()));
    lab.stop().await;
}

#[tokio::test]
async fn each_version_shows_its_own_objects_and_the_names_of_workflows_are_shared() {
    let lab = Lab::hasty().await;
    let old = format!("{}{}", template("t", 1), workflow("w", "t", "node-1", MAC));
    apply(&lab.server, &format!("{}{}{}{old}", machines(), task("t", ""), both())).await;
    let names = |kind| -> Vec<String> {
        lab.server.list(kind).iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(Kind::Workflow), names(Kind::WorkflowV1alpha2)), (vec!["w".into()], vec!["two".into()]));
    assert_eq!((names(Kind::Template), names(Kind::Task)), (vec!["t".to_owned()], vec!["t".into()]));
    assert_eq!(lab.server.get(Kind::Workflow, &default("two")), None);
    assert!(lab.server.delete(Kind::Workflow, &default("two"), false).await.is_err(), "it is of the other version");
    for text in [both().replace("{name: two}", "{name: w}"), workflow("two", "t", "node-1", MAC)] {
        assert!(refused(&lab, &text).await.contains("agents know workflows by their names only"), "{text}");
    }
    let text = format!("{}{}", both().replace("{name: two}", "{name: new}"), workflow("new", "t", "node-1", MAC));
    assert!(refused(&lab, &text).await.contains("has this name"), "in one apply");
    lab.server.delete(Kind::WorkflowV1alpha2, &default("two"), false).await.unwrap();
    assert!(lab.server.list(Kind::WorkflowV1alpha2).is_empty());
    apply(&lab.server, &workflow("two", "t", "node-1", MAC)).await;
    lab.stop().await;
}

#[tokio::test]
async fn a_workflow_waits_for_the_objects_it_names_and_follows_their_changes_until_it_begins() {
    let lab = Lab::hasty().await;
    let status = || lab.server.get(Kind::WorkflowV1alpha2, &default("two")).unwrap()["status"].clone();
    apply(&lab.server, &both()).await;
    assert_eq!(status()["message"], "waits for Task default/t, which does not exist");
    apply(&lab.server, &task("t", "")).await;
    assert_eq!(status()["message"], "waits for Hardware default/node-1, which does not exist");
    apply(&lab.server, &machines()).await;
    assert_eq!(status()["state"], "PENDING");
    apply(&lab.server, &task("t", ", env: {A: b}")).await;
    assert_eq!(status()["tasks"][0]["actions"][0]["environment"]["A"], "b");
    for (kind, used) in [(Kind::Task, "t"), (Kind::Hardware, "node-2")] {
        let kept = lab.server.delete(kind, &default(used), false).await.unwrap_err();
        assert!(kept.to_string().contains("is used by Workflow default/two"), "{kept}");
    }
    let mut agent = lab.agent(MAC).await;
    let action = soon(agent.ask()).await.unwrap();
    soon(agent.say(&action, StateType::Running)).await.unwrap();
    apply(&lab.server, &task("t", "")).await;
    assert_eq!(status()["tasks"][0]["actions"][0]["environment"]["A"], "b", "the workflow has begun, so it does not change");
    let text = both().replace("  tasks:", "  timeoutSeconds: 5\n  tasks:");
    assert!(refused(&lab, &text).await.contains("its spec can no longer change"));
    lab.stop().await;
}

#[tokio::test]
async fn mistakes_refuse_the_apply_with_their_lines() {
    let lab = Lab::hasty().await;
    for (text, expected) in [
        (task("t", ", if: '{{ nofunction }}'"), "test.yaml:7:89: spec.actions[0].if: function \"nofunction\" not defined"),
        (task("t", ", command: /bin/sh"), "test.yaml:7:94: spec.actions[0].command: an agent cannot replace the entrypoint"),
        (format!("{}{}{}", machines(), task("t", ", env: {A: '{{ .no }}'}"), both()), "map has no entry for key \"no\""),
        (
            format!(
                "{}{}{}",
                machines(),
                task("t", ""),
                both().replace("hardwareRef: {name: node-1}", "hardwareRef: {name: node-1}, bootOptions: {bootMode: isoboot}")
            ),
            "bootMode \"isoboot\" needs a BMC",
        ),
    ] {
        let found = refused(&lab, &text).await;
        assert!(found.contains(expected), "{found}");
    }
    assert!(lab.server.list(Kind::Task).is_empty());
    lab.stop().await;
}

#[tokio::test]
async fn a_task_of_v1alpha2_retries_and_skips_and_its_hardware_is_closed_at_the_end() {
    let lab = Lab::hasty().await;
    let actions = ", retries: 1, timeoutSeconds: 60}\n  - {name: never, image: 'i:v1', if: '{{ eq .hardware.metadata.name \"x\" }}'}\n  - {name: b, image: 'i:v1'";
    let entry = "taskRef: {name: t}, hardware: {hardwareRef: {name: node-1}, bootOptions: {toggleNetboot: true}}";
    let one = format!(
        "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {{name: one}}\nspec:\n  timeoutSeconds: 900\n  tasks: [{{agentID: '{MAC}', {entry}}}]\n"
    );
    apply(
        &lab.server,
        &format!("{}{}{one}", hardware("node-1", MAC).replace("allowPXE: true", "allowPXE: false"), task("t", actions)),
    )
    .await;
    let mut agent = lab.agent(MAC).await;
    let first = soon(agent.ask()).await.unwrap();
    assert_eq!(first.timeout(), 60);
    soon(agent.say(&first, StateType::Running)).await.unwrap();
    soon(agent.say(&first, StateType::Failed)).await.unwrap();
    let waits = soon(agent.ask()).await.unwrap_err();
    assert_eq!(waits.message(), "an Action has failed and runs again after a pause");
    soon(agent.say(&first, StateType::Failed)).await.unwrap(); // the acknowledgement was lost
    assert!(soon(agent.say(&first, StateType::Success)).await.is_err(), "the report no longer counts");
    let second = loop {
        if let Ok(action) = soon(agent.ask()).await {
            break action;
        }
    };
    assert!((1..60).contains(&second.timeout()) && second.action_id() != first.action_id(), "{second:?}");
    for name in ["a", "b"] {
        let action = soon(agent.ask()).await.unwrap();
        assert_eq!(action.name(), name);
        soon(agent.say(&action, StateType::Running)).await.unwrap();
        soon(agent.say(&action, StateType::Success)).await.unwrap();
    }
    let status = lab.server.get(Kind::WorkflowV1alpha2, &default("one")).unwrap()["status"].clone();
    assert_eq!(status["message"], "all actions succeeded; 1 failed attempts were repeated; 1 were skipped");
    assert_eq!(status["bootOptions"]["allowNetboot"]["toggledFalse"], true);
    let hardware = lab.server.get(Kind::Hardware, &default("node-1")).unwrap();
    assert_eq!(hardware["spec"]["interfaces"][0]["netboot"]["allowPXE"], false);
    lab.stop().await;
}

#[tokio::test]
async fn a_template_sees_an_object_that_its_hardware_names_once_a_policy_allows_it() {
    let lab = Lab::hasty().await;
    let reference = "references: {shared: {name: node-2, group: tinkerbell.org, version: v1alpha1, resource: hardware}}, disks:";
    let one = hardware("node-1", MAC)
        .replace("spec:\n  disks:", &format!("spec:\n  {}\n  disks:", reference.trim_end_matches(", disks:")));
    let other = hardware("node-2", OTHER).replace("10.0.0.20", "10.0.0.21").replace("/dev/vda", "/dev/shared");
    let template = template("t", 1).replace("index .Hardware.Disks 0", "(index .references.shared.spec.disks 0).device");
    let all = format!("{one}{other}{template}{}", workflow("w", "t", "node-1", MAC));
    let found = refused(&lab, &all).await;
    assert!(found.contains("(the reference shared has no data: no Policy allows it)"), "{found}");
    let policy = |rule: &str| {
        format!(
            "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Policy\nmetadata: {{name: p}}\nspec: {{rules: {{referenceAccess: {{hardware: {{allow: [{rule}]}}}}}}}}\n"
        )
    };
    let broken = refused(&lab, &policy("{source: {name: [{prefix: 7}]}}")).await;
    assert!(broken.contains("spec.rules.referenceAccess.hardware.allow[0].source.name"), "{broken}");
    apply(&lab.server, &format!("{all}{}", policy("{source: {name: [{prefix: node-}]}, reference: {resource: [hardware]}}")))
        .await;
    let mut agent = lab.agent(MAC).await;
    assert_eq!(soon(agent.ask()).await.unwrap().command, ["/dev/shared"]);
    lab.stop().await;
}

#[tokio::test]
async fn an_action_in_the_background_is_a_success_for_every_agent_once_it_runs() {
    let lab = Lab::hasty().await;
    let actions = ", background: true, timeoutSeconds: 60}\n  - {name: b, image: 'i:v1'}\n  - {name: reboot, image: 'i:v1', background: true";
    let one = format!(
        "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {{name: one}}\nspec:\n  tasks: [{{agentID: '{MAC}', taskRef: {{name: t}}, hardware: {{hardwareRef: {{name: node-1}}}}}}]\n"
    );
    apply(&lab.server, &format!("{}{}{one}", hardware("node-1", MAC), task("t", actions))).await;
    let mut agent = lab.agent(MAC).await;
    let aside = soon(agent.ask()).await.unwrap();
    assert_eq!((aside.name(), aside.background), ("a", Some(true)));
    soon(agent.say(&aside, StateType::Running)).await.unwrap();
    let next = soon(agent.ask()).await.unwrap();
    assert_eq!((next.name(), next.background), ("b", None), "it does not wait");
    soon(agent.say(&next, StateType::Running)).await.unwrap();
    // Tinkerbell's agents report the true end, which must not make them give up.
    soon(agent.say(&aside, StateType::Failed)).await.unwrap();
    soon(agent.say(&next, StateType::Success)).await.unwrap();
    let reboot = soon(agent.ask()).await.unwrap();
    soon(agent.say(&reboot, StateType::Running)).await.unwrap();
    let machine = lab.server.machine(MAC.parse().unwrap()).unwrap();
    assert_eq!(machine.boot.word(), "local", "before the machine goes down");
    let log = lab.server.history(&default("one")).await.unwrap().unwrap();
    assert!(log.iter().any(|entry| entry.text == "action reboot goes on in the background"), "{log:?}");
    soon(agent.say(&reboot, StateType::Running)).await.unwrap(); // the answer was lost
    soon(agent.say(&reboot, StateType::Success)).await.unwrap();
    lab.stop().await;
}
