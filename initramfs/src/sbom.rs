//! What the files are made of, as CycloneDX JSON: the kernel, the crates of Thimble's lock file, the certificates.

use crate::output::Artifact;
use serde_json::{Value, json};
use std::path::Path;

pub const SBOM_FILE: &str = "sbom.cdx.json";
/// The crates and versions from which this program and the `/init` of the same release are built.
const LOCK: &str = include_str!("../../Cargo.lock");

pub struct Contents<'a> {
    pub kernel_version: &'a str,
    /// The package or folder from which the kernel came.
    pub kernel_source: &'a Path,
    pub kernel_sha256: &'a str,
    pub ramdisk_sha256: &'a str,
    pub ca_sha256: Option<String>,
    /// Policy and registries, with what these name.
    pub settings: &'a [Artifact],
    pub modules: usize,
}

/// No serial number and no time: the same build gives the same bytes.
pub fn document(contents: &Contents<'_>) -> Value {
    let hash = |sha256: &str| json!([{"alg": "SHA-256", "content": sha256}]);
    let package = contents.kernel_source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut components = vec![json!({
        "type": "operating-system",
        "name": "linux",
        "version": contents.kernel_version,
        "hashes": hash(contents.kernel_sha256),
        "properties": [
            {"name": "thimble:source", "value": package},
            {"name": "thimble:modules", "value": contents.modules.to_string()},
        ],
    })];
    if let Some(sha256) = &contents.ca_sha256 {
        components.push(json!({"type": "data", "name": "ca-certificates", "hashes": hash(sha256)}));
    }
    components
        .extend(contents.settings.iter().map(|file| json!({"type": "data", "name": file.path, "hashes": hash(&file.sha256)})));
    components.extend(crates(LOCK).map(|(name, version)| {
        json!({"type": "library", "name": name, "version": version, "purl": format!("pkg:cargo/{name}@{version}")})
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "firmware",
            "name": "thimble",
            "version": env!("CARGO_PKG_VERSION"),
            "hashes": hash(contents.ramdisk_sha256),
        }},
        "components": components,
    })
}

/// Name and version of each `[[package]]`.
fn crates(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]").skip(1).filter_map(|package| {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        Some((value("name")?, value("version")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_lock_file_and_the_kernel_are_components() {
        let contents = Contents {
            kernel_version: "6.1.0-1",
            kernel_source: Path::new("a/linux-image-6.1.0-1_6.1.2-1_amd64.deb"),
            kernel_sha256: "aa",
            ramdisk_sha256: "bb",
            ca_sha256: Some("cc".into()),
            settings: &[],
            modules: 3,
        };
        let document = document(&contents);
        let components = document["components"].as_array().unwrap();
        assert_eq!(components.len(), 2 + LOCK.matches("[[package]]").count());
        assert_eq!(components[0]["properties"][0]["value"], "linux-image-6.1.0-1_6.1.2-1_amd64.deb");
        assert!(components.iter().any(|component| component["name"] == "libcontainer"));
    }
}
