use api::Change;
use model::parse_documents;

use super::*;
use crate::plan::{Rules, plan};
use crate::store::KeyValue;

const OBJECTS: &str = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: m}\nspec: {interfaces: [{dhcp: {mac: \
                       '52:54:00:00:00:01'}, netboot: {allowPXE: true}}]}\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: \
                       t}\nspec:\n  data: |\n    name: t\n    tasks:\n    - name: t\n      worker: '52:54:00:00:00:01'\n      actions: [{name: a, image: \
                       'i:1', timeout: 60}]\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {templateRef: t, \
                       hardwareRef: m}\n";

fn machine(intent: Intent, orders: &[&str]) -> ImportedMachine {
    ImportedMachine {
        namespace: "default".to_owned(),
        name: "m".to_owned(),
        intent,
        by: "ops".to_owned(),
        reason: "r".to_owned(),
        orders: orders.iter().map(|order| (*order).to_owned()).collect(),
        finished: false,
    }
}

fn imported(view: &View, machine: Option<ImportedMachine>) -> (Plan, Option<MachineState>) {
    let objects = parse_documents(OBJECTS, "f").unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let planned = plan(view, objects, &Rules::default(), now, &mut || "id".to_owned()).unwrap();
    let machines = machine.into_iter().map(|machine| (ObjectName::new("default", "m"), machine)).collect();
    let plan = with_intents(view, planned, &machines, now).unwrap();
    let state = plan.transaction.writes.iter().find_map(planned_state).map(|(_, state)| state);
    (plan, state)
}

#[test]
fn install_comes_from_the_file_or_not_at_all() {
    for (case, machine, intent, orders) in [
        ("the file says install", Some(machine(Intent::Install, &["default/w"])), Intent::Install, &["default/w"][..]),
        ("the file says nothing", None, Intent::Hold, &["default/w"]),
        ("it was held", Some(machine(Intent::Hold, &["default/w"])), Intent::Hold, &["default/w"]),
        ("it boots its disk", Some(machine(Intent::Local, &[])), Intent::Local, &[]),
        ("orders that are not in the file", Some(machine(Intent::Install, &["default/gone"])), Intent::Install, &[]),
    ] {
        let (plan, state) = imported(&View::default(), machine);
        let state = state.unwrap();
        assert_eq!(
            (state.decision.intent, state.orders.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
            (intent, orders),
            "{case}"
        );
        assert_eq!(plan.installs.len(), usize::from(intent == Intent::Install), "{case}");
        assert!(plan.changes.iter().all(|change| change.change == Change::Created), "{case}");
    }
}

#[test]
fn a_machine_that_was_seen_before_keeps_its_intent_even_without_its_hardware() {
    let local = Decision { intent: Intent::Local, by: "success".to_owned(), at: Timestamp::UNIX_EPOCH, reason: String::new() };
    let state = intent::imported(local, Vec::new(), true);
    let pair = KeyValue {
        key: machine_key(&ObjectName::new("default", "m")),
        value: serde_json::to_vec(&state).unwrap(),
        created: 1,
        modified: 1,
    };
    let view = View::load(vec![pair], 1);
    for machine in [None, Some(machine(Intent::Install, &["default/w"]))] {
        let (plan, state) = imported(&view, machine);
        assert!(state.is_none() && plan.installs.is_empty(), "{state:?}");
    }
}
