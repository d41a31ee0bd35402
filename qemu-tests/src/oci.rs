//! Small OCI images for tests: busybox and a script, pushed with the registry's protocol.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci::build::{self, Blob, ConfigBuilder, ConfigurationBuilder, Layer};
use oci::layout::write::{Folder, NamedDescriptor};
use oci::manifest::MANIFEST;
use sha2::{Digest, Sha256};

use crate::http;

/// The level of gzip: the fastest, because the images do not travel far.
const LEVEL: u32 = 1;
const BUSYBOX: &str = "/bin/busybox";

/// An image: gzip layers, their configuration and their manifest.
pub struct Image {
    layers: Vec<Layer>,
    image: build::Image,
}

impl Image {
    /// Busybox with its applets. `script` runs if the template has no command. `padding` incompressible bytes make the
    /// image larger.
    pub fn busybox(script: &str, padding: usize) -> Result<Self> {
        let mut archive = busybox_tar()?;
        if padding > 0 {
            add_file(&mut archive, "padding", &noise(padding), 0o644)?;
        }
        Self::of(vec![archive.into_inner().context("cannot finish a layer")?], &["/bin/sh", "-c", script])
    }

    /// Busybox and files of this host, at the same paths.
    pub fn busybox_with(files: &[PathBuf]) -> Result<Self> {
        let mut archive = busybox_tar()?;
        for path in files {
            let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            add_file(&mut archive, path.to_string_lossy().trim_start_matches('/'), &data, 0o755)?;
        }
        Self::of(vec![archive.into_inner().context("cannot finish a layer")?], &["/bin/sh"])
    }

    /// A layer for each folder with this many bytes of its files, by name. Images of programs look like this.
    pub fn of_folders(folders: &[(&Path, u64)]) -> Result<Self> {
        let layers = folders.iter().map(|(folder, bytes)| tar_of(folder, *bytes)).collect::<Result<_>>()?;
        Self::of(layers, &["/none"])
    }

    /// A layer with an archive of a whole system, and one with these files of root over it.
    pub fn of_archive(archive: Vec<u8>, files: &[(&str, &str)]) -> Result<Self> {
        let mut over = tar::Builder::new(Vec::new());
        for (path, contents) in files {
            add_file(&mut over, path, contents.as_bytes(), 0o644)?;
        }
        Self::of(vec![archive, over.into_inner().context("cannot finish a layer")?], &["/sbin/init"])
    }

    /// One layer of about this many bytes, which no machine runs.
    pub fn of_noise(bytes: usize) -> Result<Self> {
        let mut archive = tar::Builder::new(Vec::new());
        add_file(&mut archive, "noise", &noise(bytes), 0o644)?;
        Self::of(vec![archive.into_inner().context("cannot finish a layer")?], &["/none"])
    }

    /// Writes it as an image layout with this name.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let layout = Folder::create(folder).context("cannot make an image layout")?;
        for blob in self.layers.iter().map(|layer| &layer.blob).chain([&self.image.config, &self.image.manifest]) {
            layout.put(&blob.bytes).with_context(|| format!("cannot write a blob of {name}"))?;
        }
        let entry = NamedDescriptor::new(name, &self.image.manifest.bytes)?;
        layout.finish(vec![entry]).context("cannot finish an image layout")
    }

    /// One layer that is not an archive but this file.
    pub fn of_file(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::of(vec![bytes], &["/none"])
    }

    fn of(tars: Vec<Vec<u8>>, command: &[&str]) -> Result<Self> {
        let layers: Vec<_> =
            tars.iter().map(|tar| Layer::gzip(tar, LEVEL)).collect::<Result<_, _>>().context("cannot compress a layer")?;
        let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
        let config = ConfigBuilder::default().env(["PATH=/bin".to_owned()]).cmd(command).build()?;
        let configuration = ConfigurationBuilder::default().architecture("amd64").os("linux").config(config);
        let image = build::Image::new(layers.iter(), configuration).context("cannot make an image")?;
        Ok(Self { layers, image })
    }

    /// The compressed size of all layers.
    pub fn size(&self) -> usize {
        self.layers.iter().map(|layer| layer.blob.bytes.len()).sum()
    }

    pub fn layer_digest(&self) -> String {
        self.layers.first().map(|layer| layer.blob.digest.to_string()).unwrap_or_default()
    }

    /// Uploads both blobs and the manifest as `name:tag`. Returns the manifest's digest.
    pub fn push(&self, registry: SocketAddr, name: &str, tag: &str) -> Result<String> {
        for blob in self.layers.iter().map(|layer| &layer.blob).chain([&self.image.config]) {
            push_blob(registry, name, blob).with_context(|| format!("cannot push a blob of {name}:{tag}"))?;
        }
        let (path, manifest) = (format!("/v2/{name}/manifests/{tag}"), &self.image.manifest);
        let answer = http::request(registry, "PUT", &path, &[("Content-Type", MANIFEST)], &manifest.bytes)?;
        if answer.status != 201 {
            bail!("the registry refused the manifest of {name}:{tag}: {} {}", answer.status, answer.text());
        }
        Ok(manifest.digest.to_string())
    }
}

fn busybox_tar() -> Result<tar::Builder<Vec<u8>>> {
    let busybox = fs::read(BUSYBOX).with_context(|| format!("cannot read {BUSYBOX}; is busybox-static installed?"))?;
    let mut archive = tar::Builder::new(Vec::new());
    add_file(&mut archive, "bin/busybox", &busybox, 0o755)?;
    for applet in [
        "sh", "cat", "echo", "sleep", "dd", "sync", "touch", "mkdir", "ps", "kill", "true", "false", "uname", "mount", "tr", "wc",
    ] {
        let mut header = header(0, 0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").context("cannot write a layer")?;
    }
    Ok(archive)
}

/// Regular files of a folder in the order of their names, up to this many bytes.
fn tar_of(folder: &Path, bytes: u64) -> Result<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten().map(|e| e.path()).collect();
    paths.sort();
    let (mut archive, mut left) = (tar::Builder::new(Vec::new()), bytes);
    for path in paths.iter().filter(|path| path.is_file() && !path.is_symlink()) {
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(rest) = left.checked_sub(data.len() as u64) else { continue };
        left = rest;
        add_file(&mut archive, path.to_string_lossy().trim_start_matches('/'), &data, 0o755)?;
    }
    archive.into_inner().context("cannot finish a layer")
}

fn push_blob(registry: SocketAddr, name: &str, blob: &Blob) -> Result<()> {
    let start = http::request(registry, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], &[])?;
    let location = start.header("location").context("the registry gives no location for the upload")?;
    // The registry may answer with a whole URL or with a path.
    let path = location.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(location);
    let join = if path.contains('?') { '&' } else { '?' };
    let target = format!("{path}{join}digest={}", blob.digest);
    let answer = http::request(registry, "PUT", &target, &[("Content-Type", "application/octet-stream")], &blob.bytes)?;
    if answer.status != 201 {
        bail!("the registry answered {} {}", answer.status, answer.text());
    }
    Ok(())
}

fn add_file(archive: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8], mode: u32) -> Result<()> {
    let mut header = header(data.len() as u64, mode);
    archive.append_data(&mut header, path, data).with_context(|| format!("cannot add {path} to a layer"))
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Bytes that gzip cannot compress, the same every time: SHA-256 of a counter.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length.div_ceil(32)).flat_map(|n| Sha256::digest(n.to_le_bytes())).collect();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_repeats_and_does_not_compress() {
        let bytes = noise(100_001);
        assert_eq!(bytes, noise(100_001));
        assert!(Layer::gzip(&bytes, LEVEL).is_ok_and(|packed| packed.blob.bytes.len() > 100_000));
    }
}
