//! The documents of an image: index, manifest and configuration, with the fields we use.

use serde::{Deserialize, Serialize};

use super::digest::Digest;

pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What a registry may answer to a request for a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    pub config: Option<Descriptor>,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
}

#[derive(Debug)]
pub enum Kind {
    Index(Vec<Descriptor>),
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    #[error("not JSON of the expected form")]
    Json(#[from] serde_json::Error),
    #[error("neither an index nor a manifest (schema 1 is not supported)")]
    Neither,
}

pub fn parse(bytes: &[u8]) -> Result<Kind, BadDocument> {
    let document: Document = serde_json::from_slice(bytes)?;
    match document.config {
        Some(config) => Ok(Kind::Image { config, layers: document.layers }),
        None if !document.manifests.is_empty() => Ok(Kind::Index(document.manifests)),
        None => Err(BadDocument::Neither),
    }
}

/// The manifest for this machine. An index without platforms has one entry that fits or none we could choose.
pub fn for_machine(manifests: &[Descriptor], architecture: &str) -> Option<Descriptor> {
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == architecture);
    let only = || if let [only] = manifests { Some(only).filter(|d| d.platform.is_none()) } else { None };
    manifests.iter().find(fits).or_else(only).cloned()
}

/// The machine's architecture in Go's words, which images use.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image's configuration: what the bundle needs of it. Kept beside the unpacked image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    pub config: Process,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Process {
    #[serde(deserialize_with = "null_is_empty")]
    pub user: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub stop_signal: String,
}

/// Builders write `null` for what is not set.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn entry(platform: Option<(&str, &str)>, digit: &str) -> Descriptor {
        let platform = platform.map(|(os, arch)| Platform { os: os.into(), architecture: arch.into() });
        let digest = format!("sha256:{}", digit.repeat(64)).parse().unwrap();
        Descriptor { media_type: String::new(), digest, size: 1, platform }
    }

    #[test]
    fn the_manifest_for_the_machine_is_chosen_and_attestations_are_not() {
        let index = [
            entry(Some(("unknown", "unknown")), "a"),
            entry(Some(("linux", "arm64")), "b"),
            entry(Some(("linux", "amd64")), "c"),
        ];
        assert_eq!(for_machine(&index, "amd64").unwrap().digest, index[2].digest);
        assert!(for_machine(&index, "riscv64").is_none());
        assert!(for_machine(&[entry(None, "d")], "amd64").is_some());
    }

    #[test]
    fn null_in_a_configuration_means_empty() {
        let text = r#"{"config":{"User":"","Entrypoint":null,"Cmd":["sh"],"Env":null,"WorkingDir":null}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.cmd, ["sh"]);
        assert!(config.config.entrypoint.is_empty());
    }

    #[test]
    fn a_document_of_another_kind_is_refused() {
        assert!(matches!(parse(br#"{"schemaVersion":1,"fsLayers":[]}"#), Err(BadDocument::Neither)));
        assert!(matches!(parse(b"<html>"), Err(BadDocument::Json(_))));
    }
}
