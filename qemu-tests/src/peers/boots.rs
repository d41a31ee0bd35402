//! `thimble boots` with machines of a file, and the history that it keeps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::rows::{Machine, Mode, Peer, Row};
use crate::command::{Daemon, tail, wait_for};
use crate::segment::{BRIDGE, HOST, HOST6};
use crate::setup::workspace;

/// The machine that has Hardware, and its address.
pub const KNOWN: &str = "02:77:00:00:00:10";
pub const RESERVED: u8 = 20;
pub const RESERVED6: &str = "fd00:77::20";
/// U-Boot's own, because QEMU's machine has no place that it reads one from.
pub const U_BOOT: &str = "02:02:02:02:02:02";
/// A machine without Hardware.
pub const STRANGER: &str = "02:77:00:00:00:99";
/// The last numbers of the pool.
pub const POOL: (u8, u8) = (100, 120);
/// What is fetched.
pub const PROGRAM: &str = "program.efi";
pub const PROGRAM_BYTES: usize = 1_000_003;

pub struct Boots {
    daemon: Daemon,
    folder: PathBuf,
}

impl Boots {
    pub fn start(folder: &Path, row: &Row) -> Result<Self> {
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"));
        for name in ["data/files", "nbp"] {
            std::fs::create_dir_all(folder.join(name)).with_context(|| format!("cannot make {name}"))?;
        }
        for name in ["undionly.kpxe", "ipxe.efi"] {
            let from = Path::new("/usr/lib/ipxe").join(name);
            if from.exists() {
                std::fs::copy(&from, folder.join("nbp").join(name)).with_context(|| format!("cannot copy {name}"))?;
            }
        }
        // Debian has no iPXE for arm64. Firmware that has fetched this one does not start it.
        write("nbp/snp-arm64.efi", &content(200_000))?;
        write(&format!("nbp/{PROGRAM}"), &content(PROGRAM_BYTES))?;
        write(&format!("data/files/{PROGRAM}"), &content(PROGRAM_BYTES))?;
        // Something to load, so that a script names it.
        for name in ["kernel", "initramfs.cpio.zst", "aarch64/kernel", "aarch64/initramfs.cpio.zst"] {
            std::fs::create_dir_all(folder.join("data/files/aarch64")).context("cannot make a folder of files")?;
            write(&format!("data/files/{name}"), b"nothing that starts")?;
        }
        write("hardware.yaml", hardware(mac_of(row)).as_bytes())?;
        write("thimble.yaml", settings(folder, row).as_bytes())?;
        let thimble = workspace()?.join("target/debug/thimble");
        let mut command = Command::new(thimble);
        command.args(["boots", "--config"]).arg(folder.join("thimble.yaml")).arg("--hardware").arg(folder.join("hardware.yaml"));
        let mut daemon = Daemon::start(&mut command, &folder.join("boots.log"))?;
        wait_for("boots", Duration::from_secs(30), || {
            daemon.check()?;
            Ok(std::net::TcpStream::connect((HOST, machine::ports::HTTP)).is_ok().then_some(()))
        })?;
        Ok(Self { daemon, folder: folder.to_owned() })
    }

    /// The kinds of the steps of a machine.
    pub fn steps(&self, mac: &str) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.folder.join("data/log/boots.jsonl")).unwrap_or_default();
        let steps = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|step| step["mac"] == mac);
        let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
        steps.map(|step| (text(&step, "kind"), text(&step, "asked"))).collect()
    }

    /// Waits for a step of one of these kinds whose question has these words.
    pub fn wait_for_step(&mut self, mac: &str, kinds: &[&str], words: &str, limit: Duration) -> Result<()> {
        wait_for(&format!("a step {kinds:?} {words:?} of {mac}"), limit, || {
            self.daemon.check()?;
            let found = self.steps(mac).iter().any(|(kind, asked)| kinds.contains(&kind.as_str()) && asked.contains(words));
            Ok(found.then_some(()))
        })
    }

    /// Waits for a line of the log.
    pub fn wait_for_line(&mut self, words: &str, limit: Duration) -> Result<()> {
        wait_for(&format!("{words:?} in the log of boots"), limit, || {
            self.daemon.check()?;
            let log = std::fs::read_to_string(self.folder.join("boots.log")).unwrap_or_default();
            Ok(log.contains(words).then_some(()))
        })
    }

    /// For a failure.
    pub fn said(&self) -> String {
        let steps: Vec<String> = [KNOWN, STRANGER, U_BOOT]
            .into_iter()
            .flat_map(|mac| self.steps(mac).into_iter().map(move |(kind, asked)| format!("{mac} {kind}: {asked}")))
            .collect();
        format!("steps:\n{}\nboots:\n{}", steps.join("\n"), tail(&self.folder.join("boots.log"), 25))
    }
}

/// Bytes that differ wherever a mix-up could happen.
pub fn content(length: usize) -> Vec<u8> {
    let byte = |n: usize| {
        let [low, ..] = (n ^ (n >> 8) ^ (n >> 16)).to_le_bytes();
        low
    };
    (0..length).map(byte).collect()
}

/// The MAC of the machine of a row.
pub const fn mac_of(row: &Row) -> &'static str {
    match row.peer {
        Peer::Firmware(Machine::UBoot) => U_BOOT,
        _ if row.is_known() => KNOWN,
        _ => STRANGER,
    }
}

/// Of the machine, or of another one if the row is about a machine without.
fn hardware(mac: &str) -> String {
    let known = if mac == STRANGER { KNOWN } else { mac };
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m1}}\nspec:\n  interfaces:\n    - dhcp: {{mac: \
         '{known}', ip: {{address: 10.77.0.{RESERVED}, netmask: 255.255.255.0}}}}\n      netboot: {{allowPXE: true}}\n    \
         - dhcp: {{mac: '{known}', ip: {{address: '{RESERVED6}', netmask: 'ffff:ffff:ffff:ffff::', family: 6}}}}\n"
    )
}

fn settings(folder: &Path, row: &Row) -> String {
    let folder = folder.display();
    let fixed = format!(
        "address: {HOST}\ninterface: {BRIDGE}\ndata: {folder}/data\nnbp: {folder}/nbp\nmetadata: none\n\
         router-advertisements: {}\ndiscovery: 10.77.0.0/24,fd00:77::/64\n",
        !row.is_six()
    );
    let (first, last) = POOL;
    if row.is_six() {
        let network = format!("{{subnet: 'fd00:77::/64', mode: {}, dns: ['{HOST6}'], advertise: true}}", row.mode.word());
        return format!("{fixed}address6: {HOST6}\ndhcp-mode: 'off'\ndhcp6:\n  - {network}\n");
    }
    match row.mode {
        // The second network is behind a relay.
        Mode::Pool => format!(
            "{fixed}dhcp:\n  - {{subnet: 10.77.0.0/24, mode: pool, range: 10.77.0.{first}-10.77.0.{last}}}\n  \
             - {{subnet: 10.78.0.0/24, mode: pool, range: 10.78.0.{first}-10.78.0.{last}}}\n"
        ),
        other => format!("{fixed}dhcp-mode: {}\n", other.word()),
    }
}
