//! What a machine should boot now: a function of its Hardware and its intent. Pure.

use api::{BootState, Intent, MachineState};
use model::{AgentId, Hardware, Mac, Workflow, WorkflowState};

use crate::view::{View, agents};

/// The boot state according to the view. `mac` is the interface that asks. Without it, any interface that may netboot
/// counts.
#[must_use]
pub fn boot_state(view: &View, hardware: &Hardware, mac: Option<Mac>) -> BootState {
    let name = hardware.name();
    let state = view.machines.get(&name).map(|stored| &*stored.object);
    let newest = view.workflows_for(hardware).first().map(|stored| &*stored.object);
    boots(hardware, mac, state, |order| view.workflow(order), newest)
}

/// `workflow` finds an order by its name. `newest` is the latest workflow that names the machine: it may be the reason why
/// there is nothing to do.
pub fn boots<'w>(
    hardware: &Hardware,
    mac: Option<Mac>,
    state: Option<&MachineState>,
    workflow: impl Fn(&str) -> Option<&'w Workflow>,
    newest: Option<&Workflow>,
) -> BootState {
    if let Some(reason) = may_not_netboot(hardware, mac) {
        return BootState::Local { reason };
    }
    let idle = || newest.map_or_else(|| "this machine has no workflow".to_owned(), why_idle);
    let Some(state) = state else { return BootState::Wait { reason: idle() } };
    let reason = state.decision.reason.clone();
    match state.decision.intent {
        Intent::Local => BootState::Local { reason },
        Intent::Rescue => BootState::Rescue { reason },
        Intent::Hold => BootState::Hold { reason },
        Intent::Inventory => BootState::Wait { reason: idle() },
        Intent::Discover => BootState::Wait { reason },
        Intent::Install => {
            // Its agent gets the oldest order first.
            let open = state.orders.iter().filter_map(|order| workflow(order)).find(|workflow| is_open(workflow));
            if let Some(order) = open {
                let name = order.name();
                let agents = agents(order);
                return if agents.iter().any(|agent| is_agent_of(agent, hardware)) {
                    BootState::Install { workflow: Some(name.to_string()) }
                } else {
                    let others = agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    BootState::Wait {
                        reason: format!("workflow {name} is for agent {others}, which does not run on this machine"),
                    }
                };
            }
            let last = state.orders.last().map(|order| match workflow(order) {
                Some(workflow) => why_idle(workflow),
                None => format!("workflow {order} was deleted after it had begun"),
            });
            BootState::Wait { reason: last.unwrap_or(reason) }
        }
    }
}

fn is_agent_of(agent: &AgentId, hardware: &Hardware) -> bool {
    let mac: Option<Mac> = agent.0.parse().ok();
    hardware.spec.agent_id.as_ref() == Some(&agent.0) || mac.is_some_and(|mac| hardware.spec.macs().any(|own| own == mac))
}

/// Why the machine boots its disk, whatever its intent is.
#[must_use]
pub fn may_not_netboot(hardware: &Hardware, mac: Option<Mac>) -> Option<String> {
    let asks =
        |interface: &&model::Interface| mac.is_none_or(|mac| interface.dhcp.as_ref().is_some_and(|dhcp| dhcp.mac == Some(mac)));
    let mut asking = hardware.spec.interfaces.iter().filter(asks);
    let allowed = asking.any(model::Interface::may_netboot);
    (!allowed).then(|| format!("netboot.allowPXE is not true in Hardware {}", hardware.name()))
}

/// Whether an agent can get an action of this workflow.
#[must_use]
pub fn is_open(workflow: &Workflow) -> bool {
    workflow.spec.disabled != Some(true)
        && workflow.status.state.is_some_and(WorkflowState::is_runnable)
        && !workflow.status.tasks.is_empty()
}

/// Why nothing of this workflow runs.
fn why_idle(workflow: &Workflow) -> String {
    let (name, status) = (workflow.name(), &workflow.status);
    let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    match status.state {
        Some(state) if is_open(workflow) => {
            format!("workflow {name} is {state} and not ordered; `thimble machine reinstall` orders it")
        }
        Some(state) => format!("workflow {name} is {state}{message}"),
        None if workflow.spec.disabled == Some(true) => format!("workflow {name} is disabled"),
        None => format!("workflow {name} is not ready{message}"),
    }
}
