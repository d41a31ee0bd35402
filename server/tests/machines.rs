//! Objects that belong together: addresses, references, renderings, deletions, and the intents that follow from them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::time::Duration;

use lab::{MAC, apply, everything, hardware, template, workflow};
use model::{Kind, ObjectName, parse_documents};
use server::{ApplyError, Config, DeleteError, Server};

const OTHER_MAC: &str = "52:54:00:12:34:57";

async fn server() -> Server {
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    Server::open(Config { addresses, long_poll: Duration::ZERO, ..Config::default() }).await.unwrap()
}

/// The mistakes of a refused text.
async fn refused(server: &Server, text: &str) -> Vec<String> {
    match server.apply(parse_documents(text, "f").unwrap()).await {
        Err(ApplyError::Refused(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

fn at(server: &Server, address: &str) -> Option<String> {
    server.machine_by_address(address.parse().unwrap()).map(|machine| machine.hardware.metadata.name)
}

#[tokio::test]
async fn an_address_belongs_to_one_machine_and_not_to_the_server() {
    let server = server().await;
    apply(&server, &hardware("node-1", MAC)).await;
    let other = hardware("node-2", OTHER_MAC);
    for (text, expected) in [
        (other.clone(), "Hardware default/node-2: has the address 10.0.0.20, which is Hardware default/node-1's"),
        (other.replace("10.0.0.20", "10.0.0.1"), "has the address 10.0.0.1, which belongs to the server"),
        (other.replace("10.0.0.20", "10.0.0.21, netmask: 255.0.255.0"), "255.0.255.0 is not a netmask"),
        (other.replace("10.0.0.20", "10.0.0.21, gateway: 10.9.0.1"), "has the gateway 10.9.0.1, which is outside"),
    ] {
        let mistakes = refused(&server, &text).await;
        assert!(mistakes[0].contains(expected), "{mistakes:?}");
        assert_eq!(server.list(Kind::Hardware).len(), 1);
    }
    assert_eq!(at(&server, "10.0.0.20").as_deref(), Some("node-1"), "the owner is still found");
    // Two machines may swap their addresses in one change.
    apply(&server, &other.replace("10.0.0.20", "10.0.0.21")).await;
    apply(&server, &(hardware("node-1", MAC).replace("10.0.0.20", "10.0.0.21") + &other)).await;
    assert_eq!((at(&server, "10.0.0.20"), at(&server, "10.0.0.21")), (Some("node-2".into()), Some("node-1".into())));
    server.delete(Kind::Hardware, &name("node-2"), false).await.unwrap();
    assert_eq!((at(&server, "10.0.0.20"), at(&server, "10.0.0.21")), (None, Some("node-1".into())));
}

#[tokio::test]
async fn nothing_is_stored_when_anything_is_wrong() {
    let server = server().await;
    let broken = template("two", 2).replace(".device_1", ".device_2");
    let mistakes = refused(&server, &(hardware("node-1", MAC) + &broken + &workflow("w", "two", "node-1", MAC))).await;
    assert!(mistakes[0].contains("map has no entry for key \"device_2\""), "{mistakes:?}");
    for kind in Kind::ALL {
        assert!(server.list(kind).is_empty(), "{kind}");
    }
    apply(&server, &everything()).await;
    refused(&server, &broken).await;
    let stored = server.get(Kind::Template, &name("two")).unwrap().to_string();
    assert!(stored.contains("device_1"), "the template of an order stays as it is: {stored}");
}

#[tokio::test]
async fn a_worker_without_hardware_is_reported_everywhere() {
    let server = server().await;
    let applied =
        apply(&server, &(hardware("node-1", MAC) + &template("one", 1) + &workflow("w", "one", "node-1", OTHER_MAC))).await;
    let said = format!("no Hardware has the interface {OTHER_MAC} of its worker");
    assert!(applied.changes[2].problem.as_ref().unwrap().starts_with(&said), "{applied:?}");
    let shown = server.get(Kind::Workflow, &name("w")).unwrap();
    assert!(shown["status"]["message"].as_str().unwrap().starts_with(&said), "{shown}");
    let boot = server.machine(MAC.parse().unwrap()).unwrap().boot;
    assert_eq!(boot.reason(), format!("workflow default/w is for agent {OTHER_MAC}, which does not run on this machine"));
    let other = hardware("node-2", OTHER_MAC).replace("10.0.0.20", "10.0.0.21");
    apply(&server, &other).await;
    assert_eq!(server.machine(OTHER_MAC.parse().unwrap()).unwrap().boot.word(), "install");
    let shown = server.get(Kind::Workflow, &name("w")).unwrap()["status"]["message"].clone();
    assert_eq!(shown, format!("its worker {OTHER_MAC} is not an agent of Hardware node-1, which waits in the ramdisk"));
}

#[tokio::test]
async fn a_worker_that_is_not_on_the_machine_is_reported() {
    let server = server().await;
    let applied =
        apply(&server, &(hardware("node-1", MAC) + &template("one", 1) + &workflow("w", "one", "node-1", "node-1"))).await;
    let said = "its worker node-1 is not an agent of Hardware node-1, which waits in the ramdisk";
    assert_eq!(applied.changes[2].problem.as_deref(), Some(said));
    let named = hardware("node-1", MAC).replace("spec:", "spec:\n  agentID: node-1");
    let applied = apply(&server, &named).await;
    assert_eq!(applied.changes[1].problem, None, "{applied:?}");
    assert_eq!(server.machine(MAC.parse().unwrap()).unwrap().boot.word(), "install");
}

#[tokio::test]
async fn a_change_applies_to_workflows_that_have_not_begun() {
    let server = server().await;
    apply(&server, &everything()).await;
    let tasks = |server: &Server| server.get(Kind::Workflow, &name("w")).unwrap()["status"]["tasks"].clone();
    let before = tasks(&server);
    apply(&server, &template("two", 2)).await;
    assert_eq!(tasks(&server), before, "nothing has changed, so the ids stay");
    let applied = apply(&server, &template("two", 3)).await;
    assert_eq!((applied.changes.len(), tasks(&server)[0]["actions"].as_array().unwrap().len()), (2, 3));
    apply(&server, &hardware("node-1", MAC).replace("/dev/vda", "/dev/nvme0n1")).await;
    assert_eq!(tasks(&server)[0]["actions"][0]["command"][0], "/dev/nvme0n1");
    server.next_action(&model::AgentId::from(MAC)).await.unwrap();
    let begun = tasks(&server);
    let applied = apply(&server, &template("two", 1)).await;
    assert_eq!((applied.changes.len(), tasks(&server)), (1, begun), "a workflow that has begun does not change");
}

#[tokio::test]
async fn an_object_that_an_unfinished_workflow_uses_is_not_deleted_without_force() {
    let server = server().await;
    apply(&server, &everything()).await;
    for (kind, used) in [(Kind::Hardware, "node-1"), (Kind::Template, "two")] {
        let kept = server.delete(kind, &name(used), false).await.unwrap_err();
        assert!(matches!(&kept, DeleteError::InUse { users, .. } if *users == [name("w")]), "{kept}");
        assert!(kept.to_string().contains("is used by Workflow default/w"), "{kept}");
    }
    server.delete(Kind::Template, &name("two"), true).await.unwrap();
    let shown = server.get(Kind::Workflow, &name("w")).unwrap();
    assert_eq!(shown["status"]["message"], "waits for Template default/two, which does not exist");
    server.delete(Kind::Workflow, &name("w"), false).await.unwrap();
    server.delete(Kind::Hardware, &name("node-1"), false).await.unwrap();
}

#[tokio::test]
async fn an_export_moves_to_another_site_without_an_installation_there() {
    let (here, there) = (server().await, server().await);
    apply(&here, &everything()).await;
    let agent = model::AgentId::from(MAC);
    while let Ok(given) = here.next_action(&agent).await {
        let report = server::progress::Report {
            agent: agent.clone(),
            task_id: given.task.id,
            action_id: given.action.id,
            state: model::ActionState::Success,
            ..server::progress::Report::default()
        };
        here.report(&given.workflow, &report).await.unwrap();
    }
    let export: Vec<String> = Kind::ALL.iter().flat_map(|kind| here.list(*kind)).map(|object| object.to_string()).collect();
    let applied = apply(&there, &export.join("\n---\n")).await;
    assert!(applied.installs.is_empty(), "{applied:?}");
    assert_eq!(there.machine(MAC.parse().unwrap()).unwrap().boot.word(), "local");
    let shown = there.get(Kind::Workflow, &name("w")).unwrap();
    assert_eq!(
        (&shown["status"]["state"], &shown["status"]["tasks"][0]["actions"][1]["state"]),
        (&"SUCCESS".into(), &"SUCCESS".into())
    );
}

#[tokio::test]
async fn a_dry_run_says_which_machines_would_be_installed_and_stores_nothing() {
    let server = server().await;
    let two = hardware("node-2", OTHER_MAC).replace("10.0.0.20", "10.0.0.21");
    let text = everything() + &two + &workflow("v", "two", "node-2", OTHER_MAC);
    let planned = server.try_apply(parse_documents(&text, "f").unwrap()).await.unwrap();
    assert_eq!(planned.installs, ["default/node-1", "default/node-2"]);
    assert!(server.list(Kind::Workflow).is_empty());
    let again = apply(&server, &text).await;
    assert_eq!(again.installs.len(), 2);
    assert!(apply(&server, &text).await.installs.is_empty());
}
