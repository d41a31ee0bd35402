use serde_json::{Value, json};

use super::*;
use crate::output::sha256;
use oci::layout::{FULL_NAME, REFERENCE};

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// A layout in the making.
pub struct Lab {
    folder: tempfile::TempDir,
    manifests: Vec<Value>,
}

impl Default for Lab {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        Self { folder, manifests: Vec::new() }
    }
}

impl Lab {
    fn blob(&self, kind: &str, data: &[u8]) -> Value {
        fs::write(self.folder.path().join("blobs/sha256").join(sha256(data)), data).unwrap();
        json!({"mediaType": kind, "digest": format!("sha256:{}", sha256(data)), "size": data.len()})
    }

    pub fn manifest(&self, layer: &[u8]) -> Value {
        let config = self.blob("application/vnd.oci.image.config.v1+json", b"{}");
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", layer);
        self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            json!({"config": config, "layers": [layer]}).to_string().as_bytes(),
        )
    }

    pub fn named(&mut self, mut descriptor: Value, key: &str, name: &str) {
        descriptor["annotations"] = json!({key: name});
        self.manifests.push(descriptor);
    }

    pub fn done(&self) -> PathBuf {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(self.folder.path().join("index.json"), index.to_string()).unwrap();
        self.folder.path().to_owned()
    }
}

fn index(files: &[ExtraFile]) -> Value {
    let file = files.iter().find(|file| file.path == "/images/index.json").unwrap();
    serde_json::from_slice(&file.data).unwrap()
}

fn refused(path: PathBuf) -> String {
    machine::Chain(&files(&[path]).unwrap_err()).to_string()
}

#[test]
fn images_of_several_layouts_become_one_and_shared_blobs_are_there_once() {
    let (mut first, mut second) = (Lab::default(), Lab::default());
    first.named(first.manifest(b"a"), REFERENCE, "quay.io/x/a:1");
    second.named(second.manifest(b"a"), FULL_NAME, "docker.io/library/b:2");
    second.named(second.manifest(b"c"), REFERENCE, "c:3");
    let found = files(&[first.done(), second.done()]).unwrap();
    let names: Vec<Value> =
        index(&found)["manifests"].as_array().unwrap().iter().map(|image| image["annotations"][REFERENCE].clone()).collect();
    assert_eq!(names, ["c:3", "docker.io/library/b:2", "quay.io/x/a:1"]);
    let again = [second.done(), first.done(), second.done()];
    assert_eq!(files(&again).unwrap(), found, "whatever the order, and however often");
    assert_eq!(found.len(), 2 + 5, "the layout's two files, two manifests, one config, two layers");
    assert!(files(&[]).unwrap().is_empty());
}

#[test]
fn of_an_index_only_this_platforms_image_is_taken() {
    let mut lab = Lab::default();
    let (mut ours, mut theirs) = (lab.manifest(b"ours"), lab.manifest(b"theirs"));
    ours["platform"] = json!({"os": "linux", "architecture": Processor::this().architecture});
    theirs["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let both = lab.blob(INDEX_TYPE, json!({"manifests": [theirs.clone(), ours.clone()]}).to_string().as_bytes());
    lab.named(both, REFERENCE, "a:1");
    let found = files(&[lab.done()]).unwrap();
    assert_eq!(index(&found)["manifests"][0]["digest"], ours["digest"]);
    assert!(!found.iter().any(|file| file.data == b"theirs"));

    let mut lab = Lab::default();
    let alone = lab.blob(INDEX_TYPE, json!({"manifests": [theirs]}).to_string().as_bytes());
    lab.named(alone, REFERENCE, "a:1");
    assert!(refused(lab.done()).contains("a:1"));
}

#[test]
fn an_archive_is_as_good_as_a_folder() {
    let mut lab = Lab::default();
    lab.named(lab.manifest(b"a"), REFERENCE, "a:1");
    let folder = lab.done();
    let archive = tempfile::NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(archive.reopen().unwrap());
    tar.append_dir_all(".", &folder).unwrap();
    tar.finish().unwrap();
    assert_eq!(files(&[archive.path().to_owned()]).unwrap(), files(&[folder]).unwrap());
}

#[test]
fn a_name_means_one_image() {
    let (mut first, mut second) = (Lab::default(), Lab::default());
    first.named(first.manifest(b"a"), REFERENCE, "a:1");
    second.named(second.manifest(b"b"), REFERENCE, "a:1");
    let error = files(&[first.done(), second.done()]).unwrap_err();
    let source = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert_eq!(source, "two different images are called a:1; embed one of them");
}

#[test]
fn what_is_broken_is_named() {
    let mut unnamed = Lab::default();
    unnamed.manifests.push(unnamed.manifest(b"a"));
    let mut changed = Lab::default();
    changed.named(changed.manifest(b"a"), REFERENCE, "a:1");
    fs::write(changed.folder.path().join("blobs/sha256").join(sha256(b"a")), b"b").unwrap();
    let mut missing = Lab::default();
    missing.named(missing.manifest(b"a"), REFERENCE, "a:1");
    fs::remove_file(missing.folder.path().join("blobs/sha256").join(sha256(b"a"))).unwrap();
    let mut strange = Lab::default();
    strange.named(json!({"mediaType": "x", "digest": "sha256:../../etc/passwd", "size": 1}), REFERENCE, "a:1");
    for (lab, words) in [
        (unnamed, "an image without a name"),
        (changed, "does not have the contents"),
        (missing, "cannot read blobs/sha256/"),
        (strange, "is not a digest: expected sha256:"),
        (Lab::default(), "holds no image"),
    ] {
        let line = refused(lab.done());
        assert!(line.contains(words), "{line}");
    }
    assert!(refused(PathBuf::from("/nowhere")).contains("/nowhere"));
}
