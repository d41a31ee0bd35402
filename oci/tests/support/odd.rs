//! Images that are odd in one way each, and correct.

use std::path::Path;

use serde_json::{Value, json};

use super::registry::{GZIP, Registry, TAR, ZSTD, digest, gzip, zstd};

pub struct Case {
    pub name: &'static str,
    layers: fn() -> Vec<Layer>,
    config: &'static str,
    /// A change to the finished manifest, or an index around it, for the registry alone: umoci takes the plain one.
    around: fn(&mut Value),
    /// umoci 0.4.7 refuses it; containerd or skopeo takes it.
    pub beyond_umoci: bool,
    /// Paths that the image has no time for.
    pub times_of_now: &'static [&'static str],
}

pub struct Layer {
    media: &'static str,
    bytes: Vec<u8>,
}

const PLAIN: Case = Case { name: "", layers: Vec::new, config: "{}", around: |_| {}, beyond_umoci: false, times_of_now: &[""] };

/// One header and its content.
#[derive(Clone)]
pub struct E {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    mode: u32,
    ids: (u64, u64),
    mtime: i64,
    text: Vec<u8>,
    device: (u32, u32),
    format: Format,
    pax: Vec<(&'static str, Vec<u8>)>,
    size: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    V7,
    Ustar,
    Gnu,
}

fn entry(name: &str, kind: u8) -> E {
    E {
        name: name.into(),
        kind,
        link: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        ids: (0, 0),
        mtime: 1_000_000,
        text: Vec::new(),
        device: (0, 0),
        format: Format::Ustar,
        pax: Vec::new(),
        size: None,
    }
}

fn file(name: &str, text: &str) -> E {
    E { text: text.into(), ..entry(name, b'0') }
}
fn dir(name: &str) -> E {
    entry(name, b'5')
}
fn link(name: &str, target: &str) -> E {
    E { link: target.into(), mode: 0o777, ..entry(name, b'2') }
}
fn hard(name: &str, target: &str) -> E {
    E { link: target.into(), ..entry(name, b'1') }
}

impl E {
    fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
    fn ids(self, uid: u64, gid: u64) -> Self {
        Self { ids: (uid, gid), ..self }
    }
    fn at(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }
    fn v7(self) -> Self {
        Self { format: Format::V7, kind: if matches!(self.kind, b'0' | b'5') { 0 } else { self.kind }, ..self }
    }
    fn gnu(self) -> Self {
        Self { format: Format::Gnu, ..self }
    }
    fn device(self, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..self }
    }
    fn pax(mut self, key: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key, value.as_ref().to_vec()));
        self
    }
    fn size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if !self.pax.is_empty() {
            let mut text = Vec::new();
            for (key, value) in &self.pax {
                let body = key.len() + value.len() + 3;
                let length = (1..).find(|length: &usize| body + length.to_string().len() == *length).unwrap();
                text.extend(format!("{length} {key}=").as_bytes());
                text.extend(value);
                text.push(b'\n');
            }
            all.extend(E { text, ..entry("PaxHeaders/x", b'x') }.bytes());
        }
        if self.format == Format::Gnu && self.name.len() > 100 {
            all.extend(E { text: [&self.name[..], b"\0"].concat(), format: Format::Gnu, ..entry("././@LongLink", b'L') }.bytes());
        }
        if self.format == Format::Gnu && self.link.len() > 100 {
            all.extend(E { text: [&self.link[..], b"\0"].concat(), format: Format::Gnu, ..entry("././@LongLink", b'K') }.bytes());
        }
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &[u8], most: usize| {
            let text = &text[..text.len().min(most)];
            header[at..at + text.len()].copy_from_slice(text);
        };
        let (prefix, name) = if self.format == Format::Ustar && self.name.len() > 100 {
            let cut = self.name.iter().take(156).rposition(|byte| *byte == b'/').unwrap();
            (&self.name[..cut], &self.name[cut + 1..])
        } else {
            (&[][..], &self.name[..])
        };
        put(0, name, 100);
        put(100, &octal(self.mode.into(), 8), 8);
        put(108, &number(self.ids.0.cast_signed(), 8), 8);
        put(116, &number(self.ids.1.cast_signed(), 8), 8);
        put(124, &number(self.size.unwrap_or(self.text.len() as u64).cast_signed(), 12), 12);
        put(136, &number(self.mtime, 12), 12);
        put(156, &[self.kind], 1);
        put(157, &self.link, 100);
        match self.format {
            Format::V7 => {}
            Format::Ustar => put(257, b"ustar\x0000", 8),
            Format::Gnu => put(257, b"ustar  \0", 8),
        }
        if self.format != Format::V7 {
            put(329, &octal(self.device.0.into(), 8), 8);
            put(337, &octal(self.device.1.into(), 8), 8);
        }
        put(345, prefix, 155);
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        all.extend(header);
        all.extend(&self.text);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }
}

fn octal(value: u64, width: usize) -> Vec<u8> {
    format!("{value:0width$o}\0", width = width - 1).into_bytes()
}

/// In octal if it fits, in GNU's binary form otherwise.
fn number(value: i64, width: usize) -> Vec<u8> {
    if value >= 0 && (value as u64) < 1 << (3 * (width - 1)) {
        return octal(value as u64, width);
    }
    let mut field = vec![if value < 0 { 0xff } else { 0 }; width];
    let bytes = value.to_be_bytes();
    let start = width.saturating_sub(8);
    field[start..].copy_from_slice(&bytes[8 - (width - start)..]);
    field[0] |= 0x80;
    field
}

fn tar(entries: &[E]) -> Vec<u8> {
    let mut all: Vec<u8> = entries.iter().flat_map(E::bytes).collect();
    all.extend([0; 1024]);
    all
}

fn plain(entries: &[E]) -> Layer {
    Layer { media: TAR, bytes: tar(entries) }
}
fn packed(entries: &[E]) -> Layer {
    Layer { media: GZIP, bytes: gzip(&tar(entries)) }
}

/// As GNU tar writes it, with these options.
fn gnu_tar(options: &str, script: &str) -> Layer {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let script = format!("set -e; {script}; exec tar --numeric-owner {options} -cf - -- *");
    let output = std::process::Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Layer { media: TAR, bytes: output.stdout }
}
const SPARSE: &str = "touch -d @5 a; \
    for n in 1 3 5 7 9 11 13 15; do echo part$n | dd of=s bs=64k seek=$n conv=notrunc status=none; done; \
    truncate -s 2M s; touch -d @7 s";

fn long(count: usize) -> String {
    "d".repeat(count)
}
fn below() -> Layer {
    plain(&[
        dir("a/"),
        file("a/x", "1"),
        dir("a/sub/"),
        file("a/sub/deep", "1"),
        file("f", "1"),
        link("l", "a"),
        hard("h", "f"),
        dir("keep/").at(77),
        file("keep/k", "1"),
    ])
}
fn over(entries: &[E]) -> Vec<Layer> {
    vec![below(), packed(entries)]
}

include!("odd_cases.rs");

/// The parts under their digests.
fn parts(case: &Case) -> (Vec<(String, Vec<u8>)>, Value) {
    let mut blobs = Vec::new();
    let mut put = |media: &str, bytes: Vec<u8>| {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media, "digest": digest, "size": bytes.len()});
        blobs.push((digest, bytes));
        descriptor
    };
    let layers = (case.layers)();
    // umoci wants to know what the archives are; everybody else does not ask.
    let ids: Vec<String> = layers.iter().map(|layer| digest(&unpacked(&layer.bytes))).collect();
    let mut config: Value = serde_json::from_str(case.config).unwrap();
    config["rootfs"] = json!({"type": "layers", "diff_ids": ids});
    let layers: Vec<Value> = layers.into_iter().map(|layer| put(layer.media, layer.bytes)).collect();
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    (blobs, json!({"schemaVersion": 2, "config": config, "layers": layers}))
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut all = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let _ = flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut all);
        all
    } else if bytes.starts_with(&[0x28, 0xb5]) || bytes.get(1..4) == Some(&[0x2a, 0x4d, 0x18]) {
        zstd::decode_all(bytes).unwrap()
    } else {
        bytes.to_vec()
    }
}

/// For umoci.
pub fn layout(folder: &Path, case: &Case) {
    let (mut blobs, manifest) = parts(case);
    let text = manifest.to_string().into_bytes();
    let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&text), "size": text.len(),
        "annotations": {"org.opencontainers.image.ref.name": "tool"}});
    blobs.push((digest(&text), text));
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    for (digest, bytes) in blobs {
        std::fs::write(folder.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
    }
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string()).unwrap();
}

/// For the agent. Its reference.
pub fn publish(registry: &Registry, case: &Case) -> String {
    let (blobs, mut document) = parts(case);
    for (digest, bytes) in &blobs {
        registry.put("tool", "blobs", digest, "application/octet-stream", bytes);
    }
    document["blobs"] = json!(blobs.iter().map(|(digest, _)| digest).collect::<Vec<_>>());
    let plain = document.to_string();
    (case.around)(&mut document);
    let text = document.to_string();
    let kind = "application/vnd.oci.image.index.v1+json";
    registry.put("tool", "manifests", &digest(plain.as_bytes()), kind, plain.as_bytes());
    if let Some(nested) = document["nested"].as_str() {
        registry.put("tool", "manifests", &digest(nested.as_bytes()), kind, nested.as_bytes());
    }
    registry.put("tool", "manifests", "latest", kind, text.as_bytes());
    format!("{}/tool:latest", registry.address)
}

fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// An index with this entry for the image, after the others.
fn index(document: &mut Value, others: Value, mut entry: Value) {
    let text = document.to_string();
    entry["digest"] = digest(text.as_bytes()).into();
    entry["size"] = text.len().into();
    let mut entries = others;
    entries.as_array_mut().unwrap().push(entry);
    *document = json!({"schemaVersion": 2, "manifests": entries});
}
