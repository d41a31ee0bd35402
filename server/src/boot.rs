//! What a machine shall boot now, decided from its Hardware and its workflows.

use api::BootState;
use model::{Hardware, Mac, ObjectName, Workflow, WorkflowState};

use crate::view::View;

/// `mac` is the interface that asks; without it any interface that may boot from the network counts.
#[must_use]
pub fn boot_state(view: &View, hardware: &Hardware, mac: Option<Mac>) -> BootState {
    let mut asking = hardware
        .spec
        .interfaces
        .iter()
        .filter(|interface| mac.is_none_or(|mac| interface.dhcp.as_ref().is_some_and(|dhcp| dhcp.mac == Some(mac))));
    if !asking.any(model::Interface::may_netboot) {
        return BootState::Local { reason: format!("netboot.allowPXE is not true in Hardware {}", hardware.name()) };
    }
    let workflows = view.workflows_for(hardware);
    let runnable = |workflow: &Workflow| {
        workflow.spec.disabled != Some(true)
            && workflow.status.state.is_some_and(WorkflowState::is_runnable)
            && !workflow.status.tasks.is_empty()
    };
    // The oldest runnable one is what its agent will be given first.
    if let Some(found) = workflows.iter().rev().find(|found| runnable(&found.object)) {
        return BootState::Install { workflow: Some(found.object.name().to_string()) };
    }
    workflows.first().map_or_else(
        || BootState::Wait { reason: "there is no workflow for this machine".to_owned() },
        |newest| after(&newest.object.name(), &newest.object),
    )
}

/// What the newest workflow left behind, if nothing is to run.
fn after(name: &ObjectName, workflow: &Workflow) -> BootState {
    let status = &workflow.status;
    match status.state {
        Some(state @ (WorkflowState::Success | WorkflowState::Post)) => {
            BootState::Local { reason: format!("workflow {name} is {state}") }
        }
        Some(state) => BootState::Wait { reason: format!("workflow {name} is {state}: {}", status.message) },
        None if workflow.spec.disabled == Some(true) => BootState::Wait { reason: format!("workflow {name} is disabled") },
        None => BootState::Wait { reason: format!("workflow {name} is not ready: {}", status.message) },
    }
}
