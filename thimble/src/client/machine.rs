//! Shows one machine: the server's data, and its agent's description.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use api::paths::{MACHINES, machine as path, machine_intent};
use api::{
    Agent, BootState, Decision, Intent, Link, Machine, MachineLine, MachineState, Milestone, MissingFirmware, Order, OrderKind,
    Platform, Progress,
};
use jiff::Timestamp;
use model::WorkflowState;
use reqwest::Method;
use serde_json::Value;

use super::Output;
use super::connection::Connection;
use super::objects::print_value;
use super::show::waits;
use super::table::{age, clean, print};

pub(super) async fn run(server: &Connection, address: &str, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let machine: Value = server.get(&path(address)).await?;
    if output == Output::Table {
        let machine = serde_json::from_value(machine).context("cannot read the machine in the answer of the server")?;
        for (label, text) in lines(&machine) {
            writeln!(out, "{label:<10}{}", clean(&text))?;
        }
    } else {
        print_value(&machine, output, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the machines that wait for a person, or all.
pub(super) async fn list(server: &Connection, all: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let machines: Vec<MachineLine> = server.get(MACHINES).await?;
    let waits = |machine: &&MachineLine| all || matches!(machine.decision.intent, Intent::Discover | Intent::Hold);
    let rows: Vec<[String; 6]> = machines.iter().filter(waits).map(|machine| row(machine, now)).collect();
    print(out, ["HARDWARE", "INTENT", "SINCE", "ADDRESS", "SEEN", "REASON"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(machine: &MachineLine, now: Timestamp) -> [String; 6] {
    let address = machine.address.map_or_else(|| "-".to_owned(), |address| address.ip().to_string());
    [
        machine.hardware.clone(),
        machine.decision.intent.to_string(),
        age(Some(machine.decision.at), now),
        address,
        age(machine.last_seen, now),
        machine.decision.reason.clone(),
    ]
}

/// The lines of a machine. Unknown facts have no line.
fn lines(machine: &Machine) -> Vec<(&'static str, String)> {
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
    if let Some(agent) = &machine.agent {
        lines.extend(of_agent(agent));
    }
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// `install by apply at ...: workflow default/w was ordered`
fn intent(state: &MachineState) -> String {
    let Decision { intent, by, at, reason } = &state.decision;
    format!("{intent} by {by} at {at:.0}: {reason}")
}

/// Gives an order for a machine, and prints what it boots from now on.
pub(super) async fn order(
    server: &Connection,
    machine: &str,
    order: OrderKind,
    reason: Option<String>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let by = std::env::var("USER").unwrap_or_default();
    let body = serde_json::to_string(&Order { order, by, reason: reason.unwrap_or_default() })?;
    let answer = server.call(Method::POST, &machine_intent(machine), body).await?;
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    let state: MachineState = answer.read()?;
    writeln!(out, "{}", clean(&format!("{machine}: {}", intent(&state))))?;
    Ok(ExitCode::SUCCESS)
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
    let mut lines = vec![("Agent", agent.id.to_string()), ("Last seen", format!("{}{address}{plainly}", agent.last_seen))];
    let progress = |progress: &Progress| format!("{} {} {} %", progress.workflow, progress.action, progress.percent);
    lines.extend(agent.progress.as_ref().map(|found| ("Progress", progress(found))));
    let Some(attributes) = &agent.attributes else { return lines };
    lines.extend(attributes.network_interfaces.iter().filter_map(neighbour).map(|text| ("Neighbour", text)));
    let Some(platform) = &attributes.platform else { return lines };
    lines.push(("Started", started(platform)));
    lines.push(("Boot", platform.boot.iter().filter_map(milestone).collect::<Vec<_>>().join(", ")));
    lines.extend(platform.missing_firmware.iter().map(|one| ("Lacks", firmware(one))));
    lines
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
    use serde_json::json;

    use super::*;

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
        let expected = [
            ("Hardware", "node-1"),
            ("Boots", "hold repair"),
            ("Intent", "hold by ada at 2026-01-02T03:04:05Z: repair"),
            ("Orders", "default/w"),
        ];
        let shown = lines(&serde_json::from_value(machine).unwrap());
        assert_eq!(shown, expected.map(|(label, text)| (label, text.to_owned())));
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
            ("Queue", "1. default/w PENDING, waits for boot since 2026-01-02T03:04:05Z, overdue: it has not called"),
            ("Queue", "2. default/v not ready"),
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
        for expected in [
            ("Agent", "a"),
            ("Last seen", "2026-01-02T03:04:05Z 10.0.0.7:80"),
            ("Neighbour", "eth0: gi1/0/7 of 00:11"),
            ("Started", "UEFI, Secure Boot on, TPM 2.0, PCR 11 00a1"),
            ("Boot", "init 0.931 s, network 1.500 s"),
            ("Lacks", "firmware e100/d101m_ucode.bin, needed by e100 (0000:00:03.0)"),
        ] {
            assert!(shown.iter().any(|(label, text)| (*label, text.as_str()) == expected), "{expected:?} in {shown:?}");
        }
    }
}
