//! A package may contain a service. The lab's installation neither starts nor enables it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Root;

/// Keeps maintainer scripts from starting services. The first one makes systemctl not talk to systemd, and the second one
/// is what `runlevel` then reports to `invoke-rc.d`. Both end with apt-get, so nothing has to be undone.
pub(super) const NOT_STARTED: &[&str] = &["SYSTEMD_OFFLINE=1", "RUNLEVEL=1"];

const SYSTEMD: &[&str] = &["/etc/systemd/system", "/etc/systemd/user"];
const RUNLEVELS: &[&str] = &["/etc/rcS.d", "/etc/rc2.d", "/etc/rc3.d", "/etc/rc4.d", "/etc/rc5.d"];

/// Runs `install` and, whatever its outcome, removes the links with which it enabled services.
pub(super) fn keep_disabled(root: &Root, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = links()?;
    let outcome = install();
    let enabled = newly_enabled(&before, &links()?);
    if !enabled.is_empty() {
        let words: Vec<&str> = ["rm", "-f", "--"].into_iter().chain(enabled.iter().filter_map(|path| path.to_str())).collect();
        root.run(&words).context("cannot disable the services that came with the packages")?;
    }
    outcome
}

/// The links that start a service at boot.
fn newly_enabled(before: &[PathBuf], after: &[PathBuf]) -> Vec<PathBuf> {
    after.iter().filter(|path| starts_something(path) && !before.contains(path)).cloned().collect()
}

/// `TARGET.wants/UNIT` and `TARGET.requires/UNIT` of systemd, `rcN.d/SNNNAME` of System V.
fn starts_something(link: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = link.parent().map(name).unwrap_or_default();
    let is_systemd = [".wants", ".requires", ".upholds"].iter().any(|end| folder.ends_with(end));
    is_systemd || (folder.starts_with("rc") && name(link).starts_with('S'))
}

fn links() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in SYSTEMD {
        for entry in entries(Path::new(folder))? {
            if entry.is_dir() && !entry.is_symlink() {
                found.extend(entries(&entry)?);
            }
        }
    }
    for folder in RUNLEVELS {
        found.extend(entries(Path::new(folder))?);
    }
    Ok(found)
}

/// The paths in a folder, or nothing if the system does not have it.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let failed = || format!("cannot list {}", folder.display());
    let entries = fs::read_dir(folder).with_context(failed)?;
    entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>().with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_start_a_service_and_were_not_there_before_are_found() {
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        let before = paths(&["/etc/systemd/system/multi-user.target.wants/ssh.service", "/etc/rc2.d/S01ssh"]);
        let added = paths(&["/etc/systemd/system/multi-user.target.wants/containerd.service", "/etc/rcS.d/S01networking"]);
        let harmless = paths(&["/etc/rc0.d/K01docker-registry", "/etc/systemd/system/getty.target.d/override.conf"]);
        let after = [before.clone(), added.clone(), harmless].concat();
        assert_eq!(newly_enabled(&before, &after), added);
    }
}
