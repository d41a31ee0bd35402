//! The documents of an image: index, manifest and configuration, with the fields that are used here.
//!
//! Reading is tolerant: unknown fields are ignored and most known ones may be missing. `build` writes oci-spec's types.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The media type of an image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The documents that a request for a manifest may be answered with.
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
    #[serde(default)]
    pub schema_version: u32,
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

impl Descriptor {
    /// Whether it cannot be unpacked as a layer.
    fn is_no_layer(&self) -> bool {
        let kind = self.media_type.as_str();
        let files =
            kind.is_empty() || kind.contains(".image.layer.") || kind.starts_with("application/vnd.docker.image.rootfs.diff.");
        !files || kind.contains(".nondistributable.") || kind.ends_with("+encrypted")
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
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
    #[error("it is in Docker's schema 1, which is not supported: push the image again with a tool of this decade")]
    Schema1,
    #[error("neither an index nor a manifest")]
    Neither,
    #[error("layer {digest} is {media_type:?}: only tar layers that the registry itself distributes can be unpacked")]
    NoLayer { digest: Digest, media_type: String },
}

/// Reads an index or a manifest.
///
/// # Errors
/// If it is neither, or if a layer of it cannot be unpacked.
pub fn parse(bytes: &[u8]) -> Result<Kind, BadDocument> {
    let document: Document = serde_json::from_slice(bytes)?;
    match document.config {
        Some(config) => match document.layers.iter().find(|layer| layer.is_no_layer()) {
            Some(bad) => Err(BadDocument::NoLayer { digest: bad.digest.clone(), media_type: bad.media_type.clone() }),
            None => Ok(Kind::Image { config, layers: document.layers }),
        },
        None if !document.manifests.is_empty() => Ok(Kind::Index(document.manifests)),
        None if document.schema_version == 1 => Err(BadDocument::Schema1),
        None => Err(BadDocument::Neither),
    }
}

/// The media type that a document gives itself.
pub fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: String,
    }
    serde_json::from_slice::<Typed>(bytes).ok().map(|typed| typed.media_type)
}

/// The manifest for this processor: the least demanding one that it can run, the first of equals. An index without
/// platforms fits only if it has a single entry.
pub fn for_machine(manifests: &[Descriptor], processor: &Processor) -> Option<Descriptor> {
    let rank = |d: &&Descriptor| d.platform.as_ref().and_then(|p| processor.runs(p)).unwrap_or(u8::MAX);
    let best = manifests.iter().min_by_key(rank).filter(|d| rank(d) < u8::MAX);
    let only = || if let [only] = manifests { Some(only).filter(|d| d.platform.is_none()) } else { None };
    best.or_else(only).cloned()
}

/// What the processor runs, in Go's words, which images use.
#[derive(Debug, Clone, Copy)]
pub struct Processor {
    pub architecture: &'static str,
    /// `v1` to `v4` of amd64, `v8` of arm64.
    pub level: u8,
}

impl Processor {
    pub fn this() -> Self {
        let architecture = architecture();
        Self { architecture, level: if architecture == "arm64" { 8 } else { level() } }
    }

    /// A machine of this one's architecture that has every extension of it.
    pub fn any_of_this_kind() -> Self {
        Self { architecture: architecture(), level: u8::MAX }
    }

    /// The level an image asks for, if it runs here. Without a variant it is the architecture's first.
    fn runs(&self, platform: &Platform) -> Option<u8> {
        let asked = match platform.variant.as_deref() {
            None | Some("") => 0,
            Some(variant) => variant.strip_prefix('v')?.split('.').next()?.parse().ok()?,
        };
        let fits = platform.os == "linux" && platform.architecture == self.architecture && asked <= self.level;
        fits.then_some(asked)
    }
}

/// The level of the x86-64 psABI, by the features that distinguish the levels.
#[cfg(target_arch = "x86_64")]
fn level() -> u8 {
    use std::arch::is_x86_feature_detected as has;
    match () {
        () if !(has!("sse4.2") && has!("ssse3") && has!("popcnt")) => 1,
        () if !(has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma") && has!("lzcnt")) => 2,
        () if !(has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl")) => 3,
        () => 4,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn level() -> u8 {
    0
}

/// The machine's architecture in Go's words, which images use.
fn architecture() -> &'static str {
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
    use super::*;

    fn entry(platform: Option<(&str, &str, Option<&str>)>, digit: &str) -> Descriptor {
        let platform = platform.map(|(os, arch, variant)| Platform {
            os: os.into(),
            architecture: arch.into(),
            variant: variant.map(Into::into),
        });
        let digest = format!("sha256:{}", digit.repeat(64)).parse().unwrap();
        Descriptor { media_type: String::new(), digest, size: 1, platform }
    }

    #[test]
    fn the_manifest_for_the_machine_is_chosen_and_attestations_are_not() {
        let index = [
            entry(Some(("unknown", "unknown", None)), "a"),
            entry(Some(("linux", "arm64", Some("v8"))), "b"),
            entry(Some(("linux", "amd64", Some("v3"))), "c"),
            entry(Some(("linux", "amd64", None)), "d"),
            entry(Some(("windows", "amd64", None)), "e"),
            entry(Some(("linux", "s390x", Some("z13"))), "f"),
        ];
        let (amd64, arm64) = (Processor { architecture: "amd64", level: 3 }, Processor { architecture: "arm64", level: 8 });
        for (case, index, machine, want) in [
            ("the plain one before a variant", &index[..], amd64, Some("d")),
            ("a variant the processor has", &index[..3], amd64, Some("c")),
            ("no variant beyond the processor", &index[..3], Processor { level: 2, ..amd64 }, None),
            ("arm64 is v8", &index[..], arm64, Some("b")),
            ("no other architecture", &index[..], Processor { architecture: "riscv64", level: 0 }, None),
            ("an unknown variant", &index[..], Processor { architecture: "s390x", level: 0 }, None),
            ("an index without platforms", &[entry(None, "9")], amd64, Some("9")),
        ] {
            let chosen = for_machine(index, &machine).map(|d| d.digest.hex()[..1].to_owned());
            assert_eq!(chosen.as_deref(), want, "{case}");
        }
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
        assert!(matches!(parse(br#"{"schemaVersion":1,"fsLayers":[]}"#), Err(BadDocument::Schema1)));
        assert!(matches!(parse(br#"{"schemaVersion":2}"#), Err(BadDocument::Neither)));
        assert!(matches!(parse(b"<html>"), Err(BadDocument::Json(_))));
    }

    #[test]
    fn only_layers_of_files_that_the_registry_has_are_taken() {
        for (media_type, taken) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", true),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", true),
            ("", true),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", false),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", false),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", false),
            ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", false),
        ] {
            let part = |kind: &str| format!(r#"{{"mediaType":"{kind}","size":1,"digest":"sha256:{}"}}"#, "0".repeat(64));
            let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, part("x"), part(media_type));
            let refused = matches!(parse(text.as_bytes()), Err(BadDocument::NoLayer { .. }));
            assert_eq!(!refused, taken, "{media_type}");
        }
    }
}
