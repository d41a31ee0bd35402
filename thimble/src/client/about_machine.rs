//! What `thimble machine` shows of one machine: the server's data, and its agent's description.

use api::{Agent, Attributes, BootState, Link, Machine, Milestone, MissingFirmware, Platform};
use model::Progress;
use model::WorkflowState;

use super::machine::intent;
use super::show::waits;
use super::table::{local, size};

/// The lines of a machine. Unknown facts have no line.
pub(super) fn lines(machine: &Machine) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Machine", machine.mac.map(|mac| mac.to_string()).unwrap_or_default()),
        ("Hardware", machine.hardware.metadata.name.clone()),
        ("Boots", boots(&machine.boot)),
    ];
    if let Some(state) = &machine.state {
        lines.push(("Intent", intent(state)));
        lines.push(("Orders", state.orders.join(", ")));
    }
    for (number, queued) in machine.queue.iter().enumerate() {
        let waiting = queued.waiting.as_ref().map_or_else(String::new, |waiting| format!(", waits for {}", waits(waiting)));
        let state = queued.state.map_or("not ready", WorkflowState::as_str);
        lines.push(("Queue", format!("{}. {} {state}{waiting}", number + 1, queued.workflow)));
    }
    if let Some(last) = &machine.last_step {
        lines.push(("Last step", format!("{} {}", local(last.step.step.latest()), last.step.step)));
        let beware = |server| format!("DHCP server {server} answers this machine, too; `thimble boots explain` says more");
        lines.extend(last.other_server.map(|server| ("Beware", beware(server))));
    }
    if let Some(agent) = &machine.agent {
        lines.extend(of_agent(agent));
    }
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

fn boots(boot: &BootState) -> String {
    let why = match boot {
        BootState::Install { workflow } => workflow.as_deref().unwrap_or_default(),
        BootState::Local { .. } | BootState::Wait { .. } | BootState::Rescue { .. } | BootState::Hold { .. } => boot.reason(),
    };
    format!("{} {why}", boot.word()).trim_end().to_owned()
}

fn of_agent(agent: &Agent) -> Vec<(&'static str, String)> {
    let address = agent.address.map(|address| format!(" {address}")).unwrap_or_default();
    let plainly = if agent.encrypted == Some(false) { ", without TLS" } else { "" };
    let mut lines = vec![("Agent", agent.id.to_string()), ("Last seen", format!("{}{address}{plainly}", local(agent.last_seen)))];
    let progress = |progress: &Progress| format!("{} {} {} %", progress.workflow, progress.action, progress.percent);
    lines.extend(agent.progress.as_ref().map(|found| ("Progress", progress(found))));
    let Some(attributes) = &agent.attributes else { return lines };
    lines.extend(built(attributes).map(|text| ("Has", text)));
    lines.extend(attributes.network_interfaces.iter().filter_map(neighbour).map(|text| ("Neighbour", text)));
    let Some(platform) = &attributes.platform else { return lines };
    lines.push(("Started", started(platform)));
    lines.push(("Boot", platform.boot.iter().filter_map(milestone).collect::<Vec<_>>().join(", ")));
    lines.extend(platform.missing_firmware.iter().map(|one| ("Lacks", firmware(one))));
    lines
}

/// Processor, memory and disks, in one line.
fn built(attributes: &Attributes) -> Option<String> {
    let cpu = attributes.cpu.as_ref().and_then(|cpu| cpu.total_threads).map(|threads| format!("{threads} CPUs"));
    let memory =
        attributes.memory.as_ref().and_then(|memory| memory.total.as_deref()).map(|total| format!("memory {}", sized(total)));
    let disks = attributes.block_devices.iter().filter_map(|disk| {
        let name = disk.name.as_deref()?;
        Some(format!("{name} {}", disk.size.as_deref().map_or_else(|| "?".to_owned(), sized)))
    });
    let parts: Vec<String> = cpu.into_iter().chain(memory).chain(disks).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A number of bytes with its unit. Other texts have one already.
fn sized(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), size)
}

fn known(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("?")
}

fn neighbour(link: &Link) -> Option<String> {
    let neighbour = link.neighbour.as_ref()?;
    let system = neighbour.system.as_ref().or(neighbour.chassis.as_ref()).map_or("?", String::as_str);
    Some(format!("{}: {} of {system}", known(&link.name), known(&neighbour.port)))
}

/// The firmware that started the machine, and what secures the kernel and the ramdisk.
fn started(platform: &Platform) -> String {
    let secure = platform.secure_boot.map(|on| format!("Secure Boot {}", if on { "on" } else { "off" }));
    let tpm = platform.tpm.as_ref().map(|version| format!("TPM {version}"));
    let measured = platform.pcr11.as_ref().map(|value| format!("PCR 11 {value}"));
    [platform.firmware.clone(), secure, tpm, measured].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn milestone(one: &Milestone) -> Option<String> {
    let at = one.milliseconds?;
    Some(format!("{} {}.{:03} s", known(&one.name), at / 1000, at % 1000))
}

fn firmware(one: &MissingFirmware) -> String {
    format!("firmware {}, needed by {} ({})", known(&one.file), known(&one.driver), known(&one.device))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at() -> String {
        local("2026-01-02T03:04:05Z".parse().unwrap())
    }

    fn shown(agent: Value) -> Vec<(&'static str, String)> {
        let hardware = json!({"apiVersion": "a", "kind": "Hardware", "metadata": {"name": "node-1"}, "spec": {}});
        let machine =
            json!({"mac": "52:54:00:12:34:56", "hardware": hardware, "boot": "wait", "reason": "no workflow", "agent": agent});
        lines(&serde_json::from_value(machine).unwrap())
    }

    #[test]
    fn the_intent_is_shown_with_who_set_it_and_when() {
        let hardware = json!({"apiVersion": "a", "kind": "Hardware", "metadata": {"name": "node-1"}, "spec": {}});
        let state =
            json!({"intent": "hold", "by": "ada", "at": "2026-01-02T03:04:05Z", "reason": "repair", "orders": ["default/w"]});
        let machine = json!({"mac": null, "hardware": hardware, "boot": "hold", "reason": "repair", "state": state});
        let intent = format!("hold by ada at {}: repair", at());
        let expected = [("Hardware", "node-1"), ("Boots", "hold repair"), ("Intent", intent.as_str()), ("Orders", "default/w")];
        let shown = lines(&serde_json::from_value(machine).unwrap());
        assert_eq!(shown, expected.map(|(label, text)| (label, text.to_owned())));
    }

    #[test]
    fn the_last_step_of_the_boot_is_shown_and_another_dhcp_server() {
        let hardware = json!({"apiVersion": "a", "kind": "Hardware", "metadata": {"name": "node-1"}, "spec": {}});
        let step = json!({"mac": "52:54:00:12:34:56", "at": "2026-01-02T03:04:05Z", "kind": "chose_other", "asked": "REQUEST of iPXE",
            "why": "it chose another server, 10.0.0.9", "server": "10.0.0.9", "otherServer": "10.0.0.9"});
        let machine = json!({"mac": null, "hardware": hardware, "boot": "hold", "reason": "r", "last_step": step});
        let shown = lines(&serde_json::from_value(machine).unwrap());
        let last = format!("{} DHCP: REQUEST of iPXE -> no answer (it chose another server, 10.0.0.9)", at());
        assert_eq!(shown[2], ("Last step", last));
        assert!(shown[3].0 == "Beware" && shown[3].1.contains("10.0.0.9"), "{shown:?}");
    }

    #[test]
    fn the_queue_is_shown_in_its_order_with_what_each_workflow_waits_for() {
        let hardware = json!({"apiVersion": "a", "kind": "Hardware", "metadata": {"name": "node-1"}, "spec": {}});
        let waiting = json!({"phase": "boot", "reason": "it has not called", "since": "2026-01-02T03:04:05Z", "limit": 1200,
            "overdue": true});
        let queue = json!([
            {"workflow": "default/w", "state": "PENDING", "waiting": waiting},
            {"workflow": "default/v", "state": null},
        ]);
        let machine = json!({"mac": null, "hardware": hardware, "boot": "hold", "reason": "r", "queue": queue});
        let shown = lines(&serde_json::from_value(machine).unwrap());
        let expected = [
            ("Queue", format!("1. default/w PENDING, waits for boot since {}, overdue: it has not called", at())),
            ("Queue", "2. default/v not ready".to_owned()),
        ];
        assert_eq!(shown[2..], expected.map(|(label, text)| (label, text.to_owned())));
    }

    #[test]
    fn a_machine_is_shown_with_what_it_lacks_and_without_unknown_facts() {
        let bare = [("Machine", "52:54:00:12:34:56"), ("Hardware", "node-1"), ("Boots", "wait no workflow")];
        assert_eq!(shown(Value::Null), bare.map(|(label, text)| (label, text.to_owned())));
        let attributes = json!({
            "networkInterfaces": [{"name": "eth0", "neighbour": {"port": "gi1/0/7", "chassis": "00:11"}}, {"name": "eth1"}],
            "platform": {
                "firmware": "UEFI", "secureBoot": true, "tpm": "2.0", "pcr11": "00a1",
                "boot": [{"name": "init", "milliseconds": 931}, {"name": "network", "milliseconds": 1500}],
                "missingFirmware": [{"file": "e100/d101m_ucode.bin", "driver": "e100", "device": "0000:00:03.0"}],
            },
        });
        let shown =
            shown(json!({"id": "a", "lastSeen": "2026-01-02T03:04:05Z", "address": "10.0.0.7:80", "attributes": attributes}));
        let seen = format!("{} 10.0.0.7:80", at());
        for expected in [
            ("Agent", "a"),
            ("Last seen", seen.as_str()),
            ("Neighbour", "eth0: gi1/0/7 of 00:11"),
            ("Started", "UEFI, Secure Boot on, TPM 2.0, PCR 11 00a1"),
            ("Boot", "init 0.931 s, network 1.500 s"),
            ("Lacks", "firmware e100/d101m_ucode.bin, needed by e100 (0000:00:03.0)"),
        ] {
            assert!(shown.iter().any(|(label, text)| (*label, text.as_str()) == expected), "{expected:?} in {shown:?}");
        }
    }
}
