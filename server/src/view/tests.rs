use model::{Object, parse_documents};
use serde_json::json;

use super::*;

fn change(revision: u64, text: &str) -> Change {
    let object = parse_documents(text, "f").unwrap().remove(0);
    let key = key(object.kind(), &object.name());
    let value = match &object {
        Object::Hardware(object) => serde_json::to_vec(object),
        Object::Template(object) => serde_json::to_vec(object),
        Object::Workflow(object) => serde_json::to_vec(object),
        other => serde_json::to_vec(other),
    };
    let pair = KeyValue { key: key.clone(), value: value.unwrap(), created: revision, modified: revision };
    Change { revision, whole: revision, key, pair: Some(Arc::new(pair)), previous: None }
}

fn hardware(name: &str, mac: &str) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}}}\nspec: {{interfaces: [{{dhcp: {{mac: '{mac}'}}}}]}}\n"
    )
}

#[test]
fn a_mac_follows_its_hardware() {
    let (one, two) = ("52:54:00:00:00:01".parse().unwrap(), "52:54:00:00:00:02".parse().unwrap());
    let mut view = View::default();
    let owner = |view: &View, mac| view.by_mac(mac).map(|stored| stored.object.metadata.name.clone());
    view.update(&change(1, &hardware("a", "52:54:00:00:00:01")));
    view.update(&change(2, &hardware("a", "52:54:00:00:00:02")));
    assert_eq!((owner(&view, one), owner(&view, two)), (None, Some("a".into())));
    view.update(&change(3, &hardware("b", "52:54:00:00:00:01")));
    view.update(&Change { revision: 4, whole: 4, key: "/hardware/default/a".into(), pair: None, previous: None });
    assert_eq!((owner(&view, one), owner(&view, two)), (Some("b".into()), None));
}

#[test]
fn a_change_concerns_the_agents_that_were_named_and_those_that_are() {
    let workflow = |name: &str, worker: &str| {
        format!(
            "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{templateRef: t, hardwareMap: {{w: '{worker}'}}}}\n"
        )
    };
    let one = "52:54:00:00:00:01";
    let mut view = View::default();
    for (revision, text, expected) in [
        (1, hardware("a", one), vec![one]),
        (2, workflow("w", "x"), vec!["x", "default/w"]),
        (3, workflow("w", "52-54-00-00-00-01"), vec![one, "x", "default/w"]),
        (4, hardware("a", "52:54:00:00:00:02"), vec![one, "52:54:00:00:00:02"]),
    ] {
        let subjects = view.update(&change(revision, &text)).subjects;
        let names = subjects.iter().map(|subject| match subject {
            Subject::Agent(agent) => agent.to_string(),
            Subject::Workflow(name) => name.to_string(),
        });
        assert_eq!(names.collect::<Vec<_>>(), expected, "revision {revision}");
    }
    let state = KeyValue { key: "/machines/default/a".into(), value: b"{".to_vec(), created: 5, modified: 5 };
    let subjects = view
        .update(&Change { revision: 5, whole: 5, key: state.key.clone(), pair: Some(Arc::new(state)), previous: None })
        .subjects;
    assert_eq!(subjects, BTreeSet::from([Subject::Agent("52:54:00:00:00:02".into())]), "of the machine whose state it is");
}

#[test]
fn what_cannot_be_read_is_left_out_and_does_no_harm() {
    let mut view = View::default();
    view.update(&change(1, &hardware("a", "52:54:00:00:00:01")));
    let pair = KeyValue { key: "/hardware/default/a".into(), value: b"{".to_vec(), created: 1, modified: 2 };
    view.update(&Change { revision: 2, whole: 2, key: pair.key.clone(), pair: Some(Arc::new(pair)), previous: None });
    assert!(view.hardware.is_empty());
    assert!(
        view.update(&Change { revision: 3, whole: 3, key: "/elsewhere".into(), pair: None, previous: None }).events.is_empty()
    );
    assert_eq!(view.revision, 3);
}

#[test]
fn a_workflow_is_found_by_what_it_names_now_and_is_running_for_as_long_as_it_runs() {
    let workflow = |template: &str, hardware: &str, worker: &str, state: Option<&str>| {
        let task = |state| {
            let action = json!({"name": "x", "id": "i", "image": "x", "state": state});
            json!({"name": "t", "id": "t", "agentID": "a", "actions": [action]})
        };
        let status = state.map(|state| {
            json!({"state": state, "currentState": {"agentID": "a", "taskID": "t", "actionID": "i", "state": state}, "tasks": [task(state)]})
        });
        json!({
            "apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow", "metadata": {"name": "w", "namespace": "default"},
            "spec": {"templateRef": template, "hardwareRef": hardware, "hardwareMap": {"w": worker}},
            "status": status.unwrap_or_else(|| json!({})),
        })
    };
    let mut view = View::default();
    let found = |view: &View| {
        let has = |agent: &str| view.workflows_of(&agent.into()).count();
        let uses = |kind, name: &str| view.users(kind, &ObjectName::new("default", name)).count();
        let uses = [uses(Kind::Template, "t"), uses(Kind::Template, "other"), uses(Kind::Hardware, "h")];
        ([has("a"), has("b")], uses, view.running().count())
    };
    let key = "/workflows/default/w";
    for (modified, step, object, expected) in [
        (1, "it waits", workflow("t", "", "b", None), ([0, 1], [1, 0, 0], 0)),
        (2, "it is rendered", workflow("t", "", "b", Some("PENDING")), ([1, 0], [1, 0, 0], 0)),
        (3, "it runs", workflow("t", "", "b", Some("RUNNING")), ([1, 0], [1, 0, 0], 1)),
        (4, "it runs on", workflow("t", "", "b", Some("RUNNING")), ([1, 0], [1, 0, 0], 1)),
        (5, "it has ended", workflow("t", "", "b", Some("SUCCESS")), ([1, 0], [1, 0, 0], 0)),
        (6, "it names others", workflow("other", "h", "b", None), ([0, 1], [0, 1, 1], 0)),
    ] {
        let pair = KeyValue { key: key.to_owned(), value: object.to_string().into_bytes(), created: 1, modified };
        view.update(&Change {
            revision: modified,
            whole: modified,
            key: key.to_owned(),
            pair: Some(Arc::new(pair)),
            previous: None,
        });
        assert_eq!(found(&view), expected, "{step}");
    }
    view.update(&Change { revision: 9, whole: 9, key: key.to_owned(), pair: None, previous: None });
    assert_eq!(found(&view), ([0, 0], [0, 0, 0], 0), "it is deleted");
}
