//! How an action ended, in words that the server keeps and an operator reads at 3 a.m.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use oci::{Failure, NoSpace, PullError, Resource};

use crate::rootfs;

/// Why an action did not succeed. The names are stable, because people search for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The image could not be pulled.
    ImagePull(String),
    ImageNotFound(String),
    DigestMismatch(String),
    /// More was needed than is available: bytes of memory or of a file system, or inodes of one.
    NoSpace {
        what: String,
        needed: u64,
        free: u64,
        #[serde(default)]
        of: Short,
    },
    /// The image matches its digest, but cannot be used.
    ImageUnusable(String),
    /// The kernel killed a process because memory ran out.
    OomKilled {
        exit_code: i32,
        /// How many bytes the action was allowed. `None` if the kernel does not account memory.
        limit: Option<u64>,
    },
    Timeout {
        limit: Duration,
        /// What was in progress at that time.
        #[serde(default)]
        phase: Phase,
    },
    NonZeroExit {
        exit_code: i32,
    },
    /// The server asked to stop it, for this reason.
    Cancelled(String),
    /// The container could not be made: a wrong mount, a missing program.
    CouldNotStart(String),
    /// The image has no signature that this machine trusts.
    Unsigned(String),
    /// The machine cannot reach the registry.
    NetLost(String),
    /// A rule of this machine forbids the action.
    Policy(String),
    /// What the action wrote into its failure files.
    Said {
        reason: String,
        message: String,
        exit_code: i32,
    },
}

/// How far an action has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Pulling,
    AwaitingDisks,
    Preparing,
    Starting,
    #[default]
    Running,
}

impl Phase {
    fn doing(self) -> &'static str {
        match self {
            Self::Pulling => "pulling the image",
            Self::AwaitingDisks => "waiting for the disk that it names",
            Self::Preparing => "preparing the container",
            Self::Starting => "starting the container",
            Self::Running => "running",
        }
    }
}

/// The resource that is short. A file system is named by its mount point and its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Short {
    #[default]
    Memory,
    FileSystem(String),
    Inodes(String),
}

impl Short {
    fn of(resource: Resource, place: &Path) -> Self {
        let system = || rootfs::file_system(place).unwrap_or_else(|_| place.display().to_string());
        match resource {
            Resource::Memory => Self::Memory,
            Resource::Disk => Self::FileSystem(system()),
            Resource::Inodes => Self::Inodes(system()),
        }
    }
}

const TRY: &str = "; try: ";

impl Reason {
    /// One line: `Name: what happened; try: the next step`. If what happened has a more specific step, that one is used.
    pub fn text(&self) -> String {
        let what: String = self.what().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match self.advice().filter(|_| !what.contains(TRY)) {
            Some(advice) => format!("{what}{TRY}{advice}"),
            None => what,
        }
    }

    /// The step that helps most often.
    fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::ImagePull(_) => "pull it from another host of that network; check the registry's name and credentials",
            Self::ImageNotFound(_) => "check name, tag and architecture of the image in the registry",
            Self::DigestMismatch(_) => "pull again; if it stays, a mirror or proxy serves a wrong file",
            Self::NoSpace { of: Short::Inodes(_), .. } => {
                "an image of fewer files, for example one archive instead of a tree; or a machine with more memory. A scratch disk adds few inodes"
            }
            Self::NoSpace { .. } => {
                "a smaller image, a machine with more memory, or THIMBLE_SCRATCH=/dev/DISK for a disk that may be overwritten"
            }
            Self::ImageUnusable(_) => "build and push the image again; every host that pulls it gets the same bytes",
            Self::OomKilled { .. } => "stream data to the disk instead of writing it to the container's files, which take memory",
            Self::Timeout { phase: Phase::Pulling, .. } => {
                "raise the action's timeout, which counts the pull, or use a nearer registry"
            }
            Self::Timeout { .. } => "raise the action's timeout, or set it to 0 for no limit",
            Self::Cancelled(_) => "delete the workflow and apply it again, if it should run after all",
            Self::NonZeroExit { exit_code: 126 } => "make the program executable in the image",
            Self::NonZeroExit { exit_code: 127 } => "check the command's spelling and that the image has the program",
            Self::NonZeroExit { exit_code: 132 } => "an image for an older processor: this one lacks an instruction that it uses",
            Self::NonZeroExit { exit_code: 159 } => {
                "an image of this machine's own architecture: an unprivileged action may not make calls of another one"
            }
            Self::NonZeroExit { exit_code: 137 } => {
                "look for what killed it: the action itself, or another process with its rights"
            }
            Self::NonZeroExit { .. } => "look at the last output of the action",
            Self::CouldNotStart(_) => "check command, user, variables and volumes of the action",
            Self::NetLost(_) => "check cable, address and route of the machine, then the registry's name",
            Self::Unsigned(_) => "sign it with `cosign sign --key`, or put the signer's public key into signedBy of policy.json",
            Self::Policy(_) => "change the template, or policy.json in the machine's ramdisk",
            Self::Said { reason, .. } if reason == "DiskNotFound" => "compare the disk's name with those the machine has",
            Self::Said { .. } => return None,
        })
    }

    /// Whether another attempt could have a different result.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::ImagePull(_) | Self::NetLost(_) | Self::DigestMismatch(_) | Self::Timeout { .. } => true,
            Self::NonZeroExit { .. } | Self::OomKilled { .. } | Self::Said { .. } => true,
            Self::ImageNotFound(_)
            | Self::NoSpace { .. }
            | Self::ImageUnusable(_)
            | Self::CouldNotStart(_)
            | Self::Unsigned(_)
            | Self::Policy(_)
            | Self::Cancelled(_) => false,
        }
    }

    fn what(&self) -> String {
        match self {
            Self::ImagePull(text) => format!("ImagePull: {text}"),
            Self::ImageNotFound(text) => format!("ImageNotFound: {text}"),
            Self::DigestMismatch(text) => format!("DigestMismatch: {text}"),
            Self::ImageUnusable(text) => format!("ImageUnusable: {text}"),
            Self::NoSpace { what, needed, free, of: Short::Inodes(system) } => {
                format!(
                    "NoSpace: {what} needs at least {needed} inodes (files, folders and links), but only {free} are free on {system}"
                )
            }
            Self::NoSpace { what, needed, free, of } => {
                let numbers = format!(
                    "NoSpace: {what} needs about {} MiB ({needed} bytes), but only {} MiB ({free} bytes)",
                    mib(*needed),
                    mib(*free)
                );
                if let Short::FileSystem(system) = of {
                    format!("{numbers} are free on {system}")
                } else {
                    numbers + " of memory are free"
                }
            }
            Self::OomKilled { exit_code, limit: Some(limit) } => {
                format!("OOMKilled: more than the {} MiB it was allowed, exit code {exit_code}", limit >> 20)
            }
            Self::OomKilled { exit_code, limit: None } => {
                format!("OOMKilled: the machine ran out of memory, exit code {exit_code}")
            }
            Self::Timeout { limit, phase } => format!("Timeout: still {} after {} s", phase.doing(), limit.as_secs()),
            Self::NonZeroExit { exit_code } => format!("NonZeroExit: exit code {exit_code}{}", signal(*exit_code)),
            Self::Cancelled(text) => format!("Cancelled: {text}"),
            Self::CouldNotStart(text) => format!("CouldNotStart: {text}"),
            Self::NetLost(text) => format!("NetLost: {text}"),
            Self::Unsigned(text) => format!("Unsigned: {text}"),
            Self::Policy(text) => format!("Policy: {text}"),
            Self::Said { reason, message, exit_code } => {
                let message = if message.is_empty() { "the action wrote no message" } else { message };
                format!("{reason}: {message} (exit code {exit_code})")
            }
        }
    }

    /// `place` is a folder of the file system.
    pub fn no_space(what: impl Into<String>, numbers: NoSpace, place: &Path) -> Self {
        let NoSpace { resource, needed, free } = numbers;
        Self::NoSpace { what: what.into(), needed, free, of: Short::of(resource, place) }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Shells and container runtimes report a signal as 128 plus its number.
fn signal(exit_code: i32) -> String {
    let name = exit_code.checked_sub(128).and_then(|n| nix::sys::signal::Signal::try_from(n).ok());
    name.map(|n| format!(" ({n})")).unwrap_or_default()
}

impl From<&PullError> for Reason {
    fn from(error: &PullError) -> Self {
        let text = machine::Chain(error).to_string();
        match (error.failure(), error) {
            (Failure::NoSpace(numbers), PullError::NoSpace { image, place, .. }) => {
                Self::no_space(format!("image {image}"), numbers, place)
            }
            (Failure::NoSpace(numbers), _) => Self::no_space(text, numbers, Path::new("/run")),
            (Failure::Unusable, _) => Self::ImageUnusable(text),
            (Failure::Mismatch, _) => Self::DigestMismatch(text),
            (Failure::NotFound, _) => Self::ImageNotFound(text),
            (Failure::Unsigned, _) => Self::Unsigned(text),
            (Failure::NetworkLost, _) => Self::NetLost(text),
            (Failure::Other, _) => Self::ImagePull(text),
        }
    }
}

/// One execution, from its actual start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub start: SystemTime,
    pub stop: SystemTime,
    pub failure: Option<Reason>,
    /// The last lines that the action wrote.
    pub tail: Vec<String>,
}

impl Outcome {
    pub fn took(&self) -> Duration {
        self.stop.duration_since(self.start).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_begin_with_their_name_and_contain_the_numbers() {
        for (reason, want) in [
            (Reason::NonZeroExit { exit_code: 7 }, "NonZeroExit: exit code 7; try: "),
            (Reason::NonZeroExit { exit_code: 137 }, "NonZeroExit: exit code 137 (SIGKILL); try: "),
            (
                Reason::Timeout { limit: Duration::from_secs(90), phase: Phase::Running },
                "Timeout: still running after 90 s; try: ",
            ),
            (Reason::OomKilled { exit_code: 137, limit: Some(40 << 20) }, "OOMKilled: more than the 40 MiB it was allowed"),
            (Reason::NetLost("gone".into()), "NetLost: gone; try: check cable, address and route"),
            (Reason::Policy("no\nway".into()), "Policy: no way; try: "),
            (
                Reason::Said { reason: "DiskNotFound".into(), message: "/dev/sdx".into(), exit_code: 1 },
                "DiskNotFound: /dev/sdx (exit code 1); try: ",
            ),
            (
                Reason::NoSpace { what: "image x".into(), needed: 100 << 20, free: 1, of: Short::Memory },
                "NoSpace: image x needs about 100 MiB (104857600 bytes), but only 1 MiB (1 bytes) of memory are free; try: ",
            ),
            (
                Reason::NoSpace { what: "image x".into(), needed: 100, free: 1, of: Short::FileSystem("/run (tmpfs)".into()) },
                "NoSpace: image x needs about 1 MiB (100 bytes), but only 1 MiB (1 bytes) are free on /run (tmpfs); try: ",
            ),
            (
                Reason::NoSpace {
                    what: "image x".into(),
                    needed: 30_001,
                    free: 30_000,
                    of: Short::Inodes("/run (tmpfs)".into()),
                },
                "NoSpace: image x needs at least 30001 inodes (files, folders and links), but only 30000 are free on /run (tmpfs); try: an image of fewer files",
            ),
            (Reason::ImageUnusable("x".into()), "ImageUnusable: x; try: build and push the image again"),
        ] {
            let text = reason.text();
            assert!(text.starts_with(want) && text.lines().count() == 1, "{text}");
        }
    }

    /// What failed, on what, and what to try, in one line without repetition.
    #[test]
    fn every_reason_is_one_line_with_one_next_step() {
        let text = || "cannot do it to /x: ENOENT".to_owned();
        let timeout = |phase| Reason::Timeout { limit: Duration::from_secs(9), phase };
        let exit = |exit_code| Reason::NonZeroExit { exit_code };
        let said = |reason: &str| Reason::Said { reason: reason.into(), message: "/dev/sdx".into(), exit_code: 1 };
        for (name, on, reason) in [
            ("ImagePull", "/x", Reason::ImagePull(text())),
            ("ImageUnusable", "/x", Reason::ImageUnusable(text())),
            (
                "NoSpace",
                "on /run",
                Reason::NoSpace { what: "/x".into(), needed: 9, free: 1, of: Short::FileSystem("/run".into()) },
            ),
            ("NoSpace", "of memory", Reason::NoSpace { what: "/x".into(), needed: 9, free: 1, of: Short::Memory }),
            ("NoSpace", "inodes", Reason::NoSpace { what: "/x".into(), needed: 9, free: 1, of: Short::Inodes("/run".into()) }),
            ("ImageNotFound", "/x", Reason::ImageNotFound(text())),
            ("DigestMismatch", "/x", Reason::DigestMismatch(text())),
            ("OOMKilled", "16 MiB", Reason::OomKilled { exit_code: 137, limit: Some(16 << 20) }),
            ("OOMKilled", "the machine", Reason::OomKilled { exit_code: 137, limit: None }),
            ("Timeout", "pulling the image after 9 s", timeout(Phase::Pulling)),
            ("Timeout", "waiting for the disk that it names after 9 s", timeout(Phase::AwaitingDisks)),
            ("Timeout", "preparing the container after 9 s", timeout(Phase::Preparing)),
            ("Timeout", "starting the container after 9 s", timeout(Phase::Starting)),
            ("Timeout", "running after 9 s", timeout(Phase::Running)),
            ("NonZeroExit", "exit code 7", exit(7)),
            ("NonZeroExit", "exit code 126", exit(126)),
            ("NonZeroExit", "exit code 127", exit(127)),
            ("NonZeroExit", "exit code 132 (SIGILL)", exit(132)),
            ("NonZeroExit", "exit code 137 (SIGKILL)", exit(137)),
            ("NonZeroExit", "exit code 139 (SIGSEGV)", exit(139)),
            ("NonZeroExit", "exit code 159 (SIGSYS)", exit(159)),
            ("Cancelled", "wrong machine", Reason::Cancelled("wrong machine".into())),
            ("CouldNotStart", "/x", Reason::CouldNotStart(text())),
            ("CouldNotStart", "/x", Reason::CouldNotStart(format!("{}; try: another one", text()))),
            ("NetLost", "/x", Reason::NetLost(text())),
            ("Unsigned", "/x", Reason::Unsigned(text())),
            ("Policy", "/x", Reason::Policy("no \n\u{1b}[31m way to /x".into())),
            ("DiskNotFound", "/dev/sdx", said("DiskNotFound")),
        ] {
            let text = reason.text();
            assert!(text.starts_with(&format!("{name}: ")) && text.contains(on), "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
            assert_eq!(text.matches(TRY).count(), 1, "{text}");
            let mut parts: Vec<&str> = text.split([';', ':']).map(str::trim).filter(|part| part.len() > 5).collect();
            let all = parts.len();
            parts.sort_unstable();
            parts.dedup();
            assert_eq!(parts.len(), all, "said twice: {text}");
        }
        assert_eq!(said("Whatever").text(), "Whatever: /dev/sdx (exit code 1)", "a reason from the action needs no advice");
    }

    #[test]
    fn a_failed_pull_has_the_name_of_its_cause() {
        use oci::registry::RequestError;
        let (image, registry, what) = ("r/a:1".to_owned(), "r".to_owned(), "manifests/1 of a".to_owned());
        let numbers = NoSpace { resource: Resource::Memory, needed: 100 << 20, free: 10 };
        let place = "/run".into();
        let unsigned = oci::signature::Unsigned::OtherKey;
        for (error, want) in [
            (PullError::NoSpace { image: image.clone(), place, source: numbers }, "NoSpace: image r/a:1 needs about 100 MiB"),
            (PullError::Unsigned { image: image.clone(), source: unsigned }, "Unsigned: image r/a:1 may not run: it is signed"),
            (
                PullError::OtherPlatform { image: image.clone(), platform: "linux/arm64".into(), architecture: "amd64" },
                "ImageNotFound: r/a:1 is for linux/arm64, and this machine is linux/amd64",
            ),
            (PullError::NoPlatform { image, architecture: "amd64" }, "ImageNotFound: r/a:1 has no variant for linux/amd64"),
            (
                RequestError::NotFound { registry: registry.clone(), what: what.clone(), said: Default::default() }.into(),
                "ImageNotFound: registry r has no",
            ),
            (RequestError::TooSlow { registry, what }.into(), "ImagePull: registry r is too slow with manifests/1 of a"),
        ] {
            let text = Reason::from(&error).text();
            assert!(text.starts_with(want) && text.contains("; try: "), "{text}");
        }
    }
}
