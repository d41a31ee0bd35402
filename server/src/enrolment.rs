//! Enrolment: an agent without a workflow gets one from the rule set whose rules its attributes match best.

use std::net::SocketAddr;

use api::{Attributes, Intent, MachineState};
use jiff::Timestamp;
use log::{info, warn};
use machine::Chain;
use model::{
    API_VERSION, AgentId, Hardware, Kind, Metadata, Object, ObjectName, Workflow, WorkflowRuleSet, WorkflowSpec, WorkflowStatus,
};
use pattern::{Pattern, matching};
use proto::AgentAttributes;
use serde_json::Value;

use crate::agents::Facts;
use crate::change::{Tries, encoded};
use crate::discovery::{annotation, inventory, name_of};
use crate::intent;
use crate::service::{ApplyError, Server};
use crate::store::{StoreError, Transaction};
use crate::view::{View, machine_key};

const LABEL: &str = "tinkerbell.org/auto-enrollment";
/// Names the rule set that made the workflow. In Kubernetes that is the owner reference.
const RULE_SET: &str = "thimble/rule-set";

impl Server {
    /// Enrols an agent, as a best effort. An agent that cannot be enrolled waits like any other.
    pub(crate) async fn enrol(&self, id: &AgentId, address: Option<SocketAddr>, reported: Option<&AgentAttributes>) {
        let view = self.snapshot();
        if view.rule_sets.is_empty() {
            return;
        }
        let Some(hardware) = view.machine_of(id).map(|stored| &*stored.object) else { return };
        let state = view.machines.get(&hardware.name()).map(|stored| &*stored.object);
        if let Some((workflow, rule_set)) = half_done(&view, hardware, state) {
            return self.take_in(&hardware.name(), &workflow, &rule_set).await;
        }
        if !may_be_enrolled(hardware, state, self.is_discovered(address)) || !view.workflows_for(hardware).is_empty() {
            return;
        }
        let attributes = reported.map(|reported| Facts::from(reported).attributes);
        let attributes = attributes.or_else(|| self.attributes_of(id)).or_else(|| inventory(hardware));
        let Some(event) = attributes.as_ref().and_then(|attributes| serde_json::to_value(attributes).ok()) else { return };
        let Some(rule_set) = choose(view.rule_sets.values().map(|stored| &*stored.object), &event) else { return };
        let Some(workflow) = workflow(rule_set, id, hardware, attributes.as_ref()) else { return };
        let (name, rule_set) = (workflow.name(), rule_set.name());
        if view.workflows.contains_key(&name) {
            return;
        }
        match self.apply(vec![Object::Workflow(Box::new(workflow))]).await {
            Ok(_) => {
                info!("workflow={name} hardware={} agent={id} was enrolled by WorkflowRuleSet {rule_set}", hardware.name());
                self.take_in(&hardware.name(), &name, &rule_set.to_string()).await;
            }
            Err(ApplyError::Refused(mistakes)) => {
                let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
                warn!("agent={id} cannot be enrolled by WorkflowRuleSet {rule_set}: {first}");
            }
            Err(ApplyError::Store(reason)) => warn!("agent={id} could not be enrolled: {}", Chain(&reason)),
        }
    }

    async fn take_in(&self, hardware: &ObjectName, workflow: &ObjectName, rule_set: &str) {
        if let Err(reason) = self.end_waiting(hardware, &workflow.to_string(), rule_set).await {
            warn!("hardware={hardware} workflow={workflow} still waits for approval: {}", Chain(&reason));
        }
    }

    pub(crate) async fn end_waiting(&self, hardware: &ObjectName, workflow: &str, rule_set: &str) -> Result<(), StoreError> {
        let mut tries = Tries::default();
        loop {
            let Some(stored) = self.view().machines.get(hardware).cloned() else { return Ok(()) };
            let mut state = MachineState::clone(&stored.object);
            intent::enrolled(&mut state, workflow, rule_set, self.0.config().hold_new_machines, Timestamp::now());
            if state == *stored.object {
                return Ok(());
            }
            let transaction = Transaction::default().put(machine_key(hardware), stored.modified, encoded(&state)?);
            if tries.done(self.commit(transaction).await)? {
                return Ok(());
            }
        }
    }
}

/// A workflow of a rule set whose machine still waits, because the server stopped between the two steps.
fn half_done(view: &View, hardware: &Hardware, state: Option<&MachineState>) -> Option<(ObjectName, String)> {
    let state = state.filter(|state| state.decision.intent == Intent::Discover)?;
    let workflows = view.workflows_for(hardware);
    let mut ours = workflows.iter().map(|stored| &stored.object).filter(|workflow| workflow.metadata.labels.contains_key(LABEL));
    let workflow = ours.find(|workflow| state.orders.contains(&workflow.name().to_string()))?;
    Some((workflow.name(), workflow.metadata.annotations.get(RULE_SET).cloned().unwrap_or_default()))
}

/// Leaves alone a machine that has finished a workflow, that is installed, or that a person holds.
fn may_be_enrolled(hardware: &Hardware, state: Option<&MachineState>, on_discovery_network: bool) -> bool {
    let enabled = hardware.spec.auto.as_ref().and_then(|auto| auto.enrollment_enabled) == Some(true);
    match state {
        None => enabled,
        Some(state) if state.finished => false,
        Some(state) => match state.decision.intent {
            Intent::Discover => enabled || on_discovery_network,
            Intent::Inventory => enabled,
            Intent::Install | Intent::Local | Intent::Rescue | Intent::Hold => false,
        },
    }
}

/// The set with the most matching rules. If several have as many, the first by namespace and name.
fn choose<'s>(rule_sets: impl Iterator<Item = &'s WorkflowRuleSet>, event: &Value) -> Option<&'s WorkflowRuleSet> {
    let mut best = (0, None);
    for rule_set in rule_sets {
        // The rules were checked when the set was applied. As in Tinkerbell, a bad rule drops the whole set.
        let Ok(patterns) = rule_set.spec.rules.iter().map(|rule| Pattern::parse(rule)).collect::<Result<Vec<_>, _>>() else {
            continue;
        };
        let count = matching(&patterns, event).len();
        if count > best.0 {
            best = (count, Some(rule_set));
        }
    }
    best.1
}

fn workflow(rule_set: &WorkflowRuleSet, id: &AgentId, hardware: &Hardware, attributes: Option<&Attributes>) -> Option<Workflow> {
    let wanted = &rule_set.spec.workflow;
    let namespace = if wanted.namespace.is_empty() { &rule_set.metadata.namespace } else { &wanted.namespace }.clone();
    let same = hardware.metadata.namespace == namespace;
    let mut metadata = Metadata { name: name_of("enrollment-", id)?, namespace, ..Metadata::default() };
    metadata.labels.insert(LABEL.to_owned(), "true".to_owned());
    metadata.annotations.insert(RULE_SET.to_owned(), rule_set.name().to_string());
    if wanted.add_attributes == Some(true) {
        metadata.annotations.extend(annotation(attributes));
    }
    let mut spec = WorkflowSpec {
        template_ref: wanted.template.name.clone(),
        disabled: wanted.disabled,
        hardware_ref: if same { hardware.metadata.name.clone() } else { String::new() },
        ..WorkflowSpec::default()
    };
    spec.hardware_map.insert(wanted.template.agent_value.clone(), id.0.clone());
    spec.hardware_map.extend(wanted.template.kvs.clone());
    let kind = Kind::Workflow.to_string();
    Some(Workflow { api_version: API_VERSION.to_owned(), kind, metadata, spec, status: WorkflowStatus::default() })
}

#[cfg(test)]
mod tests {
    use model::parse_documents;
    use serde_json::json;

    use super::*;

    fn rule_set(name: &str, rules: &[&str]) -> WorkflowRuleSet {
        let text = json!({
            "apiVersion": API_VERSION, "kind": "WorkflowRuleSet", "metadata": {"name": name},
            "spec": {"rules": rules, "workflow": {
                "namespace": "default", "addAttributes": true,
                "template": {"ref": "t", "agentValue": "device_1", "kvs": {"image": "debian"}},
            }},
        });
        match parse_documents(&text.to_string(), "f").unwrap().remove(0) {
            Object::WorkflowRuleSet(found) => *found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_set_with_the_most_matching_rules_wins_and_the_first_of_equal_ones() {
        let (dell, big) = (r#"{"product": {"vendor": ["Dell"]}}"#, r#"{"cpu": {"totalCores": [64]}}"#);
        let sets =
            [rule_set("a", &[dell]), rule_set("b", &[dell, big]), rule_set("c", &[big]), rule_set("broken", &["{", dell, big])];
        for (event, chosen) in [
            (json!({"product": {"vendor": "Dell"}}), Some("a")),
            (json!({"product": {"vendor": "Dell"}, "cpu": {"totalCores": 64}}), Some("b")),
            (json!({"cpu": {"totalCores": 64}}), Some("b")),
            (json!({"cpu": {"totalCores": 32}}), None),
        ] {
            assert_eq!(choose(sets.iter(), &event).map(|set| set.metadata.name.as_str()), chosen, "{event}");
        }
    }

    #[test]
    fn which_machines_may_be_enrolled() {
        let hardware = |enabled: Option<bool>| {
            let auto = enabled.map(|enabled| json!({"enrollmentEnabled": enabled}));
            let object =
                json!({"apiVersion": API_VERSION, "kind": "Hardware", "metadata": {"name": "m"}, "spec": {"auto": auto}});
            serde_json::from_value::<Hardware>(object).unwrap()
        };
        let state = |intent, finished| {
            let mut state = intent::unordered(Timestamp::UNIX_EPOCH);
            (state.decision.intent, state.finished) = (intent, finished);
            Some(state)
        };
        for (case, enabled, state, here, may) in [
            ("an ordinary machine", None, None, true, false),
            ("one whose Hardware allows it", Some(true), None, false, true),
            ("a discovered one on the network", Some(false), state(Intent::Discover, false), true, true),
            ("a discovered one that calls from elsewhere", Some(false), state(Intent::Discover, false), false, false),
            ("an approved one", Some(false), state(Intent::Inventory, false), true, false),
            ("an approved one that is allowed", Some(true), state(Intent::Inventory, false), false, true),
            ("one that has finished", Some(true), state(Intent::Inventory, true), true, false),
            ("an installed one", Some(true), state(Intent::Local, true), true, false),
            ("a held one", Some(true), state(Intent::Hold, false), true, false),
            ("one in rescue", Some(true), state(Intent::Rescue, false), true, false),
        ] {
            assert_eq!(may_be_enrolled(&hardware(enabled), state.as_ref(), here), may, "{case}");
        }
    }

    #[test]
    fn the_workflow_is_tinkerbells() {
        let hardware = json!({"apiVersion": API_VERSION, "kind": "Hardware", "metadata": {"name": "m"}, "spec": {}});
        let hardware: Hardware = serde_json::from_value(hardware).unwrap();
        let made = workflow(&rule_set("a", &[]), &AgentId::from("52:54"), &hardware, Some(&Attributes::default())).unwrap();
        assert_eq!(
            (made.name().to_string().as_str(), made.metadata.labels[LABEL].as_str()),
            ("default/enrollment-52-54", "true")
        );
        assert_eq!((made.spec.template_ref.as_str(), made.spec.hardware_ref.as_str()), ("t", "m"));
        assert_eq!(serde_json::to_value(&made.spec.hardware_map).unwrap(), json!({"device_1": "52:54", "image": "debian"}));
        assert_eq!(made.metadata.annotations["tinkerbell.org/agent-attributes"], "{}");
    }
}
