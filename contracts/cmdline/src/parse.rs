//! One word at a time into `Arguments`: which name means what, and what a sensible value is.

use std::str::FromStr;

use crate::{Arguments, EmbeddedImages, Note, OnFailure, Problem, Proxy, Secret, Word};

impl Arguments {
    /// Takes one word; a bad value leaves the argument as it was.
    pub(crate) fn accept(&mut self, word: Word) -> Result<(), Note> {
        let problem = match self.assign(&word) {
            Ok(true) => return Ok(()),
            Ok(false) => {
                self.other.push(word);
                return Ok(());
            }
            Err(problem) => problem,
        };
        let value = if word.is_secret() { None } else { word.value };
        Err(Note { argument: word.name, value, problem })
    }

    /// `Ok(false)`: the word is not ours.
    fn assign(&mut self, word: &Word) -> Result<bool, Problem> {
        if !is_ours(&word.name) {
            return Ok(false);
        }
        if word.name == "rescue" {
            self.rescue = word.value.as_deref().map_or(Ok(true), boolean)?;
            return Ok(true);
        }
        let value = word.value.as_deref().ok_or(Problem::NoValue)?;
        match word.name.as_str() {
            "worker_id" => self.worker_id = text(value),
            "grpc_authority" => self.grpc_authority = optional(value, authority)?,
            "tinkerbell_tls" => self.tinkerbell_tls = optional(value, boolean)?,
            "tinkerbell_insecure_tls" => self.tinkerbell_insecure_tls = optional(value, boolean)?,
            "syslog_host" => self.syslog_host = text(value),
            "syslog_port" => self.syslog_port = optional(value, |v| number(v, 1, u16::MAX))?,
            "hw_addr" => self.hw_addr = optional(value, |v| v.parse().map_err(Problem::HwAddr))?,
            "vlan_id" => self.vlan_id = optional(value, |v| number(v, 1, 4094))?,
            "facility" => self.facility = text(value),
            "docker_registry" => self.docker_registry = text(value),
            "registry_username" => self.registry_username = text(value),
            "registry_password" => self.registry_password = text(value).map(Secret::new),
            "insecure_registries" => self.insecure_registries = list(value),
            "HTTP_PROXY" => self.http_proxy = text(value).map(Proxy::new),
            "HTTPS_PROXY" => self.https_proxy = text(value).map(Proxy::new),
            "NO_PROXY" => self.no_proxy = text(value),
            "interface" => self.interfaces = interfaces(value)?,
            "ipam" => self.ipam = optional(value, |v| v.parse().map_err(Problem::Ipam))?,
            "ip" => self.ip = optional(value, |v| v.parse().map_err(Problem::Ip))?,
            "vlan" => self.vlan = optional(value, |v| v.parse().map_err(Problem::Ip))?,
            "bond" => self.bond = optional(value, |v| v.parse().map_err(Problem::Bond))?,
            "ntp" => self.ntp = list(value),
            "panic" => self.panic = optional(value, |v| number(v, i32::MIN, i32::MAX))?,
            "console" => self.consoles.extend(text(value)),
            "ssh_key" => self.ssh_keys.extend(optional(value, |v| v.parse().map_err(Problem::SshKey))?),
            "thimble.time" => self.time = optional(value, |v| number(v, 0, i64::MAX).map(i64::unsigned_abs))?,
            "thimble.run" => self.run_percent = optional(value, |v| number(v, 1, 95))?,
            "thimble.on_failure" => self.on_failure = optional(value, on_failure)?,
            "thimble.countdown" => self.countdown = optional(value, |v| number(v, 0, 60))?,
            "thimble.embedded" => self.embedded = optional(value, embedded)?,
            "thimble.mirror" => self.mirrors.extend(optional(value, mirror)?),
            _ => return Err(Problem::Unknown),
        }
        Ok(true)
    }
}

pub(crate) const NAMES: &[&str] = &[
    "worker_id",
    "grpc_authority",
    "tinkerbell_tls",
    "tinkerbell_insecure_tls",
    "syslog_host",
    "syslog_port",
    "hw_addr",
    "vlan_id",
    "facility",
    "docker_registry",
    "registry_username",
    "registry_password",
    "insecure_registries",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "interface",
    "ipam",
    "ip",
    "vlan",
    "bond",
    "ntp",
    "panic",
    "console",
    "rescue",
    "ssh_key",
];

/// A misspelt `thimble.` word is ours too, so that it is not ignored in silence.
fn is_ours(name: &str) -> bool {
    name.starts_with("thimble.") || NAMES.contains(&name)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn optional<T>(value: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some) }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The words Go's `strconv.ParseBool` takes, since Go programs render and read these arguments too.
fn boolean(value: &str) -> Result<bool, Problem> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Problem::NotABool),
    }
}

fn number<T>(value: &str, min: T, max: T) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + Copy + TryInto<i64>,
{
    let bound = |bound: T, other: i64| bound.try_into().unwrap_or(other);
    let outside = Problem::NotInRange { min: bound(min, i64::MIN), max: bound(max, i64::MAX) };
    value.parse().ok().filter(|n| (min..=max).contains(n)).ok_or(outside)
}

fn authority(value: &str) -> Result<String, Problem> {
    let (host, port) = value.rsplit_once(':').ok_or(Problem::NotAnAuthority)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_is_fine = !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains(['/', ' ', '@']);
    match port.parse::<u16>() {
        Ok(port) if port > 0 && host_is_fine => Ok(value.to_owned()),
        _ => Err(Problem::NotAnAuthority),
    }
}

/// The agent reads the URLs; credentials have no place in them.
fn mirror(value: &str) -> Result<String, Problem> {
    let (registry, urls) = value.split_once('=').ok_or(Problem::NotAMirror)?;
    let is_url = |url: &str| {
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) && !url.contains(['@', ' '])
    };
    if !registry.is_empty() && urls.split(',').all(is_url) { Ok(value.to_owned()) } else { Err(Problem::NotAMirror) }
}

fn on_failure(value: &str) -> Result<OnFailure, Problem> {
    OnFailure::ALL.iter().find(|(_, word)| *word == value).map(|(end, _)| *end).ok_or(Problem::NotAnEnd)
}

fn embedded(value: &str) -> Result<EmbeddedImages, Problem> {
    EmbeddedImages::ALL.iter().find(|(_, word)| *word == value).map(|(when, _)| *when).ok_or(Problem::NotAPlace)
}

/// What the kernel's `dev_valid_name()` takes.
fn interfaces(value: &str) -> Result<Vec<String>, Problem> {
    let names = list(value);
    let fine = |name: &String| {
        name.len() < 16 && name != "." && name != ".." && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
    };
    if names.iter().all(fine) { Ok(names) } else { Err(Problem::NotAnInterface) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMEE: &str = "facility= syslog_host=10.0.0.1 grpc_authority=10.0.0.1:42113 tinkerbell_tls=false \
        tinkerbell_insecure_tls=false worker_id=02:00:00:00:00:01 hw_addr=02:00:00:00:00:01 \
        modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on initrd=initramfs console=tty0 console=ttyS1,115200\n";

    #[test]
    fn a_mistake_that_comes_twice_is_told_once() {
        let notes = Arguments::parse("thimble.tmie=5 vlan_id=0 thimble.tmie=5 vlan_id=0").notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn a_wrong_end_is_noted_and_the_last_right_one_stays() {
        let Parsed { arguments, notes } = Arguments::parse("thimble.on_failure=reboot thimble.on_failure=explode");
        assert_eq!((arguments.on_failure, notes.len()), (Some(OnFailure::Reboot), 1));
        assert_eq!(notes.first().map(|note| note.problem.clone()), Some(Problem::NotAnEnd));
    }

    #[test]
    fn mirrors_add_up_and_nonsense_is_noted() {
        let line = "thimble.mirror=docker.io=http://a:5000,https://b/hub thimble.mirror=quay.io=http://a thimble.mirror=x \
                    thimble.mirror=docker.io=https://u:p@b thimble.mirror==http://a";
        let Parsed { arguments, notes } = Arguments::parse(line);
        assert_eq!(arguments.mirrors, ["docker.io=http://a:5000,https://b/hub", "quay.io=http://a"]);
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn the_line_smee_writes_is_understood() {
        let Parsed { arguments, notes } = Arguments::parse(SMEE);
        assert_eq!(notes, []);
        assert_eq!(arguments.worker_id.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(arguments.hw_addr.unwrap().to_string(), "02:00:00:00:00:01");
        assert_eq!(arguments.grpc_authority.as_deref(), Some("10.0.0.1:42113"));
        assert_eq!(arguments.tinkerbell_tls, Some(false));
        assert_eq!(arguments.facility, None);
        assert_eq!(arguments.consoles, ["tty0", "ttyS1,115200"]);
        assert_eq!(arguments.other.len(), 3);
        assert_eq!(arguments.other("intel_iommu").unwrap().value.as_deref(), Some("on"));
    }

    #[test]
    fn position_and_bare_words_do_not_matter_and_the_last_value_wins() {
        let arguments = Arguments::parse("worker_id=a quiet worker_id=b ro").arguments;
        assert_eq!(arguments.worker_id.as_deref(), Some("b"));
        assert_eq!(arguments.other, [Word::flag("quiet"), Word::flag("ro")]);
    }

    #[test]
    fn a_bad_value_is_a_note_that_names_argument_and_value() {
        for (line, note) in [
            ("hw_addr=zz", "argument hw_addr=zz: not a MAC address (expected 02:00:00:00:00:01)"),
            ("worker_id", "argument worker_id: a value is missing"),
            ("vlan_id=5000", "argument vlan_id=5000: not a whole number from 1 to 4094"),
            ("syslog_port=0", "argument syslog_port=0: not a whole number from 1 to 65535"),
            ("tinkerbell_tls=maybe", "argument tinkerbell_tls=maybe: not true or false"),
            ("grpc_authority=10.0.0.1", "argument grpc_authority=10.0.0.1: not HOST:PORT"),
            ("grpc_authority=:1", "argument grpc_authority=:1: not HOST:PORT"),
            ("grpc_authority=http://a:1", "argument grpc_authority=http://a:1: not HOST:PORT"),
            ("interface=a/b", "argument interface=a/b: not the name of a network interface"),
            ("thimble.tmie=5", "argument thimble.tmie=5: nothing of this name exists in this version"),
            ("thimble.run=100", "argument thimble.run=100: not a whole number from 1 to 95"),
            ("registry_password", "argument registry_password: a value is missing"),
        ] {
            let parsed = Arguments::parse(line);
            let notes: Vec<String> = parsed.notes.iter().map(Note::to_string).collect();
            assert_eq!(notes, [note]);
            assert_eq!(parsed.arguments, Arguments::default(), "{line} left nothing behind");
        }
    }

    #[test]
    fn a_bad_value_does_not_undo_a_good_one() {
        let parsed = Arguments::parse("panic=30 panic=soon");
        assert_eq!((parsed.arguments.panic, parsed.notes.len()), (Some(30), 1));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let arguments =
            Arguments::parse("insecure_registries=a:5000,,b interface=eth0,eth1 grpc_authority=[fd00::1]:1").arguments;
        assert_eq!(arguments.insecure_registries, ["a:5000", "b"]);
        assert_eq!(arguments.interfaces, ["eth0", "eth1"]);
        assert_eq!(arguments.grpc_authority.as_deref(), Some("[fd00::1]:1"));
    }

    use crate::Parsed;
}
