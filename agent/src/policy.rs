//! What this machine allows actions to do, whatever a server orders. The policy is a file of the ramdisk. Everything but
//! reading it is pure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

use crate::action::{Action, Network, Reach, Wishes};
use crate::bundle::shows_of_the_machine;
use oci::reference::{Reference, Version};
use oci::signature::{BadKey, Keys, NameRule, Names};

pub const FILE: &str = machine::files::POLICY;
/// The largest size of the policy, and of a key's file.
const SIZE_MAX: u64 = 1 << 20;
/// The most patterns, keys, and pairs of names.
const ENTRIES_MAX: usize = 1000;
/// The longest pattern. Names of images have up to 255 characters, and a registry in front.
const PATTERN_MAX: usize = 1024;
/// How many patterns a refusal shows.
const SHOWN: usize = 5;

/// The machine's policy. Without the file everything is allowed, as with Tinkerbell's agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Actions must have `THIMBLE_PRIVILEGED=false`, and get neither paths nor processes of the machine.
    require_unprivileged: bool,
    /// Actions get a separate, empty network.
    network: Option<NetworkRule>,
    /// Images must be named by digest.
    require_digest: bool,
    /// Patterns of full names (`docker.io/library/x:tag`) in which `*` matches any text. If empty, all images are allowed.
    images: Vec<String>,
    /// Public keys of cosign, as PEM or as a path. Images must be signed with one of them. If empty, signatures are not
    /// checked.
    signed_by: Vec<String>,
    /// Whether a signature must name the image. `ifNamed` compares the name if the signature has one. The others are
    /// `always` and `never`.
    signed_name: NameRule,
    /// For copies of images under other names. It maps the start of a name here to the start of the signed name.
    signed_as: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum NetworkRule {
    None,
}

/// An error in the policy. A machine whose policy cannot be read does not run anything.
#[derive(Debug, thiserror::Error)]
pub enum BadPolicy {
    #[error("cannot read the policy {FILE}")]
    Read(#[source] io::Error),
    #[error("cannot understand the policy {FILE}")]
    Parse(#[source] serde_json::Error),
    #[error("{path} has more than {SIZE_MAX} bytes, which is too much for a policy or a key")]
    TooLarge { path: String },
    #[error("the policy {FILE} has more than {ENTRIES_MAX} entries in {0}")]
    TooMany(&'static str),
    #[error("the policy {FILE} has an entry in {0} that is empty or longer than {PATTERN_MAX} characters")]
    Length(&'static str),
    #[error("cannot read the public key {path} that the policy {FILE} names")]
    ReadKey {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the public key {key} of the policy {FILE}")]
    Key {
        key: String,
        #[source]
        source: BadKey,
    },
}

impl Policy {
    pub fn read(path: &Path) -> Result<Self, BadPolicy> {
        let text = match bounded(path) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(BadPolicy::TooLarge { path: path.display().to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(BadPolicy::Read(error)),
        };
        log::info!("the policy {} is in force, {}", path.display(), oci::Digest::of(&text));
        Self::parse(&text)
    }

    pub fn parse(text: &[u8]) -> Result<Self, BadPolicy> {
        let policy: Self = serde_json::from_slice(text).map_err(BadPolicy::Parse)?;
        policy.has_bounds()?;
        Ok(policy)
    }

    fn has_bounds(&self) -> Result<(), BadPolicy> {
        let lists = [("images", self.images.len()), ("signedBy", self.signed_by.len()), ("signedAs", self.signed_as.len())];
        if let Some((list, _)) = lists.into_iter().find(|(_, length)| *length > ENTRIES_MAX) {
            return Err(BadPolicy::TooMany(list));
        }
        let fits = |text: &String| (1..=PATTERN_MAX).contains(&text.len());
        if !self.images.iter().all(fits) {
            return Err(BadPolicy::Length("images"));
        }
        if !self.signed_as.iter().all(|(copy, original)| fits(copy) && fits(original)) {
            return Err(BadPolicy::Length("signedAs"));
        }
        Ok(())
    }

    /// The keys that sign the images of this machine, and the names that their signatures must have.
    pub fn keys(&self) -> Result<Keys, BadPolicy> {
        let mut keys = Keys::default();
        for (number, entry) in self.signed_by.iter().enumerate() {
            let (key, pem) = if entry.trim_start().starts_with('-') {
                (format!("number {}", number + 1), entry.clone())
            } else {
                let read = bounded(Path::new(entry)).map_err(|source| BadPolicy::ReadKey { path: entry.clone(), source })?;
                let read = read.ok_or_else(|| BadPolicy::TooLarge { path: entry.clone() })?;
                (entry.clone(), String::from_utf8_lossy(&read).into_owned())
            };
            keys.add(&pem).map_err(|source| BadPolicy::Key { key, source })?;
        }
        let signed_as = self.signed_as.iter().map(|(copy, original)| (copy.clone(), original.clone())).collect();
        Ok(keys.naming(Names { rule: self.signed_name, signed_as }))
    }

    /// What the action gets here, or why it may not run.
    pub fn admit(&self, action: &Action, wishes: &Wishes) -> Result<Wishes, String> {
        self.check(action, wishes)?;
        // A privileged action without this wish was refused above.
        let network = if self.network.is_some() { Some(Network::None) } else { wishes.network };
        Ok(Wishes { network, ..wishes.clone() })
    }

    fn check(&self, action: &Action, wishes: &Wishes) -> Result<(), String> {
        self.check_image(&action.image)?;
        self.check_network(action, wishes)?;
        if !self.require_unprivileged {
            return Ok(());
        }
        if wishes.privileged {
            return Err(
                "this machine runs unprivileged actions only, and the action does not have THIMBLE_PRIVILEGED=false".into()
            );
        }
        if let Some(disk) = &wishes.scratch {
            return Err(format!(
                "this machine does not give its disks to actions, and the action asks for {} as scratch",
                disk.display()
            ));
        }
        if wishes.low_ports && !is_apart(action, wishes) {
            return Err(
                "this machine does not give its ports below 1024 to actions, and the action asks for THIMBLE_LOW_PORTS".into()
            );
        }
        if action.pid == "host" {
            return Err("this machine does not show its processes to actions, and the action asks for pid host".into());
        }
        let shown = action.volumes.iter().find_map(|volume| Some((volume, shows_of_the_machine(volume)?)));
        match shown {
            Some((volume, what)) => {
                Err(format!("this machine does not show {what} to actions, and the action asks for volume {volume}"))
            }
            None => Ok(()),
        }
    }

    fn check_network(&self, action: &Action, wishes: &Wishes) -> Result<(), String> {
        let asks = action.network == "host" || wishes.network == Some(Network::Host);
        if self.network.is_none() || is_apart(action, wishes) || (!asks && !wishes.privileged) {
            return Ok(());
        }
        let why = if asks { "the action asks for it" } else { "a privileged action has it unless it sets THIMBLE_NETWORK=none" };
        Err(format!("this machine does not give its network to actions, and {why}"))
    }

    /// Checks an image, including one that no action names, such as a deferred one.
    pub fn check_image(&self, image: &str) -> Result<(), String> {
        // Pulling an invalid name will refuse it.
        let Ok(reference) = image.parse::<Reference>() else { return Ok(()) };
        let name = reference.to_string();
        if self.require_digest && !matches!(reference.version, Version::Digest(_)) {
            return Err(format!("this machine runs images by digest only, and {image} has none"));
        }
        if self.images.is_empty() || self.images.iter().any(|pattern| matches(pattern, &name)) {
            return Ok(());
        }
        let mut allowed = self.images.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if self.images.len() > SHOWN {
            allowed.push_str(&format!(" and {} more", self.images.len() - SHOWN));
        }
        Err(format!("image {name} matches none of the names this machine allows ({allowed})"))
    }
}

/// Whether the action asks for a network of its own, with nothing in it.
fn is_apart(action: &Action, wishes: &Wishes) -> bool {
    action.reach(wishes) == Reach::Nothing
}

/// Reads a whole file, or returns `None` if it is too large.
fn bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= SIZE_MAX).then_some(bytes))
}

/// `*` matches any text, including an empty one, and every other character matches itself. A text between two stars is
/// matched at its first occurrence. That leaves the most for the rest, so nothing is tried twice.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(image: &str, volumes: &[&str], pid: &str, environment: &[&str]) -> Action {
        let wire = proto::ActionResponse {
            workflow_id: Some("w".into()),
            task_id: Some("t".into()),
            action_id: Some("a".into()),
            image: Some(image.into()),
            volumes: volumes.iter().map(|v| (*v).to_owned()).collect(),
            environment: environment.iter().map(|v| (*v).to_owned()).collect(),
            pid: Some(pid.into()),
            ..Default::default()
        };
        Action::from_wire(wire).unwrap()
    }

    fn refusal(policy: &str, action: &Action) -> Option<String> {
        let policy: Policy = serde_json::from_str(policy).unwrap();
        policy.check(action, action.environment.wishes().unwrap()).err()
    }

    #[test]
    fn every_rule_refuses_only_what_it_names() {
        const CONFINED: &[&str] = &["THIMBLE_PRIVILEGED=false"];
        const LENDING: &[&str] = &["THIMBLE_PRIVILEGED=false", "THIMBLE_SCRATCH=/dev/sdb"];
        let pinned = format!("r.example/a@sha256:{}", "a".repeat(64));
        for (policy, action, refused) in [
            ("{}", action("x", &["/:/host"], "host", &[]), None),
            (r#"{"requireDigest":true}"#, action("x:1", &[], "", &[]), Some("by digest only")),
            (r#"{"requireDigest":true}"#, action(&pinned, &[], "", &[]), None),
            (r#"{"images":["r.example/*"]}"#, action("r.example/a/b:1", &[], "", &[]), None),
            (r#"{"images":["r.example/*"]}"#, action("evil.example/r.example/a", &[], "", &[]), Some("matches none")),
            (r#"{"images":["r.example/*"]}"#, action("r.example.evil.com/a", &[], "", &[]), Some("matches none")),
            (r#"{"images":["docker.io/library/busybox:*"]}"#, action("busybox", &[], "", &[]), None),
            (r#"{"requireUnprivileged":true}"#, action("x", &[], "", &[]), Some("unprivileged actions only")),
            (r#"{"requireUnprivileged":true}"#, action("x", &["data:/data"], "", CONFINED), None),
            (r#"{"requireUnprivileged":true}"#, action("x", &[], "host", CONFINED), Some("pid host")),
            (r#"{"requireUnprivileged":true}"#, action("x", &["/:/host:ro"], "", CONFINED), Some("/:/host:ro")),
            (r#"{"requireUnprivileged":true}"#, action("x", &["/data"], "", CONFINED), None),
            (r#"{"requireUnprivileged":true}"#, action("x", &[], "", LENDING), Some("/dev/sdb as scratch")),
            ("{}", action("x", &[], "", LENDING), None),
        ] {
            let said = refusal(policy, &action);
            assert_eq!(said.is_some(), refused.is_some(), "{policy} {action:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(refused.unwrap_or_default()), "{policy}");
        }
    }

    /// In every spelling, an unprivileged action gets only volumes of its workflow, and nothing of the machine.
    #[test]
    fn no_spelling_of_a_volume_gets_round_the_policy() {
        let policy = Policy { require_unprivileged: true, ..Policy::default() };
        let check = |volume: &str, environment: &[&str]| {
            let action = action("x", &["data:/data:ro,z", "/anonymous", volume], "", environment);
            policy.check(&action, action.environment.wishes().unwrap())
        };
        for volume in [
            "/:/host",
            "//:/host",
            "/./:/host:ro",
            "/dev:/dev",
            "/dev/sda:/dev/sda",
            "/dev/sda:/disk:ro",
            "/var/run/docker.sock:/var/run/docker.sock",
            "/run/docker.sock:/x",
            "/worker:/worker",
            "/run/thimble/../..:/x",
            "./etc:/x",
            "../etc:/x",
            "etc/../..:/x",
            "~:/x",
            "$HOME:/x",
            " /etc:/x",
            "\t/etc:/x",
            ".:/x",
            "..:/x",
            ":/x",
            "data/../../..:/x",
            "a\u{0}b:/x",
            "data:/x:rshared",
            "data:/x:ro,shared",
        ] {
            assert!(check(volume, &["THIMBLE_PRIVILEGED=false"]).is_err(), "{volume:?}");
        }
        for twice in [&["THIMBLE_PRIVILEGED=false", "THIMBLE_PRIVILEGED=true"][..], &["thimble_privileged=false"][..], &[][..]] {
            assert!(check("data:/x", twice).is_err(), "{twice:?}");
        }
        assert_eq!(check("data:/x", &["THIMBLE_PRIVILEGED=false"]), Ok(()));
    }

    #[test]
    fn a_policy_with_an_unknown_rule_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        assert_eq!(Policy::read(&path).unwrap(), Policy::default(), "no file");
        std::fs::write(&path, r#"{"requireSignature":true}"#).unwrap();
        assert!(matches!(Policy::read(&path), Err(BadPolicy::Parse(_))));
    }

    #[test]
    fn a_key_that_cannot_be_used_stops_the_agent_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cosign.pub").display().to_string();
        let policy = |entry: &str| Policy { signed_by: vec![entry.to_owned()], ..Policy::default() };
        let said = |entry: &str| policy(entry).keys().map(|_| ()).map_err(|bad| machine::Chain(&bad).to_string());
        assert!(said(&file).unwrap_err().contains("cosign.pub"), "no such file");
        let point = [&hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap()[..], &[4; 65]].concat();
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, point);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        std::fs::write(&file, &pem).unwrap();
        assert_eq!((said(&file), said(&pem)), (Ok(()), Ok(())));
        assert!(policy(&pem).keys().is_ok_and(|keys| !keys.is_empty()));
        assert!(said("-----BEGIN CERTIFICATE-----").unwrap_err().contains("public key number 1"));
    }

    #[test]
    fn a_policy_can_take_the_network_away() {
        const NONE: &str = r#"{"network":"none"}"#;
        const UNPRIVILEGED: &str = "THIMBLE_PRIVILEGED=false";
        for (case, policy, network, environment, want) in [
            ("no rule", "{}", "", &[UNPRIVILEGED][..], Ok(None)),
            ("no rule, a wish", "{}", "", &[UNPRIVILEGED, "THIMBLE_NETWORK=none"], Ok(Some(Network::None))),
            ("unprivileged, silent", NONE, "", &[UNPRIVILEGED], Ok(Some(Network::None))),
            ("unprivileged, by namespace", NONE, "none", &[UNPRIVILEGED], Ok(Some(Network::None))),
            ("unprivileged, wants it", NONE, "host", &[UNPRIVILEGED], Err("the action asks for it")),
            ("wants it in other words", NONE, "", &[UNPRIVILEGED, "THIMBLE_NETWORK=host"], Err("the action asks for it")),
            ("says both", NONE, "none", &[UNPRIVILEGED, "THIMBLE_NETWORK=host"], Ok(Some(Network::None))),
            ("privileged, silent", NONE, "", &[], Err("THIMBLE_NETWORK=none")),
            ("privileged, without a network", NONE, "none", &[], Ok(Some(Network::None))),
            ("low ports", r#"{"requireUnprivileged":true}"#, "", &[UNPRIVILEGED, "THIMBLE_LOW_PORTS=true"], Err("below 1024")),
            (
                "a separate network for low ports",
                r#"{"requireUnprivileged":true}"#,
                "none",
                &[UNPRIVILEGED, "THIMBLE_LOW_PORTS=true"],
                Ok(None),
            ),
        ] {
            let policy: Policy = serde_json::from_str(policy).unwrap();
            let action = Action { network: network.into(), ..action("x", &[], "", environment) };
            let said = policy.admit(&action, action.environment.wishes().unwrap());
            match want {
                Ok(want) => assert_eq!(said.unwrap().network, want, "{case}"),
                Err(want) => assert!(said.as_ref().is_err_and(|why| why.contains(want)), "{case}: {said:?}"),
            }
        }
        for other in ["host", "None", "bridge", ""] {
            assert!(serde_json::from_str::<Policy>(&format!(r#"{{"network":"{other}"}}"#)).is_err(), "{other}");
        }
    }

    #[test]
    fn stars_match_any_text() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "a/b/b/c", true),
            ("ä*", "äö", true),
            ("", "", true),
            ("", "a", false),
            ("**", "a", true),
            ("a**b", "ab", true),
            ("ab*ba", "aba", false), // the tail cannot use characters that the head used
            ("a*bc*c", "abc", false),
            ("a*bc*c", "abcbc", true),
            ("*a*", "bab", true),
            ("*a*", "b", false),
            ("a*", "ba", false),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    /// Patterns as long as the limits allow. Each one must finish before a person notices.
    #[test]
    fn no_pattern_takes_long() {
        let name = format!("r.example/{}", "a".repeat(250));
        let policy = |images: Vec<String>| Policy { images, ..Policy::default() };
        for pattern in ["*a".repeat(512) + "b", "*".repeat(1024), "a*".repeat(512), "*aab".repeat(256)] {
            let started = std::time::Instant::now();
            let _ = policy(vec![pattern.clone(); ENTRIES_MAX]).check_image(&name);
            assert!(started.elapsed() < std::time::Duration::from_secs(2), "{pattern}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn a_policy_has_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            Policy::read(&path).map(|_| ()).map_err(|bad| bad.to_string())
        };
        let images = |count: usize| format!(r#"{{"images":[{}]}}"#, vec!["\"r/*\""; count].join(","));
        assert_eq!(read(images(ENTRIES_MAX)), Ok(()));
        assert!(read(images(ENTRIES_MAX + 1)).unwrap_err().contains("entries in images"));
        assert!(read(format!(r#"{{"images":["{}"]}}"#, "a".repeat(PATTERN_MAX + 1))).unwrap_err().contains("longer than"));
        assert!(read(r#"{"signedAs":{"":"x"}}"#.into()).unwrap_err().contains("signedAs"));
        assert!(read(" ".repeat(1 << 21)).unwrap_err().contains("too much for a policy"));
        assert!(read("[".repeat(1 << 19)).unwrap_err().contains("cannot understand"));
        assert_eq!(read(r#"{"signedName":"always","signedAs":{"mirror.lab":"ghcr.io/org"}}"#.into()), Ok(()));
        assert!(read(r#"{"signedName":"sometimes"}"#.into()).is_err());
        let key = Policy { signed_by: vec!["/dev/zero".into()], ..Policy::default() };
        assert!(key.keys().unwrap_err().to_string().contains("/dev/zero has more than"));
    }
}
