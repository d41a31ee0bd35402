//! Secure Boot and a TPM: the firmware starts only signed programs, and the TPM records what it started.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::media::{BUILT_WITHIN, Bench, STATION, disk_with};
use crate::command;
use crate::machine::Firmware;
use crate::scene::{BOOTS_WITHIN, Scene};
use crate::tpm::Tpm;

/// The key that OVMF's variables with this name trust. Its passphrase is public.
const KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil.key";
const CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";
const PASSPHRASE: &str = "pass:snakeoil";

pub fn secure_boot(scene: &Scene) -> Result<()> {
    let bench = Bench::new(scene)?;
    let (signed, plain) = (scene.place("signed")?, scene.place("plain")?);
    let expected = build_signed(scene, &bench, &signed)?;
    command::run(&mut bench.build(&plain)?, &scene.folder.join("plain.log"), BUILT_WITHIN)?;

    let refused = bench.parts(Firmware::OvmfSecure, disk_with(scene, "disk-plain", &plain.join("thimble.efi"))?);
    let mut machine = scene.start(&STATION, &refused)?;
    machine.serial.expect("failed to load .* Access Denied", BOOTS_WITHIN).context("the program without a signature")?;
    drop(machine);

    let tpm = Tpm::start(scene.folder.join("swtpm.log"))?;
    let mut parts = bench.parts(Firmware::OvmfSecure, disk_with(scene, "disk-signed", &signed.join("thimble.efi"))?);
    parts.tpm = Some(tpm.socket());
    bench.works("signed", &parts)?;
    let platform = bench.provisioner.machine(&STATION.mac())?.agent.and_then(|agent| agent.attributes?.platform);
    let platform = platform.context("the server has no data about the machine's platform")?;
    let shown = (platform.secure_boot, platform.tpm.as_deref(), platform.pcr11.as_deref());
    ensure!(shown == (Some(true), Some("2.0"), Some(expected.as_str())), "PCR 11 should be {expected}: {platform:?}");
    Ok(())
}

/// The value of PCR 11 that the build predicts.
fn build_signed(scene: &Scene, bench: &Bench<'_>, folder: &Path) -> Result<String> {
    let key = scene.folder.join("signing.key");
    let mut open = Command::new("openssl");
    command::output(open.args(["rsa", "-in", KEY, "-passin", PASSPHRASE, "-out"]).arg(&key))?;
    let mut build = bench.build(folder)?;
    let report = command::output(build.arg("--json").arg("--sign-key").arg(&key).args(["--sign-cert", CERTIFICATE]))?;
    let report: Value = serde_json::from_str(&report).context("the build's report is not JSON")?;
    report["pcr11"].as_str().map(str::to_owned).context("the report does not say what PCR 11 will be")
}
