//! `--policy` and `--registries`: the files that the machine's agent reads. They are checked here in the agent's way.

use anyhow::{Context, bail, ensure};
use initramfs::recipe::{ExtraFile, is_pem};
use machine::files;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The ramdisk's folder for the files that `registries.json` names.
const CREDENTIALS: &str = "/etc/thimble/registries.d";
/// The keys of a host in `registries.json` that name a file.
const FILES: [&str; 3] = ["ca_file", "certificate_file", "key_file"];
/// The keys of `registries.json` that the agent reads. Docker's other keys may be there if a `config.json` was copied.
const KEYS: [&str; 7] = ["mirrors", "hosts", "auths", "HttpHeaders", "credsStore", "credHelpers", "currentContext"];

/// The checked files for the ramdisk.
#[derive(Debug, Default)]
pub struct Checked {
    pub files: Vec<ExtraFile>,
    /// Whether a file has secrets, which everyone who gets the ramdisk can read.
    pub has_secrets: bool,
}

pub fn check(policy: Option<&Path>, registries: Option<&Path>) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    if let Some(path) = policy {
        let text = self::policy(path).with_context(|| format!("the policy {} cannot be used", path.display()))?;
        checked.files.push(ExtraFile::text(files::POLICY.to_owned(), text));
    }
    if let Some(path) = registries {
        self::registries(path, &mut checked).with_context(|| format!("the registries of {} cannot be used", path.display()))?;
    }
    Ok(checked)
}

/// Keys given as paths are on this host only, so they become part of the policy.
fn policy(path: &Path) -> anyhow::Result<String> {
    let mut text = fs::read_to_string(path)?;
    agent::check_policy_form(text.as_bytes())?;
    let mut value: Value = serde_json::from_str(&text)?;
    let keys = value.get_mut("signedBy").and_then(Value::as_array_mut);
    let mut paths = keys.into_iter().flatten().filter(|key| key.as_str().is_some_and(|key| !key.trim_start().starts_with('-')));
    let mut changed = false;
    paths.try_for_each(|key| -> anyhow::Result<()> {
        let file = beside(path, key.as_str().unwrap_or_default());
        let pem = fs::read_to_string(&file).with_context(|| format!("cannot read the public key {}", file.display()))?;
        (*key, changed) = (pem.into(), true);
        Ok(())
    })?;
    if changed {
        text = serde_json::to_string_pretty(&value)? + "\n";
    }
    agent::check_policy(text.as_bytes())?;
    Ok(text)
}

/// Copies the files that it names, with new names.
fn registries(path: &Path, checked: &mut Checked) -> anyhow::Result<()> {
    let mut text = fs::read_to_string(path)?;
    oci::registry::check(text.as_bytes())?;
    let mut value: Value = serde_json::from_str(&text)?;
    for key in value.as_object().into_iter().flat_map(|map| map.keys()) {
        ensure!(
            KEYS.contains(&key.as_str()),
            "line {}: the key {key:?} is unknown: use {}",
            line_of(&text, key),
            KEYS[..3].join(", ")
        );
    }
    checked.has_secrets |= text.contains("\"password\"") || text.contains("\"auth\"") || text.contains("\"key_file\"");
    let mut named = Vec::new();
    for (host, settings) in value.get_mut("hosts").and_then(Value::as_object_mut).into_iter().flatten() {
        for field in FILES {
            let Some(entry) = settings.get_mut(field).filter(|entry| entry.is_string()) else { continue };
            let file = beside(path, entry.as_str().unwrap_or_default());
            let data = fs::read(&file).with_context(|| format!("cannot read {field} of {host}, {}", file.display()))?;
            let is_key = field == "key_file";
            if !(if is_key { is_key_pem(&data) } else { is_pem(&data) }) {
                bail!(
                    "{field} of {host}, {}, is not {} in PEM form",
                    file.display(),
                    if is_key { "a key" } else { "a certificate" }
                );
            }
            let place = format!("{CREDENTIALS}/{}-{field}.pem", named.len() + 1);
            *entry = place.clone().into();
            named.push(ExtraFile { path: place, data, is_program: false });
        }
    }
    if !named.is_empty() {
        text = serde_json::to_string_pretty(&value)? + "\n";
    }
    checked.files.push(ExtraFile::text(files::REGISTRIES.to_owned(), text));
    checked.files.extend(named);
    Ok(())
}

fn is_key_pem(data: &[u8]) -> bool {
    String::from_utf8_lossy(data).lines().any(|line| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----"))
}

/// A relative path is relative to the folder of the file that has it.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// The line of a key, to help a person find it.
fn line_of(text: &str, key: &str) -> usize {
    let quoted = Value::from(key).to_string();
    text.lines().position(|line| line.contains(&quoted)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn with(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
            Self(folder)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn policy(&self) -> anyhow::Result<Checked> {
            check(Some(&self.at("policy.json")), None)
        }

        fn registries(&self) -> anyhow::Result<Checked> {
            check(None, Some(&self.at("registries.json")))
        }
    }

    fn text(file: &ExtraFile) -> String {
        String::from_utf8(file.data.clone()).unwrap()
    }

    #[test]
    fn a_mistake_is_refused_with_its_file_and_line() {
        for (policy, want) in [
            ("{\n  \"requireDigest\": true,\n  \"requireSignature\": true\n}", "unknown field `requireSignature`"),
            ("{\n\n  \"requireDigest\": \"yes\"\n}", "line 3"),
            ("{\"network\":\"bridge\"}", "unknown variant `bridge`"),
            ("{\"images\": [", "EOF while parsing"),
            ("# YAML\nimages: []\n", "line 1"),
            ("{\"signedBy\":[\"gone.pub\"]}", "gone.pub"),
            ("{\"signedBy\":[\"-----BEGIN CERTIFICATE-----\"]}", "public key number 1"),
        ] {
            let error = format!("{:#}", Bench::with(&[("policy.json", policy)]).policy().unwrap_err());
            assert!(error.contains(want) && error.contains("policy.json"), "{policy}: {error}");
        }
        for (registries, want) in [
            ("{\n \"mirors\": {}\n}", "line 2: the key \"mirors\" is unknown"),
            ("{\"mirrors\":{\"docker.io\":{\"endpoints\":[\"ftp://x\"]}}}", "a mirror is an http"),
            ("{\n\"hosts\":{\"r\":{\"pasword\":\"x\"}}}", "line 2"),
            ("{\"hosts\":{\"r\":{\"ca_file\":\"/gone/ca.pem\"}}}", "cannot read ca_file of r, /gone/ca.pem"),
            ("{\"hosts\":{\"r\":{\"ca_file\":\"registries.json\"}}}", "is not a certificate"),
            ("{\"hosts\":{\"r\":{\"key_file\":\"registries.json\"}}}", "is not a key"),
        ] {
            let error = format!("{:#}", Bench::with(&[("registries.json", registries)]).registries().unwrap_err());
            assert!(error.contains(want) && error.contains("registries.json"), "{registries}: {error}");
        }
        assert!(check(Some(Path::new("/gone.json")), None).is_err_and(|error| format!("{error:#}").contains("/gone.json")));
    }

    #[test]
    fn valid_settings_reach_the_agents_path_byte_for_byte() {
        let policy = "{ \"requireUnprivileged\": true,\n\"network\": \"none\" }";
        let registries = r#"{"mirrors":{"*":{"endpoints":["https://cache.example"]}}}"#;
        let bench = Bench::with(&[("policy.json", policy), ("registries.json", registries)]);
        let checked = check(Some(&bench.at("policy.json")), Some(&bench.at("registries.json"))).unwrap();
        let found: Vec<_> = checked.files.iter().map(|file| (file.path.as_str(), text(file))).collect();
        let want = [("/etc/thimble/policy.json", policy.to_owned()), ("/etc/thimble/registries.json", registries.to_owned())];
        assert_eq!((found.as_slice(), checked.has_secrets), (&want[..], false));
    }

    #[test]
    fn the_files_that_they_name_are_copied() {
        let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let point: Vec<u8> = (0..head.len()).step_by(2).map(|at| u8::from_str_radix(&head[at..at + 2], 16).unwrap()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64(&[&point[..], &[4; 65]].concat()));
        let bench = Bench::with(&[
            ("policy.json", r#"{"signedBy":["cosign.pub"]}"#),
            ("cosign.pub", &pem),
            ("registries.json", r#"{"hosts":{"r:5000":{"ca_file":"ca.pem","key_file":"key.pem","certificate_file":"ca.pem"}}}"#),
            ("ca.pem", CERTIFICATE),
            ("key.pem", KEY),
        ]);
        let policy: Value = serde_json::from_str(&text(&bench.policy().unwrap().files[0])).unwrap();
        assert_eq!(policy["signedBy"][0], pem.as_str());
        let checked = bench.registries().unwrap();
        assert!(checked.has_secrets);
        let registries: Value = serde_json::from_str(&text(&checked.files[0])).unwrap();
        for (field, content) in [("ca_file", CERTIFICATE), ("certificate_file", CERTIFICATE), ("key_file", KEY)] {
            let named = registries["hosts"]["r:5000"][field].as_str().unwrap();
            let file = checked.files.iter().find(|file| file.path == named).unwrap();
            assert_eq!(text(file), content, "{field}");
        }
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = |three: &[u8]| {
            let number = three.iter().chain([0, 0].iter()).take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (0..4)
                .map(|at| if at > three.len() { '=' } else { char::from(DIGITS[number >> (18 - 6 * at) & 63]) })
                .collect::<String>()
        };
        bytes.chunks(3).map(digits).collect()
    }
}
