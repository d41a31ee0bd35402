//! The agent's settings: flags in Go's style, and Tinkerbell's environment variables. As in Tinkerbell's agent, a variable
//! wins over its flag.

mod choice;
mod given;
mod names;

pub use given::given;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use choice::{RuntimeChoice, Source};
use cmdline::EmbeddedImages;
use machine::files;
use names::{WITHOUT_EFFECT, settings};
use oci::registry::{self, Login, Proxies};

/// Checked settings, without raw text that could still be wrong.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The agent's name at the server. HookOS and smee use the MAC address in lower case.
    pub id: String,
    pub source: Source,
    /// `host:port` of the workflow service. Empty if actions come from a file.
    pub authority: String,
    /// Further servers, each of which has the same work.
    pub servers: Vec<String>,
    pub runtime: RuntimeChoice,
    /// The folder of images and containers.
    pub state: PathBuf,
    pub tls: Tls,
    /// The Unix time at which the boot server wrote the kernel arguments.
    pub boot_time: Option<u64>,
    pub registries: registry::Settings,
    /// The registry of the login, as it was given. For servers of the first generation it is put before every image.
    pub registry_prefix: String,
    pub syslog_host: Option<String>,
    pub syslog_port: u16,
    pub log: LogTarget,
    pub backoff_max: Duration,
    pub detect_attributes: bool,
    /// Whether the next action's image is pulled while one runs.
    pub pull_ahead: bool,
    /// A layout with images that came with the machine.
    pub images: PathBuf,
    pub embedded: EmbeddedImages,
    /// Whether a disk with the label THIMBLE may provide images, too.
    pub image_disk: bool,
    /// Driver packs that the machine fetches whatever its devices are.
    pub packs: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    Off,
    Verified,
    /// TLS is used, but the certificate is not checked.
    Unverified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTarget {
    Kmsg,
    Stderr,
}

/// All mistakes in the settings, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong settings: {}", self.0.join("; "))
    }
}

impl std::error::Error for Mistakes {}

/// The name of an agent without a server, which does not need one.
const OFFLINE_ID: &str = "local";

impl Settings {
    /// `env` returns a variable by its name. An empty value counts as not set.
    pub fn read(flags: &[OsString], env: impl Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut wrong = Vec::new();
        let given = parse_flags(flags, &mut wrong);
        let raw = |flag: &str| -> Option<String> {
            let names = settings().find(|s| s.flag == flag).map_or(&[][..], |s| s.variables);
            let from_env = names.iter().rev().find_map(|name| env(name).filter(|v| !v.is_empty()));
            from_env.or_else(|| given.iter().rev().find(|(f, _)| *f == flag).map(|(_, v)| v.clone()))
        };
        let source = choice::source(raw("transport").as_deref(), raw("workflow-path"));
        let source = source.map_err(|mistake| wrong.push(mistake)).unwrap_or(Source::Grpc);
        let runtime = choice::runtime(raw("runtime").as_deref(), raw("containerd-socket"), raw("containerd-namespace"));
        let runtime = runtime.map_err(|mistake| wrong.push(mistake)).unwrap_or(RuntimeChoice::Libcontainer);
        let offline = matches!(source, Source::File(_));
        let mut required = |flag: &str, name: &str, without: &str| {
            raw(flag).unwrap_or_else(|| {
                if !offline {
                    wrong.push(format!("{name} (or -{flag}) is not set"));
                }
                without.to_owned()
            })
        };
        let id = required("id", "WORKER_ID", OFFLINE_ID);
        let authority = with_port(&required("grpc-server", "TINKERBELL_GRPC_AUTHORITY", ""));
        let mut on = |flag: &str, default: bool| boolean(flag, raw(flag), default, &mut wrong);
        let tls = match (on("grpc-tls", false), on("grpc-insecure-tls", false)) {
            (false, _) => Tls::Off,
            (true, false) => Tls::Verified,
            (true, true) => Tls::Unverified,
        };
        let (detect_attributes, pull_ahead) = (on("attribute-detection", true), on("pull-ahead", true));
        let image_disk = on("image-disk", false);
        let log = match raw("log").as_deref() {
            None | Some("stderr") => LogTarget::Stderr,
            Some("kmsg") => LogTarget::Kmsg,
            Some(other) => {
                wrong.push(format!("THIMBLE_LOG is {other:?}: use kmsg or stderr"));
                LogTarget::Stderr
            }
        };
        let embedded = choice::embedded(raw("embedded").as_deref());
        let embedded = embedded.map_err(|mistake| wrong.push(mistake)).unwrap_or_default();
        let backoff_max = duration(raw("backoff-max-interval"), &mut wrong);
        let boot_time = unix_time(raw("time"), &mut wrong);
        let syslog_port = port("SYSLOG_PORT", raw("syslog-port"), machine::syslog::PORT, &mut wrong);
        if !wrong.is_empty() {
            return Err(Mistakes(wrong));
        }
        Ok(Self {
            id,
            source,
            authority,
            servers: list(&raw("servers").unwrap_or_default()).iter().map(|server| with_port(server)).collect(),
            runtime,
            state: raw("state-dir").map_or_else(|| PathBuf::from(files::RUN), PathBuf::from),
            tls,
            boot_time,
            registry_prefix: prefix_of(&raw("registry-name").unwrap_or_default()),
            registries: registry::Settings {
                file: raw("registries")
                    .map(PathBuf::from)
                    .or_else(|| Some(files::REGISTRIES.into()).filter(|p: &PathBuf| p.exists())),
                mirrors: raw("mirrors").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
                insecure: list(&raw("insecure-registries").unwrap_or_default()),
                login: Login {
                    registry: host_of(&raw("registry-name").unwrap_or_default()),
                    username: raw("registry-user").unwrap_or_default(),
                    password: raw("registry-pass").unwrap_or_default(),
                },
                ca_file: raw("ca-file").map(PathBuf::from),
                proxies: Proxies { http: raw("http-proxy"), https: raw("https-proxy"), exceptions: raw("no-proxy") },
                docker_file: None,
            },
            syslog_host: raw("syslog-host"),
            syslog_port,
            log,
            backoff_max,
            detect_attributes,
            pull_ahead,
            images: PathBuf::from(raw("images").unwrap_or_else(|| files::IMAGES.to_owned())),
            embedded,
            image_disk,
            packs: list(&raw("packs").unwrap_or_default()).into_iter().collect(),
        })
    }
}

/// The help text with every flag and the variables for the same settings.
pub fn help() -> String {
    let mut text = "usage: agent [run] [-FLAG VALUE | -FLAG=VALUE]...\nA variable wins over its flag.\n\n".to_owned();
    for setting in settings() {
        text.push_str(&format!("  -{:<22} {}\n", setting.flag, setting.variables.join(", ")));
    }
    let ignored: Vec<_> = WITHOUT_EFFECT.iter().map(|setting| format!("-{}", setting.flag)).collect();
    text.push_str(&format!("\nAccepted for Tinkerbell's units, without effect: {}\n", ignored.join(" ")));
    text
}

/// Parses `-name value`, `-name=value` and `-switch`, with one dash or two. The last one wins.
fn parse_flags(flags: &[OsString], wrong: &mut Vec<String>) -> Vec<(&'static str, String)> {
    let mut given = Vec::new();
    let mut words = flags.iter().map(|w| w.to_string_lossy().into_owned());
    while let Some(word) = words.next().filter(|word| word != "--") {
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            wrong.push(format!("{word:?} is not a flag"));
            continue;
        };
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let Some(setting) = settings().chain(WITHOUT_EFFECT).find(|setting| setting.is_called(name)) else {
            wrong.push(format!("-{name} is not a known flag"));
            continue;
        };
        let value = inline.or_else(|| if setting.switch { Some("true".to_owned()) } else { words.next() });
        match value {
            Some(value) => given.push((setting.flag, value)),
            None => wrong.push(format!("-{} needs a value", setting.flag)),
        }
    }
    given
}

fn boolean(flag: &str, text: Option<String>, default: bool, wrong: &mut Vec<String>) -> bool {
    match text.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None => default,
        Some("true" | "1" | "t") => true,
        Some("false" | "0" | "f") => false,
        Some(other) => {
            wrong.push(format!("-{flag} is {other:?}: use true or false"));
            default
        }
    }
}

fn port(name: &str, text: Option<String>, default: u16, wrong: &mut Vec<String>) -> u16 {
    let Some(text) = text else { return default };
    text.parse().ok().filter(|port| *port > 0).unwrap_or_else(|| {
        wrong.push(format!("{name} is {text:?}: use a number from 1 to 65535"));
        default
    })
}

fn unix_time(text: Option<String>, wrong: &mut Vec<String>) -> Option<u64> {
    let text = text?;
    let time = text.parse().ok();
    if time.is_none() {
        wrong.push(format!("THIMBLE_TIME is {text:?}: use a Unix time in seconds, such as 1700000000"));
    }
    time
}

/// Whole seconds, or a duration in Go's syntax: `500ms`, `1m30s`, `1.5h`.
fn duration(text: Option<String>, wrong: &mut Vec<String>) -> Duration {
    let default = Duration::from_secs(5);
    let Some(text) = text else { return default };
    let parsed = text.parse().ok().map(Duration::from_secs).or_else(|| go_duration(&text));
    parsed.filter(|d| !d.is_zero()).unwrap_or_else(|| {
        wrong.push(format!("-backoff-max-interval is {text:?}: use for example 5s"));
        default
    })
}

fn go_duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let (number, after) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?)?;
        let (unit, after) =
            after.split_at_checked(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()))?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = after;
    }
    Some(total)
}

/// The authority, with Tinkerbell's port if it has none. IPv6 addresses keep their brackets.
fn with_port(authority: &str) -> String {
    let has_port = match authority.rsplit_once(':') {
        Some((host, port)) => port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    match (has_port, authority.matches(':').count() > 1 && !authority.starts_with('[')) {
        (true, _) => authority.to_owned(),
        (false, true) => format!("[{authority}]:{}", machine::ports::GRPC),
        (false, false) => format!("{authority}:{}", machine::ports::GRPC),
    }
}

/// DOCKER_REGISTRY may have a scheme or a path. The credentials belong to its host only.
fn host_of(registry: &str) -> String {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    oci::reference::canonical(rest.split('/').next().unwrap_or(rest))
}

/// The registry with its path, but without a scheme.
fn prefix_of(registry: &str) -> String {
    registry.split_once("://").map_or(registry, |(_, rest)| rest).trim_end_matches('/').to_owned()
}

fn list(text: &str) -> BTreeSet<String> {
    text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(host_of).collect()
}

#[cfg(test)]
mod tests;
