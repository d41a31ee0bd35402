//! Tests of packing, of the layout on disk, and of pushing to a real registry.

use super::*;
use crate::image::push;
use oci::registry::Settings;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The smallest file that counts as a static x86-64 program.
fn program() -> Vec<u8> {
    let mut file = vec![0; 4096];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16] = 2;
    file[18] = 62;
    file
}

#[test]
fn the_same_program_gives_the_same_digests() {
    assert_eq!(pack(&[program()], &[]).unwrap(), pack(&[program()], &[]).unwrap());
}

#[test]
fn the_layer_is_the_program_alone() {
    let layers = pack(&[program()], &[]).unwrap().layers;
    let [layer] = &layers[..] else { panic!("{} layers", layers.len()) };
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&layer.blob.bytes[..]));
    let files: Vec<_> = tar
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            (entry.path().unwrap().into_owned(), entry.header().mode().unwrap(), data)
        })
        .collect();
    assert_eq!(files, [("actions".into(), 0o755, program())]);
}

#[test]
fn each_action_has_an_image_that_starts_it() {
    let images = pack(&[program()], &[]).unwrap();
    let entrypoint = |name: &str| {
        let action = images.actions.iter().find(|action| action.name == name).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&action.images[0].config.bytes).unwrap();
        config["config"]["Entrypoint"].clone()
    };
    assert_eq!(entrypoint("image2disk"), serde_json::json!(["/actions", "image2disk"]));
    assert_eq!(entrypoint("actions"), serde_json::json!(["/actions"]));
    assert_eq!(images.actions.len(), ACTIONS.len() + 1);
}

#[test]
fn a_script_is_not_an_action_program() {
    let error = format!("{:#}", pack(&[b"#!/bin/sh\n".to_vec()], &[]).unwrap_err());
    assert!(error.contains("a static program is needed"), "{error}");
}

#[test]
fn the_target_of_a_push_is_read_from_its_url() {
    let reference =
        |url: &str| push::Target::parse(url, "v1").map(|target| target.reference("cexec")).map_err(|error| format!("{error:#}"));
    for (url, expected) in [
        ("http://127.0.0.1:5000", "127.0.0.1:5000/cexec:v1"),
        ("http://registry/tinkerbell/", "registry/tinkerbell/cexec:v1"),
        ("https://registry/lab/tinkerbell:v2", "registry/lab/tinkerbell/cexec:v2"),
    ] {
        assert_eq!(reference(url).as_deref(), Ok(expected), "{url}");
    }
    for url in ["registry:5000", "ftp://registry", "http://registry/Upper", "http://registry/a:.b", "http://registry/a:"] {
        assert!(reference(url).is_err(), "{url}");
    }
}

#[test]
fn skopeo_reads_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    write(&pack(&[program()], &[]).unwrap(), "v1", folder.path()).unwrap();
    let shown = inspect(&format!("oci:{}:writefile:v1", folder.path().display()));
    assert_eq!(shown["config"]["Entrypoint"], serde_json::json!(["/actions", "writefile"]));
}

#[test]
fn images_put_into_a_served_layout_join_those_with_other_tags() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("actions");
    let other = [&program()[..], b"changed"].concat();
    for (program, tag) in [(&program(), "v1"), (&other, "v2"), (&other, "v1")] {
        put(&pack(std::slice::from_ref(program), &[]).unwrap(), tag, &layout).unwrap();
    }
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let index = oci::layout::Index::parse(&index).unwrap();
    assert_eq!(index.manifests.len(), 2 * (ACTIONS.len() + 1), "one entry for each name and tag");
    let image = &pack(&[other], &[]).unwrap().actions[0].top;
    let digest = |name: &str| index.digest_of(&name.parse().unwrap()).unwrap();
    assert_eq!((digest("actions:v1"), digest("actions:v2")), (&image.digest, &image.digest));
    let first = &pack(&[program()], &[]).unwrap().actions[0].top;
    assert!(layout.join(oci::layout::blob_path(&first.digest)).exists(), "a pull under way still finds its parts");
    let left: Vec<_> = std::fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_none()), "{left:?}");
}

#[test]
fn the_daemons_user_can_read_images_that_root_has_put_there() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("data/images");
    readable(&served).unwrap();
    put(&pack(&[program()], &[]).unwrap(), "v1", &served.join("actions")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let blobs = served.join("actions/blobs/sha256");
    for place in [&served, &served.join("actions"), &served.join("actions/blobs"), &blobs] {
        assert_eq!(mode(place), 0o755, "{}", place.display());
    }
    for entry in std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()) {
        assert_eq!(mode(&entry), 0o644, "{}", entry.display());
    }
    assert_eq!(mode(&served.join("actions/index.json")), 0o644);
}

#[test]
fn a_registry_takes_the_images_twice() {
    let registry = Registry::start();
    let images = pack(&[program()], &[]).unwrap();
    let target = push::Target::parse(&format!("http://127.0.0.1:{}/lab", registry.port), "v1").unwrap();
    for _ in 0..2 {
        let names = push::run(&images, &target, &Settings::default()).unwrap();
        assert!(names.contains(&format!("127.0.0.1:{}/lab/cexec:v1", registry.port)), "{names:?}");
    }
    let shown = inspect(&format!("docker://127.0.0.1:{}/lab/image2disk:v1", registry.port));
    assert_eq!(shown["config"]["Entrypoint"], serde_json::json!(["/actions", "image2disk"]));
    assert_eq!(shown["architecture"], "amd64");
}

fn for_arm64() -> Vec<u8> {
    let mut file = program();
    file[18] = 183;
    file
}

#[test]
fn each_architecture_has_its_image_and_gets_it() {
    let images = pack(&[program(), for_arm64()], &[]).unwrap();
    assert_eq!(images, pack(&[for_arm64(), program()], &[]).unwrap(), "the order of the programs does not count");
    assert_eq!(images.layers.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    write(&images, "v1", folder.path()).unwrap();
    let registry = Registry::start();
    let target = push::Target::parse(&format!("http://127.0.0.1:{}", registry.port), "v1").unwrap();
    push::run(&images, &target, &Settings::default()).unwrap();
    let layout = format!("oci:{}:wipe:v1", folder.path().display());
    for place in [layout, format!("docker://127.0.0.1:{}/wipe:v1", registry.port)] {
        for (architecture, index) in [("amd64", 0), ("arm64", 1)] {
            let mut skopeo = Command::new("skopeo");
            skopeo.args(["--override-arch", architecture, "inspect", "--config", "--tls-verify=false", &place]);
            let output = skopeo.output().unwrap();
            assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
            let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(shown["architecture"], architecture, "{place}");
            let layers: Vec<_> = images.layers.iter().map(|layer| oci::Digest::of(&plain(layer)).to_string()).collect();
            assert_eq!(shown["rootfs"]["diff_ids"], serde_json::json!([layers[index]]), "{place}");
        }
    }
}

fn plain(layer: &Layer) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&layer.blob.bytes[..]).read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn programs_that_do_not_go_together_are_refused() {
    let error = pack(&[program(), program()], &[]).unwrap_err().to_string();
    assert!(error.contains("two programs are for amd64"), "{error}");
    let error = pack(&[program(), for_arm64()], &["tools".into()]).unwrap_err().to_string();
    assert!(error.contains("give one --binary"), "{error}");
}

#[test]
fn a_registry_that_is_down_is_named() {
    let port = free_port();
    let target = push::Target::parse(&format!("http://127.0.0.1:{port}"), "v1").unwrap();
    let error = format!("{:#}", push::run(&pack(&[program()], &[]).unwrap(), &target, &Settings::default()).unwrap_err());
    assert!(error.contains(&format!("cannot push to http://127.0.0.1:{port}/")), "{error}");
}

fn inspect(image: &str) -> serde_json::Value {
    let output = Command::new("skopeo")
        .args(["inspect", "--config", "--tls-verify=false", image])
        .output()
        .expect("the tests need Debian's package skopeo");
    assert!(output.status.success(), "{image}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Debian's docker-registry with its files in a separate folder.
struct Registry {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = folder.path().join("config.yml");
        let root = folder.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            root.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need Debian's package docker-registry");
        let limit = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < limit, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, process, _folder: folder }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
