//! Disks with the label THIMBLE, which a former tenant or an attacker may have left. The tests need root and loop devices.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::embedded::{Disk, Embedded};
use super::signature_tests::{Signer, payload};
use super::tests::{CONFIG, plenty, puller};
use crate::fake_registry::{GZIP, Registry, TAR, digest, embed, gzip, tar};
use crate::registry::Settings;
use crate::signature::Keys;
use cmdline::EmbeddedImages;

fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !can {
        eprintln!("skipped: mounting a disk needs root and loop devices");
    }
    can
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A loop device with a file system, and the name that PID 1 would give it.
struct Stick {
    folder: tempfile::TempDir,
    device: String,
}

impl Drop for Stick {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.device]);
    }
}

impl Stick {
    fn new(kind: &str, label: &str, content: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stick.img");
        match kind {
            "iso9660" => {
                run("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-V", label, "-o", text(&file), text(content)]);
            }
            "vfat" => {
                run("mkfs.vfat", &["-n", label, "-C", text(&file), "16384"]);
                run("mcopy", &["-s", "-i", text(&file), text(&content.join("images")), "::images"]);
            }
            "ext4" => {
                fs::File::create(&file).unwrap().set_len(24 << 20).unwrap();
                run("mkfs.ext4", &["-q", "-L", label, "-e", "panic", "-d", text(content), text(&file)]);
            }
            "swap" => {
                fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
                run("mkswap", &["-q", "-L", label, text(&file)]);
            }
            other => panic!("{other}"),
        }
        let device = run("losetup", &["-f", "--show", "-r", text(&file)]);
        symlink(&device, folder.path().join("by-label")).unwrap();
        Self { folder, device }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn embedded(&self, when: EmbeddedImages) -> Embedded {
        let disk = Disk { link: self.at("by-label"), mount_point: self.at("mnt") };
        Embedded { when, folder: self.at("no-folder"), disk: Some(disk) }
    }

    /// Whether the kernel was ever asked to mount it.
    fn was_mounted(&self) -> bool {
        self.at("mnt").exists()
    }
}

const NOWHERE: &str = "127.0.0.1:1";

fn layers(file: &str) -> [(&'static str, Vec<u8>); 2] {
    [(GZIP, gzip(&tar(&[("base", "1")]))), (TAR, tar(&[(file, "2")]))]
}

/// The content of a disk with one image, and the image's digest.
fn content(name: &str) -> (tempfile::TempDir, String) {
    let content = tempfile::tempdir().unwrap();
    let digest = embed(&content.path().join("images"), name, &layers("disk"), CONFIG);
    (content, digest)
}

/// The files that `cosign sign` and `skopeo copy` of tag and signature leave in a layout.
fn sign(images: &Path, name: &str, of: &str, signer: &Signer) {
    let payload = payload(of);
    let blob = |bytes: &[u8]| fs::write(images.join("blobs/sha256").join(&digest(bytes)[7..]), bytes).unwrap();
    blob(payload.as_bytes());
    blob(b"{}");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest(b"{}")},
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": payload.len(),
            "digest": digest(payload.as_bytes()),
            "annotations": {"dev.cosignproject.cosign/signature": signer.sign(&payload)},
        }],
    })
    .to_string();
    blob(manifest.as_bytes());
    let file = images.join("index.json");
    let mut index: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": manifest.len(), "digest": digest(manifest.as_bytes()),
        "annotations": {"org.opencontainers.image.ref.name": format!("{name}:{}.sig", of.replace(':', "-"))},
    }));
    fs::write(file, index.to_string()).unwrap();
}

/// The source of the pulled image: `disk`, `registry`, or none.
async fn pulled(stick: &Stick, embedded: Embedded, image: &str, keys: Keys) -> Option<&'static str> {
    let store = tempfile::tempdir().unwrap();
    let mut puller = puller(store.path(), &Settings::default(), plenty).with(embedded).trusting(keys);
    puller.patience.absence = Duration::ZERO;
    let started = Instant::now();
    let pulled = puller.pull(image).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{image}: {:?}", started.elapsed());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&stick.device), "the stick must not stay mounted: {mounts}");
    let pulled = pulled.inspect_err(|error| eprintln!("{image}: {}", machine::Chain(error))).ok()?;
    ["disk", "registry"].into_iter().find(|file| pulled.rootfs.join(file).exists())
}

#[tokio::test]
async fn a_disk_of_a_former_tenant_supplies_only_requested_images() {
    if !can_mount() {
        return;
    }
    let (signer, other) = (Signer::new(), Signer::new());
    let away = format!("{NOWHERE}/tool:v1");
    let (folder, of) = content(&away);
    sign(&folder.path().join("images"), &format!("{NOWHERE}/tool"), &of, &signer);
    let pinned = format!("{NOWHERE}/tool@{of}");
    use EmbeddedImages::{Fallback, First, Never};
    for (case, asked, when, image, keys, want, mounted) in [
        ("not allowed, by tag", false, First, &away, None, None, false),
        ("not allowed, by digest", false, First, &pinned, None, None, false),
        ("not allowed, signed", false, Fallback, &away, Some(&signer), None, false),
        ("allowed, but embedded images are never used", true, Never, &pinned, None, None, false),
        ("allowed, a tag without a signature", true, First, &away, None, None, false),
        ("the same as a fallback", true, Fallback, &away, None, None, false),
        ("allowed, by digest", true, First, &pinned, None, Some("disk"), true),
        ("allowed, by digest, as a fallback", true, Fallback, &pinned, None, Some("disk"), true),
        ("allowed, signed, by tag", true, First, &away, Some(&signer), Some("disk"), true),
        ("signed with another key, by tag", true, First, &away, Some(&other), None, true),
        ("signed with another key, by digest", true, First, &pinned, Some(&other), None, true),
    ] {
        let stick = Stick::new("ext4", "THIMBLE", folder.path());
        let embedded = stick.embedded(when);
        let embedded = if asked { embedded } else { Embedded { disk: None, ..embedded } };
        let keys = keys.map(Signer::keys).unwrap_or_default();
        assert_eq!(pulled(&stick, embedded, image, keys).await, want, "{case}");
        assert_eq!(stick.was_mounted(), mounted, "{case}: mounted");
    }
}

#[tokio::test]
async fn for_a_tag_the_registry_comes_before_a_signed_disk() {
    if !can_mount() {
        return;
    }
    for (case, registry_has, want, mounted) in
        [("the registry has it", true, "registry", false), ("the registry does not have it", false, "disk", true)]
    {
        let (registry, signer) = (Registry::start().await, Signer::new());
        let image = format!("{}/tool:latest", registry.address);
        if registry_has {
            registry.image("tool", &[(TAR, tar(&[("registry", "")]))], CONFIG);
            super::signature_tests::sign_in(&registry, &registry.digest_of("tool", "latest"), &signer);
        }
        let (folder, of) = content(&image);
        sign(&folder.path().join("images"), &format!("{}/tool", registry.address), &of, &signer);
        for when in [EmbeddedImages::First, EmbeddedImages::Fallback] {
            let stick = Stick::new("ext4", "THIMBLE", folder.path());
            assert_eq!(pulled(&stick, stick.embedded(when), &image, signer.keys()).await, Some(want), "{case}");
            assert_eq!(stick.was_mounted(), mounted, "{case}: mounted");
        }
    }
}

#[tokio::test]
async fn sticks_and_discs_of_each_kind_are_read_safely_and_named() {
    if !can_mount() {
        return;
    }
    let (folder, of) = content(&format!("{NOWHERE}/tool:v1"));
    let pinned = format!("{NOWHERE}/tool@{of}");
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    for kind in ["vfat", "iso9660", "ext4"] {
        if !known.split_whitespace().any(|word| word == kind) {
            println!("{kind} is tested by the scenarios in machines, because this host's kernel does not have it");
            continue;
        }
        let stick = Stick::new(kind, "THIMBLE", folder.path());
        assert_eq!(pulled(&stick, stick.embedded(EmbeddedImages::First), &pinned, Keys::default()).await, Some("disk"), "{kind}");
        let layout = stick.embedded(EmbeddedImages::First).on_disk(&pinned.parse().unwrap()).unwrap();
        assert_eq!(layout.name(), format!("(images on the disk {})", stick.device));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.starts_with(&stick.device)).unwrap();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(line.split([' ', ',']).any(|word| word == option), "{option} in {line}");
        }
        if kind == "ext4" {
            assert!(!line.contains("errors=panic"), "the disk must not decide what an error does: {line}");
        }
    }
}

/// Replaces a file of the layout.
fn instead(images: &Path, file: &str, make: impl Fn(&Path)) {
    let path = if file.is_empty() { images.to_owned() } else { images.join(file) };
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir_all(&path);
    make(&path);
}

#[tokio::test]
async fn no_content_of_a_disk_leads_out_of_it_or_blocks_the_pull() {
    if !can_mount() {
        return;
    }
    let (outside, of) = content(&format!("{NOWHERE}/tool:v1"));
    let elsewhere = outside.path().join("images");
    let blob = format!("blobs/sha256/{}", &of[7..]);
    let fifo = |path: &Path| drop(run("mkfifo", &[text(path)]));
    type Attack<'a> = (&'a str, &'a str, &'a str, Box<dyn Fn(&Path) + 'a>);
    let nothing = || Box::new(|_: &Path| {});
    let attacks: Vec<Attack<'_>> = vec![
        (
            "the layout is a link out of the disk",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "", |p| symlink(&elsewhere, p).unwrap())),
        ),
        (
            "its blobs are a link out of the disk",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "blobs", |p| symlink(elsewhere.join("blobs"), p).unwrap())),
        ),
        (
            "its index is a link out of the disk",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "index.json", |p| symlink(elsewhere.join("index.json"), p).unwrap())),
        ),
        (
            "its index is a link with ..",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "index.json", |p| symlink("../../../../../../etc/hostname", p).unwrap())),
        ),
        ("its index is a pipe", "ext4", "THIMBLE", Box::new(|i| instead(i, "index.json", fifo))),
        ("its index is a folder", "ext4", "THIMBLE", Box::new(|i| instead(i, "index.json", |p| fs::create_dir(p).unwrap()))),
        (
            "its index is a device",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "index.json", |p| drop(run("mknod", &[text(p), "c", "1", "5"])))),
        ),
        (
            "its index is huge",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "index.json", |p| fs::write(p, vec![b' '; 5 << 20]).unwrap())),
        ),
        (
            "its index is deep",
            "ext4",
            "THIMBLE",
            Box::new(|i| instead(i, "index.json", |p| fs::write(p, "[".repeat(1 << 20)).unwrap())),
        ),
        ("its manifest is a pipe", "ext4", "THIMBLE", Box::new(|i| instead(i, &blob, fifo))),
        ("its manifest is of another image", "ext4", "THIMBLE", Box::new(|i| instead(i, &blob, |p| fs::write(p, "{}").unwrap()))),
        ("another label", "ext4", "THIMBLE2", nothing()),
        ("a label of other letters", "ext4", "Thimble", nothing()),
        ("a file system that is not expected", "swap", "THIMBLE", nothing()),
    ];
    let registry = Registry::start().await;
    for (attack, kind, label, make) in attacks {
        let (folder, of) = content(&format!("{}/tool:latest", registry.address));
        registry.image("tool", &layers("registry"), CONFIG);
        make(&folder.path().join("images"));
        let stick = Stick::new(kind, label, folder.path());
        let none = pulled(&stick, stick.embedded(EmbeddedImages::First), &format!("{NOWHERE}/tool@{of}"), Keys::default()).await;
        assert_eq!(none, None, "{attack}");
        let image = format!("{}/tool@{}", registry.address, registry.digest_of("tool", "latest"));
        assert_eq!(
            pulled(&stick, stick.embedded(EmbeddedImages::First), &image, Keys::default()).await,
            Some("registry"),
            "{attack}"
        );
    }
}

#[tokio::test]
async fn what_is_not_a_disk_is_not_mounted() {
    if !can_mount() {
        return;
    }
    let (folder, of) = content(&format!("{NOWHERE}/tool:v1"));
    let stick = Stick::new("ext4", "THIMBLE", folder.path());
    run("mkfifo", &[text(&stick.at("pipe"))]);
    for target in ["stick.img", "pipe", "gone", "/dev/null", "/"] {
        fs::remove_file(stick.at("by-label")).unwrap();
        symlink(stick.at(target), stick.at("by-label")).unwrap();
        let none = pulled(&stick, stick.embedded(EmbeddedImages::First), &format!("{NOWHERE}/tool@{of}"), Keys::default()).await;
        assert_eq!((none, stick.was_mounted()), (None, false), "{target}");
    }
}
