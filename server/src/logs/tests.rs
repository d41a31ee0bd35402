use model::{Object, parse_documents};

use super::*;
use crate::store::{Change, KeyValue};
use crate::view::key;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn workflow(state: &str, action: &str) -> Workflow {
    let json = serde_json::json!({
        "apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow", "metadata": {"name": "w", "namespace": "default"},
        "spec": {"templateRef": "t", "hardwareRef": "node"},
        "status": {"state": state, "logged": {"entries": 1, "latest": NOW}, "currentState": {"agentID": "a", "actionID": "1"},
            "tasks": [
                {"id": "t", "name": "t", "agentID": "a", "actions": [
                    {"id": "1", "name": "one", "image": "i", "timeout": 0, "state": action},
                    {"id": "2", "name": "two", "image": "i", "timeout": 0, "state": "PENDING"},
                ]},
                {"id": "u", "name": "u", "agentID": "b", "actions": [{"id": "3", "name": "three", "image": "i", "timeout": 0, "state": "RUNNING"}]},
            ]},
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn an_agent_writes_for_its_own_begun_actions_until_shortly_after_the_end() {
    let later = |seconds| NOW.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    for (case, state, action, agent, id, now, expected) in [
        ("the running action", "RUNNING", "RUNNING", "a", "1", later(9999), Some("one")),
        ("the last lines of one that has ended", "RUNNING", "SUCCESS", "a", "1", NOW, Some("one")),
        ("the last lines of the workflow", "FAILED", "FAILED", "a", "1", later(60), Some("one")),
        ("a workflow that is over", "FAILED", "FAILED", "a", "1", later(61), None),
        ("an action that has not begun", "RUNNING", "SUCCESS", "a", "2", NOW, None),
        ("an action of another agent", "RUNNING", "RUNNING", "a", "3", NOW, None),
        ("its own action with the name of another agent", "RUNNING", "RUNNING", "b", "1", NOW, None),
        ("an invented action", "RUNNING", "RUNNING", "a", "9", NOW, None),
    ] {
        let workflow = workflow(state, action);
        let found = own_action(&workflow, &AgentId::from(agent), id, now).map(|action| action.name.as_str());
        assert_eq!(found, expected, "{case}");
    }
}

fn view(workflow: Option<&Workflow>) -> View {
    let mut view = View::default();
    let hardware = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: node}\nspec: {agentID: a, interfaces: [{dhcp: {mac: '52:54:00:00:00:01', ip: {address: 10.0.0.20}}}]}\n";
    let Object::Hardware(hardware) = parse_documents(hardware, "f").unwrap().remove(0) else { panic!("not Hardware") };
    let pairs = [
        Some((key(model::Kind::Hardware, &hardware.name()), serde_json::to_vec(&hardware).unwrap())),
        workflow.map(|workflow| (key(model::Kind::Workflow, &workflow.name()), serde_json::to_vec(workflow).unwrap())),
    ];
    for (revision, (key, value)) in (1..).zip(pairs.into_iter().flatten()) {
        let pair = KeyValue { key: key.clone(), value, created: revision, modified: revision };
        view.update(&Change { revision, whole: revision, key, pair: Some(std::sync::Arc::new(pair)), previous: None });
    }
    view
}

#[test]
fn a_line_of_syslog_belongs_to_what_its_machine_runs() {
    let (mac, address) = ("52:54:00:00:00:01".parse().ok(), "10.0.0.20".parse().ok());
    let stranger = "10.0.0.99".parse().ok();
    let (running, over) = (workflow("RUNNING", "RUNNING"), workflow("SUCCESS", "SUCCESS"));
    let of_workflow = || Source::Workflow("default/w@2".to_owned());
    let of_machine = || Source::Machine("default/node".to_owned());
    for (case, workflow, mac, address, tag, text, sends, expected) in [
        ("by MAC, while an action runs", Some(&running), mac, None, "hook", "x", false, Some((of_workflow(), "a", "one"))),
        ("by address", Some(&running), None, address, "hook", "x", false, Some((of_workflow(), "a", "one"))),
        ("output that the agent sends itself", Some(&running), mac, None, "thimble", "A| x", true, None),
        (
            "output of an agent that does not",
            Some(&running),
            mac,
            None,
            "thimble",
            "A| x",
            false,
            Some((of_workflow(), "a", "one")),
        ),
        (
            "a line about the machine",
            Some(&running),
            mac,
            None,
            "thimble",
            "disk is slow",
            true,
            Some((of_workflow(), "a", "one")),
        ),
        ("after the workflow", Some(&over), mac, None, "thimble", "x", true, Some((of_machine(), "52:54:00:00:00:01", ""))),
        ("without a workflow", None, mac, None, "kernel", "x", false, Some((of_machine(), "52:54:00:00:00:01", ""))),
        ("an unknown machine", None, None, stranger, "kernel", "x", false, Some((Source::Unknown, "10.0.0.99", ""))),
    ] {
        let line = SyslogLine { mac, address, tag, text };
        let place = Place::of(&view(workflow), &line, |_| sends);
        let expected = expected.map(|(source, from, action)| {
            let workflow = (!action.is_empty()).then(|| ObjectName::new("default", "w"));
            Place { source, from: from.to_owned(), action: action.to_owned(), workflow }
        });
        assert_eq!(place, expected, "{case}");
    }
}
