//! Debian's cloud-init and what it needs, as packages in `target/lab/cloud-init`. A test of boots unpacks them. They are never
//! installed, because cloud-init would configure this host.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{self, output};

const LIMIT: Duration = Duration::from_secs(300);

/// Downloads them, unless they are there already.
pub fn packages(lab: &Path) -> Result<()> {
    let folder = lab.join("cloud-init");
    if folder.exists() {
        return Ok(());
    }
    let mut simulate = Command::new("apt-get");
    simulate.args(["install", "-s", "-q", "--no-install-recommends", "cloud-init"]).env("LC_ALL", "C");
    let names = missing(&output(&mut simulate)?);
    ensure!(!names.is_empty(), "cloud-init is installed on this host");
    let new = lab.join("cloud-init.new");
    let _from_an_earlier_try = fs::remove_dir_all(&new);
    fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
    let mut download = Command::new("apt-get");
    download.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(names).current_dir(&new);
    command::run(&mut download, &lab.join("cloud-init.log"), LIMIT)?;
    fs::rename(&new, &folder).with_context(|| format!("cannot keep {}", folder.display()))
}

/// The packages that an installation would unpack.
fn missing(simulated: &str) -> Vec<String> {
    let names = simulated.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_installed_is_downloaded() {
        let text =
            "Reading package lists...\nInst python3-jinja2 (3.1.2 Debian:12 [all])\nInst cloud-init (22.4)\nConf cloud-init\n";
        assert_eq!(missing(text), ["python3-jinja2", "cloud-init"]);
    }
}
