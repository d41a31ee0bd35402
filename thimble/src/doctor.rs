//! The command boots doctor, and the same look at the first start on a network.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use boots::doctor::{Finding, Holder, Kernel, Level, Question, check, examine, interfaces, other_servers, vrfs};
use clap::Args;
use machine::Chain;

use crate::client::{Format, print_table, print_value};
use crate::config::{Config, Settings};
use crate::{Daemon, client};

/// The settings file of the package.
const SETTINGS: &str = "/etc/thimble/thimble.yaml";
/// The exit code if it cannot look.
const CANNOT_LOOK: u8 = 3;
/// Below the folder of the logs: the network on which this host was looked at.
const LOOKED_AT: &str = "network";

#[derive(Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    daemon: Daemon,
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Looks, and prints what it found. The exit code is 1 if something is wrong.
///
/// # Errors
/// If the settings are wrong, or the output cannot be written.
pub fn run(arguments: DoctorArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let DoctorArguments { mut daemon, output } = arguments;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("thimble: doctor asks the network and reads the firewall, which wants root. Run: sudo thimble boots doctor");
        return Ok(ExitCode::from(CANNOT_LOOK));
    }
    if daemon.config.is_none() && Path::new(SETTINGS).exists() {
        daemon.config = Some(SETTINGS.into());
    }
    let file = daemon.config.as_deref().map(Settings::read).transpose()?;
    let settings = daemon.settings.or(file.unwrap_or_default());
    let address = settings.address;
    let config = Settings { address: address.or(Some(std::net::Ipv4Addr::LOCALHOST)), ..settings }.check()?;
    let question = Question { address, ..question(&config) };
    let found = client::block_on(async { Ok(check(&question, &examine(&question).await)) })?;
    show(&found, output, out)?;
    Ok(if found.iter().any(|one| one.level >= Level::Warning) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(found: &[Finding], output: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    if output != Format::Text {
        return print_value(&serde_json::to_value(found)?, output == Format::Yaml, out);
    }
    let rows: Vec<[String; 3]> =
        found.iter().map(|one| [one.level.word().to_owned(), one.check.to_owned(), one.found.clone()]).collect();
    print_table(out, ["RESULT", "CHECK", "FOUND"], &rows)?;
    let remedies: Vec<&Finding> = found.iter().filter(|one| !one.remedy.is_empty()).collect();
    for (number, one) in remedies.iter().enumerate() {
        if number == 0 {
            writeln!(out, "\nWhat to do:")?;
        }
        writeln!(out, "  {}. {}: {}", number + 1, one.check, client::clean_lines(&one.remedy))?;
    }
    Ok(())
}

fn question(config: &Config) -> Question {
    Question {
        address: Some(config.address).filter(|address| !address.is_unspecified()),
        interface: config.interface.clone(),
        is_proxy: config.dhcp.all().any(boots::dhcp::Mode::is_proxy),
        has_dhcp6: config.dhcp6.listed.iter().any(|network| network.mode != boots::dhcp6::Mode::Off),
        http: config.http.port(),
        grpc: config.grpc.port(),
        api: config.api.port(),
        metadata: config.metadata.iter().flat_map(|metadata| metadata.listen.clone()).collect(),
        files: [&config.kernel, &config.initrd].map(|name| config.files.join(name)).into(),
        nbp: config.nbp.clone(),
    }
}

/// A line for each other server on this host. At the first start on a network everything is looked at, in the background.
pub fn at_start(config: &Config) {
    for Holder { program, pid, port, address, .. } in other_servers().iter().filter(|one| !one.address.is_loopback()) {
        let who = if program.is_empty() { "another program".to_owned() } else { format!("{program} (process {pid})") };
        log::warn!("{who} of this host holds UDP port {port} too, at {address}; machines may get its answers. Stop one of both");
    }
    for one in vrfs(&question(config), &interfaces(), &Kernel::read()) {
        log::warn!("{}. {}", one.found, one.remedy);
    }
    let (question, seen) = (question(config), config.data.join("log").join(LOOKED_AT));
    let network = format!("{} {}\n", config.address, config.interface.as_deref().unwrap_or("-"));
    if std::fs::read_to_string(&seen).is_ok_and(|last| last == network) {
        return;
    }
    tokio::spawn(async move {
        let found = check(&question, &examine(&question).await);
        // The start itself has lines about address, files and programs.
        let is_new = |one: &&Finding| {
            one.level >= Level::Warning && matches!(one.check, "dhcp" | "pxe" | "relays" | "firewall" | "mtu" | "interface")
        };
        for one in found.iter().filter(is_new) {
            log::warn!("doctor: {}. {}", one.found, one.remedy);
        }
        let note = || {
            seen.parent().map(std::fs::create_dir_all).transpose()?;
            std::fs::write(&seen, network)
        };
        if found.iter().all(|one| one.level != Level::Unknown || one.check == "firewall")
            && let Err(error) = note()
        {
            log::debug!("cannot note in {} that the network was looked at: {}", seen.display(), Chain(&error));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shown_with_what_to_do() {
        let found = [
            Finding { check: "mtu", level: Level::Ok, found: "fine".to_owned(), remedy: String::new() },
            Finding { check: "dhcp", level: Level::Error, found: "another\u{1b}[2J".to_owned(), remedy: "stop it".to_owned() },
        ];
        let mut out = Vec::new();
        show(&found, Format::Text, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("error   dhcp   another") && text.ends_with("What to do:\n  1. dhcp: stop it\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let mut out = Vec::new();
        show(&found, Format::Json, &mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&json[1]["level"], &json[1]["remedy"]), (&"error".into(), &"stop it".into()));
    }
}
