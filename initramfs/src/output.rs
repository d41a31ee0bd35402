//! The finished files. They are collected in memory and written together, with their checksums in `SHA256SUMS`.

use crate::error::BuildError;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub const SUMS_FILE: &str = "SHA256SUMS";

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    pub path: PathBuf,
    pub size: usize,
    pub sha256: String,
}

#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    files: Vec<(String, Vec<u8>, String)>,
}

impl Output {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: Vec::new() }
    }

    pub fn add(&mut self, name: &str, data: Vec<u8>) -> Artifact {
        let sha256 = sha256(&data);
        let artifact = Artifact { path: self.folder.join(name), size: data.len(), sha256: sha256.clone() };
        self.files.push((name.to_owned(), data, sha256));
        artifact
    }

    pub fn add_json(&mut self, name: &str, value: &impl Serialize) -> io::Result<Artifact> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        Ok(self.add(name, text))
    }

    pub fn write(&self) -> Result<(), BuildError> {
        fs::create_dir_all(&self.folder).map_err(|source| BuildError::Write { path: self.folder.clone(), source })?;
        let mut sums = String::new();
        for (name, data, sha256) in &self.files {
            replace(&self.folder.join(name), data)?;
            let _ = writeln!(sums, "{sha256}  {name}"); // writing to a String cannot fail
        }
        replace(&self.folder.join(SUMS_FILE), sums.as_bytes())
    }
}

pub fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// boots may serve the folder meanwhile. It sees the old file or the new one.
fn replace(path: &Path, data: &[u8]) -> Result<(), BuildError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = fs::write(&new, data).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&new); // the write's error is reported
        BuildError::Write { path: path.to_owned(), source }
    })
}
