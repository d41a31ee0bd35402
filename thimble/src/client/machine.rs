//! One machine, as the server knows it and as its agent described it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::Output;
use super::api::Api;
use super::table::clean;

pub(super) async fn run(api: &Api, address: &str, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let machine = api.get(&format!("/v1/machines/{address}")).await?;
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&machine)?)?,
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(&machine).context("cannot write YAML")?)?,
        Output::Table => {
            for (label, text) in lines(&machine) {
                writeln!(out, "{label:<10}{}", clean(&text))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is not known has no line.
fn lines(machine: &Value) -> Vec<(&'static str, String)> {
    let attributes = |path: &str| machine.pointer(&format!("/agent/attributes/{path}"));
    let list = |path: &str| attributes(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let word = |path: &str| machine.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = vec![
        ("Machine", word("/mac")),
        ("Hardware", word("/hardware/metadata/name")),
        ("Boots", [word("/boot"), word("/workflow"), word("/reason")].join(" ").trim().replace("  ", " ")),
        ("Agent", word("/agent/id")),
        ("Last seen", [word("/agent/lastSeen"), word("/agent/address")].join(" ").trim().to_owned()),
    ];
    lines.extend(list("networkInterfaces").iter().filter_map(neighbour).map(|text| ("Neighbour", text)));
    lines.push(("Started", started(machine.pointer("/agent/attributes/platform"))));
    let boot: Vec<String> = list("platform/boot").iter().filter_map(milestone).collect();
    lines.push(("Boot", boot.join(", ")));
    lines.extend(list("platform/missingFirmware").iter().map(|one| ("Lacks", firmware(one))));
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("?")
}

fn neighbour(interface: &Value) -> Option<String> {
    let neighbour = interface.get("neighbour")?;
    let system = neighbour.get("system").or(neighbour.get("chassis")).and_then(Value::as_str).unwrap_or("?");
    Some(format!("{}: {} of {system}", text(interface, "name"), text(neighbour, "port")))
}

/// By which firmware, and what vouches for the kernel and the ramdisk.
fn started(platform: Option<&Value>) -> String {
    let word = |key: &str| platform.and_then(|platform| platform.get(key)).and_then(Value::as_str);
    let secure = platform.and_then(|platform| platform.get("secureBoot")).and_then(Value::as_bool);
    let secure = secure.map(|on| format!("Secure Boot {}", if on { "on" } else { "off" }));
    let tpm = word("tpm").map(|version| format!("TPM {version}"));
    let measured = word("pcr11").map(|value| format!("PCR 11 {value}"));
    [word("firmware").map(str::to_owned), secure, tpm, measured].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn milestone(one: &Value) -> Option<String> {
    let at = one.get("milliseconds")?.as_u64()?;
    Some(format!("{} {}.{:03} s", text(one, "name"), at / 1000, at % 1000))
}

fn firmware(one: &Value) -> String {
    format!("firmware {}, wanted by {} ({})", text(one, "file"), text(one, "driver"), text(one, "device"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_machine_is_shown_with_what_it_lacks_and_nothing_that_is_not_known() {
        let bare = json!({"mac": "52:54:00:12:34:56", "hardware": {"metadata": {"name": "node-1"}}});
        assert_eq!(lines(&bare), [("Machine", "52:54:00:12:34:56".to_owned()), ("Hardware", "node-1".to_owned())]);
        let attributes = json!({
            "networkInterfaces": [{"name": "eth0", "neighbour": {"port": "gi1/0/7", "chassis": "00:11"}}, {"name": "eth1"}],
            "platform": {
                "firmware": "UEFI", "secureBoot": true, "tpm": "2.0", "pcr11": "00a1",
                "boot": [{"name": "init", "milliseconds": 931}, {"name": "network", "milliseconds": 1500}],
                "missingFirmware": [{"file": "e100/d101m_ucode.bin", "driver": "e100", "device": "0000:00:03.0"}],
            },
        });
        let shown = lines(&json!({"agent": {"id": "a", "attributes": attributes}}));
        for expected in [
            ("Agent", "a"),
            ("Neighbour", "eth0: gi1/0/7 of 00:11"),
            ("Started", "UEFI, Secure Boot on, TPM 2.0, PCR 11 00a1"),
            ("Boot", "init 0.931 s, network 1.500 s"),
            ("Lacks", "firmware e100/d101m_ucode.bin, wanted by e100 (0000:00:03.0)"),
        ] {
            assert!(shown.iter().any(|(label, text)| (*label, text.as_str()) == expected), "{expected:?} in {shown:?}");
        }
    }
}
