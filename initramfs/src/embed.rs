//! Action images in the ramdisk, for machines that reach no registry: one OCI image layout in `/images`, gathered from
//! the layouts that `skopeo copy` and `thimble image action` make.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use machine::files::IMAGES;

use crate::error::BuildError;
use crate::output::sha256;
use crate::recipe::ExtraFile;

const INDEX: &str = "index.json";
const LAYOUT: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const INDEXES: [&str; 2] = [INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"];
const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// What Docker and containerd write beside it; there the first may be a tag alone.
const FULL: &str = "io.containerd.image.name";
const OS: &str = "linux";
/// An index in an index in an index is nobody's image.
const DEPTH: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("cannot read {file} of the image layout {layout}")]
    Read {
        layout: PathBuf,
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{file} of {layout} is no document of an OCI image layout")]
    Document {
        layout: PathBuf,
        file: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{digest} in {layout} has other contents than its name says")]
    Digest { layout: PathBuf, digest: String },
    #[error("{digest} in {layout} is not a digest with sha256")]
    Algorithm { layout: PathBuf, digest: String },
    #[error("{layout} holds an image without a name; copy it with `skopeo copy docker://NAME oci:DIR:NAME`")]
    Unnamed { layout: PathBuf },
    #[error("{name} in {layout} is not for {OS}/{architecture}")]
    Platform { layout: PathBuf, name: String, architecture: &'static str },
    #[error("two different images are called {name}; embed one of them")]
    Twice { name: String },
    #[error("{layout} holds no image")]
    Empty { layout: PathBuf },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The files of all layouts, folders or tar archives, as one.
pub fn files(layouts: &[PathBuf]) -> Result<Vec<ExtraFile>, BuildError> {
    let (mut manifests, mut blobs) = (Vec::new(), BTreeMap::new());
    for path in layouts {
        let layout = Layout::open(path)?;
        let index: Index = layout.document(INDEX)?;
        if index.manifests.is_empty() {
            return Err(EmbedError::Empty { layout: path.clone() }.into());
        }
        for descriptor in index.manifests {
            manifests.push(layout.image(&descriptor, &mut blobs)?);
        }
    }
    if layouts.is_empty() {
        return Ok(Vec::new());
    }
    let manifests = in_order(manifests)?;
    let index = Index { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests };
    let text = serde_json::to_string(&index).map_err(|error| BuildError::Compress(error.into()))?;
    let mut files = vec![
        ExtraFile::text(format!("{IMAGES}/{}", LAYOUT.0), LAYOUT.1.to_owned()),
        ExtraFile::text(format!("{IMAGES}/{INDEX}"), text),
    ];
    let blob = |(hex, data)| ExtraFile { path: format!("{IMAGES}/blobs/sha256/{hex}"), data, is_program: false };
    files.extend(blobs.into_iter().map(blob));
    Ok(files)
}

/// By name, so that the order of the layouts does not matter; one name for two images would make it matter.
fn in_order(mut manifests: Vec<Descriptor>) -> Result<Vec<Descriptor>, EmbedError> {
    let name = |descriptor: &Descriptor| descriptor.annotations.get(REFERENCE).cloned().unwrap_or_default();
    manifests.sort_by_key(|descriptor| (name(descriptor), descriptor.digest.clone()));
    manifests.dedup_by(|second, first| name(second) == name(first) && second.digest == first.digest);
    match manifests
        .windows(2)
        .find_map(|pair| pair.first().map(name).filter(|first| pair.last().map(name).as_ref() == Some(first)))
    {
        Some(name) => Err(EmbedError::Twice { name }),
        None => Ok(manifests),
    }
}

/// An image layout's files by name.
struct Layout {
    path: PathBuf,
    /// `None`: the path is the folder.
    archive: Option<BTreeMap<String, Vec<u8>>>,
}

impl Layout {
    fn open(path: &Path) -> Result<Self, EmbedError> {
        let archive = if path.is_dir() { None } else { Some(unpack(path).map_err(|source| failed(path, "", source))?) };
        Ok(Self { path: path.to_owned(), archive })
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, EmbedError> {
        let data = match &self.archive {
            Some(files) => files.get(file).cloned().ok_or(std::io::ErrorKind::NotFound.into()),
            None => fs::read(self.path.join(file)),
        };
        data.map_err(|source| failed(&self.path, file, source))
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, file: &str, text: &[u8]) -> Result<T, EmbedError> {
        serde_json::from_slice(text).map_err(|source| EmbedError::Document {
            layout: self.path.clone(),
            file: file.to_owned(),
            source,
        })
    }

    fn document<T: for<'de> Deserialize<'de>>(&self, file: &str) -> Result<T, EmbedError> {
        self.parse(file, &self.read(file)?)
    }

    fn hex<'a>(&self, digest: &'a str) -> Result<&'a str, EmbedError> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|c| c.is_ascii_hexdigit()));
        hex.ok_or_else(|| EmbedError::Algorithm { layout: self.path.clone(), digest: digest.to_owned() })
    }

    fn blob(&self, digest: &str) -> Result<Vec<u8>, EmbedError> {
        let hex = self.hex(digest)?;
        let data = self.read(&format!("blobs/sha256/{hex}"))?;
        if sha256(&data) != hex {
            return Err(EmbedError::Digest { layout: self.path.clone(), digest: digest.to_owned() });
        }
        Ok(data)
    }

    /// Takes the image's blobs; returns its place in the index.
    fn image(&self, named: &Descriptor, blobs: &mut BTreeMap<String, Vec<u8>>) -> Result<Descriptor, EmbedError> {
        let name = [FULL, REFERENCE].iter().find_map(|key| named.annotations.get(*key));
        let name = name.ok_or_else(|| EmbedError::Unnamed { layout: self.path.clone() })?;
        let manifest = self.of_platform(named.clone(), name, DEPTH)?;
        let text = self.blob(&manifest.digest)?;
        let parts: Manifest = self.parse(&manifest.digest, &text)?;
        blobs.insert(self.hex(&manifest.digest)?.to_owned(), text);
        for part in [parts.config].iter().chain(&parts.layers) {
            let hex = self.hex(&part.digest)?;
            if !blobs.contains_key(hex) {
                blobs.insert(hex.to_owned(), self.blob(&part.digest)?);
            }
        }
        let annotations = BTreeMap::from([(REFERENCE.to_owned(), name.clone())]);
        Ok(Descriptor { annotations, platform: None, ..manifest })
    }

    fn of_platform(&self, descriptor: Descriptor, name: &str, depth: u8) -> Result<Descriptor, EmbedError> {
        if !INDEXES.contains(&descriptor.media_type.as_str()) {
            return Ok(descriptor);
        }
        let architecture = architecture();
        let index: Index = self.parse(&descriptor.digest, &self.blob(&descriptor.digest)?)?;
        let fits = |candidate: &Descriptor| {
            candidate.platform.as_ref().is_some_and(|platform| platform.os == OS && platform.architecture == architecture)
        };
        match index.manifests.into_iter().find(fits) {
            Some(found) if depth > 0 => self.of_platform(found, name, depth - 1),
            _ => Err(EmbedError::Platform { layout: self.path.clone(), name: name.to_owned(), architecture }),
        }
    }
}

/// As OCI calls this machine's; the ramdisk is for machines of the same kind.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn unpack(path: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(fs::File::open(path)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        files.insert(name, data);
    }
    Ok(files)
}

fn failed(layout: &Path, file: &str, source: std::io::Error) -> EmbedError {
    EmbedError::Read { layout: layout.to_owned(), file: file.to_owned(), source }
}

#[cfg(test)]
#[path = "embed_tests.rs"]
pub mod tests;
