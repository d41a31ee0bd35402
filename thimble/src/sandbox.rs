//! What a daemon gives up before it serves. Everything here belongs to a thread and is inherited by those that it starts, so it
//! comes before the executor.

mod calls;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, path_beneath_rules,
};
use machine::Chain;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// The newest rules that are asked for. An older kernel gets those that it knows.
const RULES: ABI = ABI::V5;

/// What name resolution, TLS and the clock read. Programs replace single files of /etc, so it is open as a whole; what only root may
/// read there stays closed by its permissions if boots is another user.
const SYSTEM: &[&str] = &[
    "/dev/null",
    "/dev/urandom",
    "/etc",
    "/lib",
    "/lib64",
    "/proc/self",
    "/proc/sys",
    "/run/NetworkManager",
    "/run/systemd/resolve",
    "/sys/class/net",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
];

/// The folders of a daemon.
#[derive(Debug, Default)]
pub struct Folders {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
}

/// Ports below 1024, and sockets that are bound to an interface or see raw packets. All other rights of root go.
///
/// # Errors
/// If the kernel refuses, or a folder of the daemon is one that only root's other rights opened.
pub fn drop_rights(folders: &Folders) -> anyhow::Result<()> {
    let before = capabilities(None).context("cannot read this process's capabilities")?;
    let keep = before.permitted & (CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW);
    for one in CapabilitySet::all().iter().filter(|one| !keep.contains(*one)) {
        // Without CAP_SETPCAP, or for one that this kernel does not have, there is nothing to take away.
        let _ = remove_capability_from_bounding_set(one);
    }
    // A service manager may have left no more than these, and also forbid capset(2).
    if before.permitted != keep || !keep.contains(before.effective) {
        let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).context("cannot drop capabilities")?;
    }
    set_no_new_privs(true).context("cannot give up privileges of programs")?;
    folders.read.iter().chain(&folders.write).try_for_each(|folder| reads(folder))
}

fn reads(path: &Path) -> anyhow::Result<()> {
    let opened = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::read_dir(path).map(drop),
        Ok(_) => std::fs::File::open(path).map(drop),
        Err(error) => Err(error),
    };
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => bail!(
            "{} is closed to user {}, and a daemon does not keep root's right to open everything: run it as the owner (the \
             package's unit does), or change owner or permissions of the path",
            path.display(),
            geteuid()
        ),
        _ => Ok(()),
    }
}

/// How far the kernel goes with it.
#[derive(Debug)]
pub struct Confined {
    files: RulesetStatus,
    calls: bool,
}

impl fmt::Display for Confined {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = match self.files {
            RulesetStatus::FullyEnforced => "Landlock",
            RulesetStatus::PartiallyEnforced => "the Landlock of an older kernel",
            RulesetStatus::NotEnforced => "no Landlock",
        };
        let calls = if self.calls { "seccomp" } else { "no seccomp" };
        write!(out, "confined by {calls} and {files}")
    }
}

/// Leaves the calls and files that boots needs. This cannot be taken back. What cannot be set is logged: a service manager may
/// confine boots in its own way, and forbid the calls for it.
#[must_use]
pub fn confine(folders: &Folders) -> Confined {
    let files = match restrict_files(folders) {
        Ok(status) => status,
        Err(error) => {
            log::warn!("boots is not confined by Landlock: {}", Chain(&error));
            RulesetStatus::NotEnforced
        }
    };
    let calls = calls::restrict();
    if let Err(error) = &calls {
        log::warn!("boots is not confined by seccomp: {}", Chain(error));
    }
    Confined { files, calls: calls.is_ok() }
}

/// What the rules are for. A file is replaced by another one of its name, so its rule is one for its folder. A link counts with its
/// target.
fn ruled(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let with_targets = paths.flat_map(|path| [std::fs::canonicalize(&path).ok(), Some(path)]).flatten();
    with_targets
        .flat_map(|path| {
            // The root is not opened to everything below it.
            let folder = path.parent().filter(|parent| parent.parent().is_some() && !path.is_dir());
            let parent = folder.map(Path::to_owned);
            [parent, Some(path)]
        })
        .flatten()
        .collect()
}

fn restrict_files(folders: &Folders) -> Result<RulesetStatus, RulesetError> {
    // The place that /etc/resolv.conf leads to is a matter of the host.
    let resolver = std::fs::canonicalize("/etc/resolv.conf").ok().and_then(|file| Some(file.parent()?.to_owned()));
    let system = SYSTEM.iter().map(PathBuf::from).chain(resolver);
    let served = ruled(folders.read.iter().cloned());
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // What does not exist has no rule.
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(system.chain(served), read))?
        .add_rules(path_beneath_rules(&folders.write, AccessFs::from_all(RULES) & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(status.ruleset)
}

#[cfg(test)]
mod tests {
    use nix::libc;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::*;

    /// As systemd does it with `SystemCallFilter=~@privileged`.
    fn forbid_capset() {
        let answer = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let calls = [(libc::SYS_capset, Vec::new())].into_iter().collect();
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let program: BpfProgram =
            SeccompFilter::new(calls, SeccompAction::Allow, answer, architecture).unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
    }

    #[test]
    fn a_daemon_that_has_two_capabilities_or_fewer_drops_nothing() {
        for keep in [CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW, CapabilitySet::empty()] {
            let dropped = std::thread::spawn(move || {
                let keep = capabilities(None).unwrap().permitted & keep;
                set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable: keep }).unwrap();
                forbid_capset();
                drop_rights(&Folders::default())
            });
            dropped.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_rule_for_a_file_is_one_for_its_folder_and_for_the_place_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["etc", "srv"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("srv/hw.yaml"), "").unwrap();
        std::os::unix::fs::symlink(at("srv/hw.yaml"), at("etc/hw.yaml")).unwrap();
        let found = ruled([at("etc/hw.yaml")].into_iter());
        assert_eq!(found, [at("srv"), at("srv/hw.yaml"), at("etc"), at("etc/hw.yaml")]);
        assert_eq!(ruled([at("srv")].into_iter()), [at("srv"), at("srv")]);
        assert_eq!(ruled(["/hw.yaml".into()].into_iter()), [PathBuf::from("/hw.yaml")], "the root is not opened");
    }

    #[test]
    fn only_the_folders_of_the_daemon_are_open() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = |folder: &tempfile::TempDir, name: &str| folder.path().join(name);
        for folder in [&own, &other] {
            std::fs::create_dir(path(folder, "data")).unwrap();
            std::fs::write(path(folder, "file"), "x").unwrap();
        }
        let folders = Folders { read: vec![own.path().to_owned()], write: vec![path(&own, "data")] };
        let (inside, outside) = (own.path().to_owned(), other.path().to_owned());
        // The rules belong to a thread and those that it starts.
        let confined = std::thread::spawn(move || {
            set_no_new_privs(true).unwrap();
            if restrict_files(&folders).unwrap() == RulesetStatus::NotEnforced {
                eprintln!("skipped: this kernel has no Landlock");
                return;
            }
            assert_eq!(std::fs::read_to_string(inside.join("file")).unwrap(), "x");
            std::fs::write(inside.join("data/new"), "y").unwrap();
            std::fs::rename(inside.join("data/new"), inside.join("data/renamed")).unwrap();
            for refused in [
                std::fs::write(inside.join("file"), "z"),
                std::fs::read(outside.join("file")).map(drop),
                std::fs::write(outside.join("data/new"), "y"),
            ] {
                assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            }
        });
        confined.join().unwrap();
    }
}
