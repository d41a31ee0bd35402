//! The documents of an image: index, manifest and configuration, with the fields that are used here.
//!
//! Reading is tolerant: unknown fields are ignored and most known ones may be missing. `build` writes oci-spec's types.

mod processor;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
#[cfg(feature = "client")]
pub(crate) use processor::normal;
pub use processor::{Platform, Processor, for_machine};

/// The media type of an image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The types of documents that are accepted for a manifest request.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The most layers. Runtimes cannot mount that many, and each one costs a request.
pub const LAYERS_MAX: usize = 512;
/// The most entries in an image's environment and in its command, and their most bytes together.
const WORDS_MAX: usize = 4096;
const WORDS_BYTES_MAX: usize = 1 << 20;
/// How many characters of a document a message quotes.
const QUOTED_MAX: usize = 100;

/// A registry's answer to a request for a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default, deserialize_with = "null_is_empty")]
    manifests: Vec<Option<IndexEntry>>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_empty")]
    layers: Vec<Descriptor>,
    #[serde(default)]
    schema_version: u32,
}

/// A part of an image. Content that is embedded in it is ignored, because the registry has it, too.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub media_type: String,
    pub digest: Digest,
    #[serde(default)]
    pub size: u64,
    pub platform: Option<Platform>,
    /// Other URLs of a layer that its registry may not distribute.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub urls: Vec<String>,
}

impl Descriptor {
    /// A descriptor without a media type and a platform.
    pub fn of(digest: &Digest, size: u64) -> Self {
        Self { media_type: String::new(), digest: digest.clone(), size, platform: None, urls: Vec::new() }
    }

    /// Whether it cannot be unpacked as a layer.
    fn is_not_a_layer(&self) -> bool {
        let kind = self.media_type.as_str();
        let files = kind.is_empty() || kind.contains(".image.layer.") || kind.starts_with("application/vnd.docker.image.rootfs.");
        !files || kind.ends_with("+encrypted")
    }
}

/// One of an index. Entries for other machines and purposes may hold what an image's may not.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    #[serde(default, deserialize_with = "null_is_empty")]
    media_type: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    digest: String,
    /// Go's tools write -1 for what they do not know.
    #[serde(default)]
    size: i64,
    platform: Option<Platform>,
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: Purpose,
}

#[derive(Debug, Default, Deserialize)]
struct Purpose {
    #[serde(rename = "vnd.docker.reference.type")]
    reference: Option<String>,
}

/// What an image's configuration is called, which is the type of an artifact that says no other.
const CONFIGURATIONS: [&str; 2] = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

impl IndexEntry {
    /// The descriptor if it can be an image, instead of an attestation or a signature of one.
    fn image(self) -> Option<Descriptor> {
        let of_image = |kind: String| kind.is_empty() || CONFIGURATIONS.contains(&kind.as_str());
        let is_image = self.artifact_type.is_none_or(of_image) && self.annotations.reference.is_none();
        let digest = self.digest.parse().ok().filter(|_| is_image)?;
        let platform = self.platform.filter(|platform| !platform.is_empty());
        let size = u64::try_from(self.size).unwrap_or(0);
        Some(Descriptor { media_type: self.media_type, platform, ..Descriptor::of(&digest, size) })
    }
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
    #[error("it is in Docker's schema 1, which is not supported: push the image again with a current tool")]
    Schema1,
    #[error("neither an index nor a manifest")]
    Neither,
    #[error("an index and a manifest at once, so that tools disagree on what it is: push the image again")]
    Both,
    #[error("layer {digest} is {media_type:?}: only tar layers that are not encrypted can be unpacked")]
    NoLayer { digest: Digest, media_type: String },
    #[error("it has {0} layers, and the most is {LAYERS_MAX}: build it with fewer steps, or squash it")]
    Layers(usize),
    #[error("its {what} has {count} entries, and the most is {WORDS_MAX}")]
    Words { what: &'static str, count: usize },
    #[error("its environment and command have {0} bytes, and the most is {WORDS_BYTES_MAX}")]
    Bytes(usize),
}

/// Reads an index or a manifest.
///
/// # Errors
/// If it is neither, or if one of its layers cannot be unpacked.
pub fn parse(bytes: &[u8]) -> Result<Kind, BadDocument> {
    let document: Document = serde_json::from_slice(bytes)?;
    match document.config {
        Some(_) if !document.manifests.is_empty() => Err(BadDocument::Both),
        Some(_) if document.layers.len() > LAYERS_MAX => Err(BadDocument::Layers(document.layers.len())),
        Some(config) => match document.layers.iter().find(|layer| layer.is_not_a_layer()) {
            Some(bad) => {
                let media_type = bad.media_type.chars().take(QUOTED_MAX).collect();
                Err(BadDocument::NoLayer { digest: bad.digest.clone(), media_type })
            }
            None => Ok(Kind::Image { config, layers: document.layers }),
        },
        None if !document.manifests.is_empty() => {
            Ok(Kind::Index(document.manifests.into_iter().flatten().filter_map(IndexEntry::image).collect()))
        }
        None if document.schema_version == 1 => Err(BadDocument::Schema1),
        None => Err(BadDocument::Neither),
    }
}

/// The media type in the document itself.
pub fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: String,
    }
    serde_json::from_slice::<Typed>(bytes).ok().map(|typed| typed.media_type)
}

/// An image's configuration: what the bundle needs of it. Kept beside the unpacked image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub config: Process,
}

impl ImageConfig {
    /// Reads a configuration. Its lists come from the image, and every start of an action reads them, so they have limits.
    ///
    /// # Errors
    /// If it is not a configuration, or has more words than any program gets.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadDocument> {
        let image: Self = serde_json::from_slice(bytes)?;
        let Process { user, env, entrypoint, cmd, working_dir, .. } = &image.config;
        let lists = [("environment", env), ("entry point", entrypoint), ("command", cmd)];
        for (what, list) in lists {
            if list.len() > WORDS_MAX {
                return Err(BadDocument::Words { what, count: list.len() });
            }
        }
        let words = lists.into_iter().flat_map(|(_, list)| list).chain([user, working_dir]);
        let bytes = words.map(String::len).fold(0, usize::saturating_add);
        if bytes > WORDS_BYTES_MAX { Err(BadDocument::Bytes(bytes)) } else { Ok(image) }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Process {
    #[serde(deserialize_with = "text")]
    pub user: String,
    #[serde(deserialize_with = "texts")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "texts")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "texts")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "text")]
    pub working_dir: String,
    #[serde(deserialize_with = "text")]
    pub stop_signal: String,
}

/// As Go reads it: what is not UTF-8, or half of a surrogate pair, becomes U+FFFD. Python's tools write such texts.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0).unwrap_or_default())
}

fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Option::<Vec<Option<Text>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(texts.into_iter().map(|text| text.map(|text| text.0).unwrap_or_default()).collect())
}

/// Builders write `null` for what is not set.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_in_a_configuration_means_empty() {
        let text = r#"{"config":{"User":"","Entrypoint":null,"Cmd":["sh"],"Env":null,"WorkingDir":null}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.cmd, ["sh"]);
        assert!(config.config.entrypoint.is_empty());
        for empty in ["{}", r#"{"config":null}"#, r#"{"config":{},"rootfs":null,"history":null,"future":[{}]}"#] {
            assert_eq!(ImageConfig::parse(empty.as_bytes()).unwrap(), ImageConfig::default(), "{empty}");
        }
    }

    #[test]
    fn a_configuration_has_limits_and_the_error_names_the_exceeded_one() {
        let many = |key: &str, count: usize| format!(r#"{{"config":{{"{key}":[{}]}}}}"#, vec![r#""A=b""#; count].join(","));
        let long = format!(r#"{{"config":{{"Cmd":["{}"]}}}}"#, "x".repeat(2 << 20));
        for (text, want) in [
            (many("Env", 250_000), "its environment has 250000 entries, and the most is 4096"),
            (many("Cmd", 5_000), "its command has 5000 entries, and the most is 4096"),
            (many("Entrypoint", 5_000), "its entry point has 5000 entries, and the most is 4096"),
            (long, "its environment and command have 2097152 bytes, and the most is 1048576"),
            (format!(r#"{{"config":{}"#, "[".repeat(100_000)), "not JSON of the expected form"),
        ] {
            assert_eq!(ImageConfig::parse(text.as_bytes()).unwrap_err().to_string(), want);
        }
        assert!(ImageConfig::parse(many("Env", 4096).as_bytes()).is_ok());
    }

    #[test]
    fn an_image_of_thousands_of_layers_is_refused_with_their_number() {
        let layer = format!(r#"{{"size":1,"digest":"sha256:{}"}}"#, "0".repeat(64));
        let text = |count| format!(r#"{{"config":{layer},"layers":[{}]}}"#, vec![layer.as_str(); count].join(","));
        let error = parse(text(20_000).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("it has 20000 layers, and the most is 512"), "{error}");
        assert!(parse(text(LAYERS_MAX).as_bytes()).is_ok());
    }

    #[test]
    fn other_entries_of_an_index_do_not_matter() {
        let hex = "a".repeat(64);
        let ours = format!(r#"{{"digest":"sha256:{hex}","size":7,"platform":{{"os":"linux","architecture":"amd64"}}}}"#);
        for other in [
            r#"{"platform":{}}"#,
            r#"{"digest":"blake3:00","platform":{"os":"linux","architecture":"amd64"}}"#,
            r#"{"digest":null,"platform":null,"urls":null,"annotations":null}"#,
            "null",
            "{}",
            r#"{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":-1,"platform":{"os":"linux","architecture":"riscv64"}}"#,
            r#"{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","platform":{"architecture":"unknown","os":"unknown"},"future":{"a":[1]}}"#,
            r#"{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","artifactType":"application/x","annotations":{}}"#,
            r#"{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","annotations":{"vnd.docker.reference.type":"attestation-manifest"}}"#,
            r#"{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","platform":{"os":"windows","architecture":"amd64","os.version":"10","os.features":["a"]}}"#,
        ] {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{other},{ours}]}}"#);
            let Ok(Kind::Index(entries)) = parse(text.as_bytes()) else { panic!("{text}") };
            let chosen = for_machine(&entries, &Processor { architecture: "amd64", level: 1 }).unwrap();
            assert_eq!(chosen.digest.hex(), hex, "{other}");
        }
        // What the referrers API of a registry says of an image.
        for kind in CONFIGURATIONS {
            let typed = ours.replace(r#""size":7"#, &format!(r#""size":-1,"artifactType":"{kind}""#));
            let text = format!(r#"{{"manifests":[{typed}]}}"#);
            assert!(matches!(parse(text.as_bytes()), Ok(Kind::Index(entries)) if entries.len() == 1), "{text}");
        }
        let text = format!(r#"{{"schemaVersion":2,"config":{ours},"layers":null,"manifests":null}}"#);
        assert!(matches!(parse(text.as_bytes()), Ok(Kind::Image { layers, .. }) if layers.is_empty()), "no layers at all");
    }

    #[test]
    fn a_document_of_another_kind_is_refused() {
        assert!(matches!(parse(br#"{"schemaVersion":1,"fsLayers":[]}"#), Err(BadDocument::Schema1)));
        assert!(matches!(parse(br#"{"schemaVersion":2}"#), Err(BadDocument::Neither)));
        assert!(matches!(parse(b"<html>"), Err(BadDocument::Json(_))));
        // CVE-2021-41190: one digest, and two images, as one reads it.
        let part = format!(r#"{{"size":1,"digest":"sha256:{}"}}"#, "0".repeat(64));
        let both = format!(r#"{{"mediaType":"{MANIFEST}","config":{part},"layers":[],"manifests":[{part}]}}"#);
        assert!(matches!(parse(both.as_bytes()), Err(BadDocument::Both)));
    }

    #[test]
    fn texts_of_a_configuration_are_read_as_go_reads_them() {
        let config = |json: &[u8]| ImageConfig::parse(json).unwrap().config;
        assert_eq!(config(b"{\"config\":{\"Env\":[\"A=caf\xe9\",null,\"B=\\u00e9\"]}}").env, ["A=caf\u{fffd}", "", "B=\u{e9}"]);
        let half = config(br#"{"config":{"Cmd":["\ud800x"],"User":"\ud83d\ude00"}}"#);
        assert!(half.cmd[0].ends_with('x') && half.cmd[0].starts_with('\u{fffd}'), "{half:?}");
        assert_eq!(half.user, "\u{1f600}");
        assert!(ImageConfig::parse(br#"{"config":{"Env":["A=b",7]}}"#).is_err());
        let kept = serde_json::to_vec(&ImageConfig { config: half.clone() }).unwrap();
        assert_eq!(ImageConfig::parse(&kept).unwrap().config, half, "beside the unpacked image");
    }

    #[test]
    fn only_unencrypted_layers_of_files_are_accepted() {
        for (media_type, taken) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", true),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", true),
            ("", true),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", true),
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
