//! Converts an action and its image to the OCI runtime specification. Pure, so that every rule can be read and tested.

mod confined;
mod mounts;
mod user;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::action::{self, Action, Reach, Wishes};
use oci::manifest::{ImageConfig, Process};

#[cfg(feature = "containerd")]
pub use mounts::below_dev;
pub use mounts::{BadVolume, shows_of_the_machine};
pub use user::{Account, BadUser};

/// What the specification needs to know about this machine.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Unique on this machine. It names the cgroup.
    pub id: String,
    /// The mounted root file system of the container.
    pub rootfs: PathBuf,
    /// Variables of the machine, such as its proxies, for an action that has its network.
    pub environment: Vec<String>,
    /// The folder of the named volumes of this workflow.
    pub volumes: PathBuf,
    /// The folder of anonymous volumes, which are removed with the container.
    pub anonymous: PathBuf,
    /// The agent's effective capabilities. The kernel refuses a container that asks for more.
    pub capabilities: u64,
    /// The image's `/etc/passwd` and `/etc/group`.
    pub passwd: String,
    pub group: String,
    /// The machine's drivers and firmware that the image lacks, and their paths in the container, read-only.
    pub drivers: Vec<(PathBuf, PathBuf)>,
    /// How many bytes the action may use, including what it writes to tmpfs. `None` if the kernel does not account memory.
    pub memory: Option<u64>,
    /// The cgroup controllers that can limit actions.
    pub controllers: Vec<String>,
    /// Whether the kernel can swap.
    pub swap: bool,
}

#[derive(Debug)]
pub struct Bundle {
    /// The specification as the runtime reads it. Its types belong to the library, and using them here would cost as much
    /// as writing JSON.
    pub spec: Value,
    /// The working directory of the program.
    pub cwd: PathBuf,
    /// How many bytes the action may use.
    pub memory: Option<u64>,
    /// The sources of volumes, to be created as directories if missing.
    pub directories: Vec<PathBuf>,
    /// Those of the sources whose mounts propagate between the container and the machine.
    pub shared: Vec<PathBuf>,
    /// The user and the group of the program.
    pub owner: (u32, u32),
}

/// The most words of the command and variables, more than any image needs. The kernel's limit of bytes is lower.
const WORDS_MAX: usize = 16 << 10;
const BYTES_MAX: usize = 4 << 20;
/// The most volumes. Each one is a mount.
const VOLUMES_MAX: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Volume(#[from] BadVolume),
    #[error("the action asks for a limit of {0}, which this machine's kernel does not enforce (cgroup controller missing)")]
    Limit(&'static str),
    #[error(transparent)]
    User(#[from] BadUser),
    #[error("{what} of action and image are {found} together, and the most is {most}")]
    TooMany { what: &'static str, found: usize, most: usize },
    #[error("{0} of the action or its image has a NUL byte, which cannot be passed to a program")]
    Nul(&'static str),
    #[error("neither the action nor the image says what to run")]
    NothingToRun,
    #[error("network namespace {0:?} is not supported: use host or none")]
    Network(String),
    #[error("pid namespace {0:?} is not supported: use host, or leave it out for a separate one")]
    Pid(String),
}

pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// When memory runs out, the kernel kills actions before the agent, which then reports it.
const OOM_SCORE_ADJ: i32 = 500;

pub fn bundle(action: &Action, wishes: &Wishes, image: &ImageConfig, host: &Host) -> Result<Bundle, BundleError> {
    let process = &image.config;
    bounded(action, process)?;
    let account = user::resolve(&process.user, &host.passwd, &host.group)?;
    let volumes = mounts::volumes(&action.volumes, host)?;
    let directories = volumes.iter().map(|v| v.source.clone()).collect();
    let shared = volumes.iter().filter(|v| v.is_shared()).map(|v| v.source.clone()).collect();
    let asked = if wishes.low_ports { confined::LOW_PORTS } else { 0 };
    let allowed = if wishes.privileged { host.capabilities } else { host.capabilities & (confined::CAPABILITIES | asked) };
    let (masked, read_only) = if wishes.privileged { (&[][..], &[][..]) } else { (confined::MASKED, confined::READ_ONLY) };
    let capabilities = capability_names(allowed);
    let memory = host.memory.into_iter().chain(wishes.memory).min();
    let cwd = Some(&process.working_dir).filter(|d| d.starts_with('/')).map_or("/", |d| d.as_str());
    let machine = if action.reach(wishes) == Reach::Machine { &host.environment[..] } else { &[] };
    let spec = json!({
        "ociVersion": "1.0.2",
        "root": { "path": host.rootfs, "readonly": wishes.read_only },
        "process": {
            "terminal": false,
            "user": { "uid": account.uid, "gid": account.gid, "additionalGids": account.groups },
            "args": arguments(action, image)?,
            "env": environment(machine, &process.env, action.environment.entries(), &account),
            "cwd": cwd,
            // Neither inheritable nor ambient: as with Docker, a program of a user other than root starts without
            // capabilities. Until then they are effective, because mounting the devices needs them (see
            // `container/child.rs`).
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            // `true` also makes the child set the filter of system calls.
            "noNewPrivileges": !wishes.privileged,
            "oomScoreAdj": OOM_SCORE_ADJ,
        },
        "mounts": mounts::all(&volumes, host, wishes.privileged),
        "linux": {
            "rootfsPropagation": mounts::root_propagation(&volumes),
            "cgroupsPath": cgroup(&host.id),
            "namespaces": namespaces(action, wishes)?,
            // These are present and empty. Otherwise the runtime would use its defaults, and these actions write to
            // /proc/sys.
            "maskedPaths": masked,
            "readonlyPaths": read_only,
            "resources": resources(wishes, memory, host)?,
        },
    });
    Ok(Bundle { spec, cwd: cwd.into(), memory, directories, shared, owner: (account.uid, account.gid) })
}

/// Limits the lists, because long ones cost time and memory before the kernel refuses them.
fn bounded(action: &Action, image: &Process) -> Result<(), BundleError> {
    let few = |what, found, most| if found > most { Err(BundleError::TooMany { what, found, most }) } else { Ok(()) };
    let clean = |what, words: &[&[String]]| {
        let nul = words.iter().copied().flatten().any(|word| word.contains('\0'));
        if nul { Err(BundleError::Nul(what)) } else { Ok(()) }
    };
    let command = [&*image.entrypoint, &*image.cmd, &*action.command];
    let environment = [&*image.env, action.environment.entries()];
    let count = |lists: &[&[String]]| lists.iter().map(|list| list.len()).sum();
    let bytes = |lists: &[&[String]]| lists.iter().copied().flatten().map(String::len).sum::<usize>();
    few("words in the commands", count(&command), WORDS_MAX)?;
    few("variables", count(&environment), WORDS_MAX)?;
    few("volumes", action.volumes.len(), VOLUMES_MAX)?;
    few("bytes in commands and variables", bytes(&command).saturating_add(bytes(&environment)), BYTES_MAX)?;
    clean("the command", &command)?;
    clean("the environment", &environment)?;
    clean("a volume", &[&*action.volumes])?;
    clean("the working directory or the user", &[&[image.working_dir.clone(), image.user.clone()]])
}

/// A limit that would not be enforced is refused, because a template that asks for it relies on it.
fn resources(wishes: &Wishes, memory: Option<u64>, host: &Host) -> Result<Value, BundleError> {
    let enforced = |asked: bool, name: &str, what| {
        if asked && !host.controllers.iter().any(|controller| controller == name) {
            Err(BundleError::Limit(what))
        } else {
            Ok(())
        }
    };
    enforced(wishes.memory.is_some(), "memory", "memory")?;
    enforced(wishes.pids.is_some(), "pids", "processes")?;
    enforced(wishes.milli_cpus.is_some(), "cpu", "processor time")?;
    let mut resources = serde_json::Map::new();
    if let Some(limit) = memory {
        resources.insert("memory".into(), json!({ "limit": limit }));
    }
    if wishes.memory.is_some() && host.swap {
        // Swap is memory here and would defeat the limit. libcgroups 0.7 cannot write a 0 for `memory.swap`.
        resources.insert("unified".into(), json!({ "memory.swap.max": "0" }));
    }
    if let Some(limit) = wishes.pids {
        resources.insert("pids".into(), json!({ "limit": limit }));
    }
    if let Some(milli) = wishes.milli_cpus {
        resources.insert("cpu".into(), json!({ "quota": u64::from(milli) * 100, "period": 100_000 }));
    }
    Ok(resources.into())
}

/// The path below the cgroup root.
pub fn cgroup(id: &str) -> PathBuf {
    Path::new("/actions").join(id)
}

/// The image's stop signal.
pub fn stop_signal(image: &ImageConfig) -> Signal {
    signal_named(&image.config.stop_signal).unwrap_or(Signal::TERM)
}

/// A signal as `SIGQUIT`, `QUIT` or `3`. Real-time signals are not known by name.
fn signal_named(text: &str) -> Option<Signal> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let by_name = nix::sys::signal::Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32);
    Signal::from_named_raw(by_name.or_else(|| text.parse().ok())?)
}

/// The action's command replaces the image's command, never its entrypoint.
fn arguments<'a>(action: &'a Action, image: &'a ImageConfig) -> Result<Vec<&'a str>, BundleError> {
    let command = if action.command.is_empty() { &image.config.cmd } else { &action.command };
    let args: Vec<&str> = image.config.entrypoint.iter().chain(command).map(String::as_str).collect();
    if args.first().is_none_or(|first| first.is_empty()) { Err(BundleError::NothingToRun) } else { Ok(args) }
}

/// The last value of a name wins. The order is: default PATH and HOME, the image's variables, the action's variables. The machine's
/// variables have no effect if one of these has the name in any spelling, because programs prefer either `http_proxy` or `HTTP_PROXY`.
fn environment(machine: &[String], image: &[String], given: &[String], account: &Account) -> Vec<String> {
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let has = |entry: &str| image.iter().chain(given).any(|other| name(other).eq_ignore_ascii_case(&name(entry)));
    let machine: Vec<String> = machine.iter().filter(|entry| !has(entry)).cloned().collect();
    let defaults = [PATH.to_owned(), format!("HOME={}", account.home)];
    let entries = || defaults.iter().chain(&machine).chain(image).chain(given).filter(|entry| !action::is_wish(entry));
    let last: HashMap<String, usize> = entries().enumerate().map(|(at, entry)| (name(entry), at)).collect();
    let kept = entries().enumerate().filter(|(at, entry)| last.get(&name(entry)) == Some(at));
    kept.map(|(_, entry)| entry).filter(|entry| entry.find('=').is_some_and(|at| at > 0)).cloned().collect()
}

/// Privileged actions share the host's network by default: they download what they install, and the machine has no bridge.
fn namespaces(action: &Action, wishes: &Wishes) -> Result<Vec<Value>, BundleError> {
    let mut types = vec!["mount", "ipc", "uts"];
    match action.pid.as_str() {
        "" | "private" | "container" => types.push("pid"),
        "host" => {}
        other => return Err(BundleError::Pid(other.to_owned())),
    }
    match action.network.as_str() {
        "" | "host" | "none" => {}
        other => return Err(BundleError::Network(other.to_owned())),
    }
    if action.reach(wishes) != Reach::Machine {
        types.push("network");
    }
    Ok(types.into_iter().map(|t| json!({ "type": t })).collect())
}

/// The names by bit number, from <linux/capability.h>.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn capability_names(effective: u64) -> Vec<String> {
    let held = CAPABILITIES.iter().enumerate().filter(|(bit, _)| effective >> bit & 1 == 1);
    held.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// `CapEff` of `/proc/self/status`.
pub fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
