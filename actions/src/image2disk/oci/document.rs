//! What an index and a manifest say (OCI image specification 1.1; Docker's schema 2). Pure.

use oci::Digest;
use serde_json::Value;

/// The file's name, which `oras push` writes.
const TITLE: &str = "org.opencontainers.image.title";
/// How many characters of a document a message quotes.
const QUOTED_MAX: usize = 100;

/// A file of an artifact, or a layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
    pub title: Option<String>,
}

/// The name that images have for a processor.
pub fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub fn is_index(document: &Value) -> bool {
    document.get("manifests").is_some_and(Value::is_array)
}

/// The manifest for this machine: the one of its architecture, or else the only one that is for any.
///
/// # Errors
/// An index without such a manifest, as a sentence that lists what it has.
pub fn entry(index: &Value, architecture: &str) -> Result<Digest, String> {
    let entries: Vec<&Value> = list(index, "manifests").filter(|entry| !is_attestation(entry)).collect();
    let of = |entry: &Value| entry.pointer("/platform/architecture").and_then(Value::as_str).unwrap_or("any").to_owned();
    let is = |wanted: &str| entries.iter().copied().filter(|entry| of(entry) == wanted).collect::<Vec<_>>();
    let (own, any) = (is(architecture), is("any"));
    match (own.first(), any.as_slice()) {
        (Some(entry), _) => digest(entry),
        (None, [entry]) => digest(entry),
        (None, [_, _, ..]) => {
            Err("it has several manifests without an architecture, and does not say which one to use".to_owned())
        }
        (None, []) => {
            let has: Vec<String> = entries.iter().map(|entry| quoted(&of(entry))).collect();
            Err(format!(
                "it is not for {architecture}; it is for {}",
                if has.is_empty() { "none".to_owned() } else { has.join(", ") }
            ))
        }
    }
}

/// Attestations and signatures lie beside the images of an index.
fn is_attestation(entry: &Value) -> bool {
    entry.pointer("/annotations/vnd.docker.reference.type").is_some()
        || entry.pointer("/platform/architecture").and_then(Value::as_str) == Some("unknown")
}

/// Its files or layers, in order.
///
/// # Errors
/// A document that is not a manifest, or has a layer without a digest.
pub fn layers(manifest: &Value) -> Result<Vec<Layer>, String> {
    if !manifest.get("layers").is_some_and(Value::is_array) {
        return Err("what the registry gives is not a manifest".to_owned());
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let layer = |entry: &Value| {
        Ok(Layer {
            digest: digest(entry)?,
            size: entry.get("size").and_then(Value::as_u64).unwrap_or(0),
            media_type: text(entry.get("mediaType")).unwrap_or_default(),
            title: text(entry.get("annotations").and_then(|annotations| annotations.get(TITLE))),
        })
    };
    list(manifest, "layers").map(layer).collect()
}

/// The one file that is the disk image: the named one, or the only one.
///
/// # Errors
/// No such file, or several, as a sentence that lists them.
pub fn layer(manifest: &Value, file: Option<&str>) -> Result<Layer, String> {
    let all = layers(manifest)?;
    let titles =
        || all.iter().map(|layer| quoted(layer.title.as_deref().unwrap_or("a layer without a name"))).collect::<Vec<_>>();
    let wanted: Vec<&Layer> = all.iter().filter(|layer| file.is_none() || layer.title.as_deref() == file).collect();
    match (wanted.as_slice(), file) {
        ([layer], _) => Ok((*layer).clone()),
        ([], Some(file)) => Err(format!("it has no file {file}; it has {}", titles().join(", "))),
        ([], None) => Err("it has no files".to_owned()),
        (_, _) => Err(format!("it has several files: {}. Name one behind #, as in oci://NAME#disk.img", titles().join(", "))),
    }
}

fn list<'v>(document: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    document.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn digest(entry: &Value) -> Result<Digest, String> {
    let text = entry.get("digest").and_then(Value::as_str).unwrap_or_default();
    text.parse().map_err(|_| format!("{} is not a digest that can be checked", quoted(text)))
}

fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(QUOTED_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hex(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    #[test]
    fn the_manifest_of_this_architecture_is_chosen() {
        let of = |digit: &str, platform: Value| json!({"digest": hex(digit), "size": 7, "platform": platform});
        let (amd64, arm64) = (json!({"os": "linux", "architecture": "amd64"}), json!({"architecture": "arm64"}));
        let attested = json!({"digest": hex("e"), "platform": amd64.clone(), "annotations": {"vnd.docker.reference.type": "x"}});
        for (case, entries, expected) in [
            ("one of two", json!([of("a", arm64.clone()), of("b", amd64.clone())]), Ok(hex("b"))),
            ("an attestation in front", json!([attested, of("b", amd64.clone())]), Ok(hex("b"))),
            ("for any", json!([of("a", Value::Null)]), Ok(hex("a"))),
            ("another one only", json!([of("a", arm64)]), Err("it is not for amd64; it is for \"arm64\"")),
            ("two for any", json!([of("a", json!({})), of("b", json!({}))]), Err("several manifests")),
            ("what is not an entry", json!([null]), Err("is not a digest")),
            ("empty", json!([]), Err("it is not for amd64; it is for none")),
            ("a digest that is none", json!([{"digest": "md5:1", "platform": amd64}]), Err("\"md5:1\" is not a digest")),
        ] {
            let found = entry(&json!({ "manifests": entries }), "amd64");
            match (&found, expected) {
                (Ok(digest), Ok(expected)) => assert_eq!(digest.to_string(), expected, "{case}"),
                (Err(error), Err(words)) => assert!(error.contains(words), "{case}: {error}"),
                _ => panic!("{case}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_disk_image_is_the_only_file_or_the_named_one() {
        let of = |digit: &str, title: &str| json!({"digest": hex(digit), "size": 7, "annotations": {TITLE: title}});
        let two = json!([of("a", "disk.img.zst"), of("b", "readme.md")]);
        for (case, layers, file, expected) in [
            ("the only one", json!([of("a", "disk.img")]), None, Ok(hex("a"))),
            ("a layer without a name", json!([{"digest": hex("c")}]), None, Ok(hex("c"))),
            ("one of two", two.clone(), Some("disk.img.zst"), Ok(hex("a"))),
            ("two", two.clone(), None, Err("it has several files: \"disk.img.zst\", \"readme.md\". Name one behind #")),
            ("another name", two, Some("x"), Err("it has no file x; it has \"disk.img.zst\"")),
            ("none", json!([]), None, Err("it has no files")),
            ("not a list", json!("x"), None, Err("is not a manifest")),
            ("no digest", json!([{}]), None, Err("is not a digest")),
        ] {
            let found = layer(&json!({ "layers": layers }), file);
            match (&found, expected) {
                (Ok(layer), Ok(expected)) => assert_eq!(layer.digest.to_string(), expected, "{case}"),
                (Err(error), Err(words)) => assert!(error.contains(words), "{case}: {error}"),
                _ => panic!("{case}: {found:?}"),
            }
        }
    }
}
