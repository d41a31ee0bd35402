//! Action images in the ramdisk, for machines that reach no registry. They are one OCI image layout in `/images`, gathered
//! from the layouts that `skopeo copy` and `thimble image action` make.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use machine::files::IMAGES;
use oci::Digest;
use oci::layout::{self, Index};
use oci::manifest::{self, BadDocument, Descriptor, Kind, Processor};

use crate::error::BuildError;
use crate::recipe::ExtraFile;

/// No image is an index in an index in an index in an index.
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
    #[error("{file} of {layout} is not a document of an OCI image layout")]
    Document {
        layout: PathBuf,
        file: String,
        #[source]
        source: BadDocument,
    },
    #[error("{digest} in {layout} does not have the contents that its name says")]
    Digest { layout: PathBuf, digest: Digest },
    #[error("{layout} holds an image without a name; copy it with `skopeo copy docker://NAME oci:DIR:NAME`")]
    Unnamed { layout: PathBuf },
    #[error("{name} in {layout} is not for linux/{architecture}")]
    Platform { layout: PathBuf, name: String, architecture: &'static str },
    #[error("two different images are called {name}; embed one of them")]
    Twice { name: String },
    #[error("{layout} holds no image")]
    Empty { layout: PathBuf },
    #[error("cannot write the index of the embedded images")]
    Index(#[from] oci::build::BuildError),
}

/// An image that is taken, and the text of its manifest.
type Taken = (String, Vec<u8>);

/// The files of all layouts together. A layout is a folder or a tar archive.
pub fn files(layouts: &[PathBuf]) -> Result<Vec<ExtraFile>, BuildError> {
    let (mut taken, mut blobs) = (Vec::new(), BTreeMap::new());
    for path in layouts {
        let layout = Layout::open(path)?;
        let index: Index = layout.parse(layout::INDEX, &layout.read(layout::INDEX)?)?;
        if index.manifests.is_empty() {
            return Err(EmbedError::Empty { layout: path.clone() }.into());
        }
        for entry in &index.manifests {
            taken.push(layout.image(entry, &mut blobs)?);
        }
    }
    if layouts.is_empty() {
        return Ok(Vec::new());
    }
    let entries = in_order(taken)?.into_iter().map(|(name, manifest)| layout::write::NamedDescriptor::new(&name, &manifest));
    let index = entries.collect::<Result<_, _>>().and_then(layout::write::index).map_err(EmbedError::Index)?;
    let mut files = vec![
        ExtraFile::text(format!("{IMAGES}/{}", layout::MARKER.0), layout::MARKER.1.to_owned()),
        ExtraFile::text(format!("{IMAGES}/{}", layout::INDEX), index),
    ];
    let blob = |(digest, data)| ExtraFile { path: format!("{IMAGES}/{}", layout::blob_path(&digest)), data, is_program: false };
    files.extend(blobs.into_iter().map(blob));
    Ok(files)
}

/// Sorted by name, so the order of the layouts does not matter. Two images of one name are refused for this reason.
fn in_order(mut taken: Vec<Taken>) -> Result<Vec<Taken>, EmbedError> {
    taken.sort();
    taken.dedup();
    match taken.array_windows().find(|[one, other]| one.0 == other.0) {
        Some([(name, _), _]) => Err(EmbedError::Twice { name: name.clone() }),
        None => Ok(taken),
    }
}

/// An image layout's files by name.
struct Layout {
    path: PathBuf,
    /// `None` if the path is the folder.
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
        serde_json::from_slice(text).map_err(|source| self.bad(file, source.into()))
    }

    fn bad(&self, file: &str, source: BadDocument) -> EmbedError {
        EmbedError::Document { layout: self.path.clone(), file: file.to_owned(), source }
    }

    fn blob(&self, digest: &Digest) -> Result<Vec<u8>, EmbedError> {
        let data = self.read(&layout::blob_path(digest))?;
        if digest.like(&data) != *digest {
            return Err(EmbedError::Digest { layout: self.path.clone(), digest: digest.clone() });
        }
        Ok(data)
    }

    /// Takes the image's blobs.
    fn image(&self, entry: &layout::IndexEntry, blobs: &mut BTreeMap<Digest, Vec<u8>>) -> Result<Taken, EmbedError> {
        let name = entry.names().next().ok_or_else(|| EmbedError::Unnamed { layout: self.path.clone() })?;
        let (parts, text) = self.of_platform(&entry.digest, name, DEPTH)?;
        for part in &parts {
            if !blobs.contains_key(&part.digest) {
                blobs.insert(part.digest.clone(), self.blob(&part.digest)?);
            }
        }
        blobs.insert(Digest::of(&text), text.clone());
        Ok((name.to_owned(), text))
    }

    /// Parts and text of the manifest for this processor, which is also the ramdisk's.
    fn of_platform(&self, digest: &Digest, name: &str, depth: u8) -> Result<(Vec<Descriptor>, Vec<u8>), EmbedError> {
        let text = self.blob(digest)?;
        let entries = match manifest::parse(&text).map_err(|error| self.bad(&digest.to_string(), error))? {
            Kind::Image { config, layers } => return Ok(([config].into_iter().chain(layers).collect(), text)),
            Kind::Index(entries) => entries,
        };
        let processor = Processor::any_of_this_kind();
        match manifest::for_machine(&entries, &processor) {
            Some(found) if depth > 0 => self.of_platform(&found.digest, name, depth - 1),
            _ => Err(EmbedError::Platform {
                layout: self.path.clone(),
                name: name.to_owned(),
                architecture: processor.architecture,
            }),
        }
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
