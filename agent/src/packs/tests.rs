use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use api::packs::Index;
use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use cpio::{Archive, Node};
use sha2::{Digest, Sha256};

use super::*;

/// A machine with its root in a folder, and a boots that serves packs.
struct Bench {
    root: tempfile::TempDir,
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

type Shelf = (Arc<Mutex<Vec<String>>>, Vec<(String, Vec<u8>)>);

async fn send(Segment(file): Segment<String>, State((asked, files)): State<Shelf>) -> Result<Vec<u8>, StatusCode> {
    asked.lock().unwrap().push(file.clone());
    files.into_iter().find(|(name, _)| *name == file).map(|(_, bytes)| bytes).ok_or(StatusCode::NOT_FOUND)
}

fn packed(name: &str) -> Vec<u8> {
    let mut archive = Archive::new(0);
    archive.add(&format!("lib/modules/6.1/{name}.ko"), 0o644, Node::File(name.as_bytes().to_vec())).unwrap();
    archive.add(&format!("etc/thimble/manifest.d/{name}"), 0o644, Node::File(Vec::new())).unwrap();
    zstd::encode_all(archive.to_bytes().unwrap().as_slice(), 3).unwrap()
}

fn pack(name: &str, bytes: &[u8], modaliases: &[&str]) -> Pack {
    Pack {
        name: name.to_owned(),
        about: String::new(),
        file: api::packs::file_name(name),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
        modaliases: modaliases.iter().map(|alias| (*alias).to_owned()).collect(),
    }
}

impl Bench {
    async fn new(packs: Vec<(Pack, Vec<u8>)>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/files", listener.local_addr().unwrap());
        let shelf = packs.iter().map(|(pack, bytes)| (pack.file.clone(), bytes.clone())).collect();
        let router = Router::new().route("/files/{file}", axum::routing::get(send)).with_state((Arc::clone(&asked), shelf));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let index = Index { kernel: "6.1".into(), packs: packs.into_iter().map(|(pack, _)| pack).collect() };
        let bench = Self { root, url, asked };
        let offer = Offer { url: bench.url.clone(), index };
        bench.write(files::PACKS, &serde_json::to_string(&offer).unwrap());
        bench.write("/sbin/modprobe", "#!/bin/sh\nprintf '%s\\n' \"$@\" >>\"$(dirname \"$0\")/called\"\n");
        fs::set_permissions(bench.path("/sbin/modprobe"), fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        files::below(self.root.path(), path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn device(&self, bus: &str, name: &str, modalias: &str, has_driver: bool) {
        let folder = format!("/sys/bus/{bus}/devices/{name}");
        self.write(&format!("{folder}/modalias"), &format!("{modalias}\n"));
        if has_driver {
            self.write(&format!("{folder}/driver/unbind"), "");
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn called(&self) -> String {
        fs::read_to_string(self.path("/sbin/called")).unwrap_or_default()
    }
}

const DISK: &str = "pci:v00008086d00007010sv00001AF4sd00001100bc01sc01i80";
const CARD: &str = "pci:v00001077d00002532sv*";

#[tokio::test]
async fn a_device_without_a_driver_brings_its_pack_and_no_other() {
    let (storage, san, raid, old) = (packed("storage"), packed("san"), packed("raid"), packed("old"));
    let bench = Bench::new(vec![
        (pack("storage", &storage, &["pci:v00008086d00007010sv*sd*bc*sc*i*", "usb:v-odd*"]), storage),
        (pack("san", &san, &[CARD]), san),
        (pack("raid", &raid, &[]), raid),
        (pack("old", &old, &["pci:*"]), old),
    ])
    .await;
    bench.device("pci", "0000:00:01.1", DISK, false);
    bench.device("pci", "0000:00:02.0", "pci:v00001077d00002532sv00001077sd0000015Dbc0Csc04i00", true);
    bench.device("auxiliary", "mlx5_core.rdma.0", "auxiliary:mlx5_core.rdma", false);
    bench.write("/etc/thimble/manifest.d/old", ""); // the boot loader brought it
    add(bench.root.path(), &["raid".to_owned(), "none".to_owned()]).await;
    assert_eq!(bench.asked(), ["pack-storage.cpio.zst", "pack-raid.cpio.zst"]);
    assert_eq!(bench.called(), format!("-a\n-b\n--\n{DISK}\n"));
    for name in ["storage", "raid"] {
        assert_eq!(fs::read_to_string(bench.path(&format!("/lib/modules/6.1/{name}.ko"))).unwrap(), name);
    }
    add(bench.root.path(), &["raid".to_owned()]).await;
    assert_eq!(bench.asked().len(), 2, "the next agent of this machine fetched them again");
}

#[tokio::test]
async fn a_file_with_another_digest_is_not_unpacked_and_not_asked_for_again() {
    let (right, wrong) = (packed("storage"), packed("strange"));
    let long = [right.clone(), vec![0]].concat();
    for other in [wrong, long] {
        let bench = Bench::new(vec![(pack("storage", &right, &["pci:*"]), other)]).await;
        bench.device("pci", "0000:00:01.1", DISK, false);
        add(bench.root.path(), &[]).await;
        assert_eq!((bench.asked().len(), bench.called()), (1, String::new()));
        assert!(!bench.path("/lib").exists());
    }
}

#[tokio::test]
async fn a_file_that_does_not_exist_is_asked_for_once() {
    let bytes = packed("storage");
    let bench = Bench::new(vec![(pack("other", &bytes, &[]), bytes.clone())]).await;
    let url = format!("{}/pack-storage.cpio.zst", bench.url);
    let error = fetch::whole(&url, &pack("storage", &bytes, &[]), u64::MAX, fetch::ATTEMPTS).await.unwrap_err();
    assert_eq!((bench.asked().len(), error.to_string()), (1, format!("{url} cannot be read")));
}

#[tokio::test]
async fn a_file_that_does_not_fit_the_memory_is_not_asked_for() {
    let bytes = packed("storage");
    let storage = pack("storage", &bytes, &[]);
    let bench = Bench::new(vec![(storage.clone(), bytes)]).await;
    let (url, needed) = (format!("{}/{}", bench.url, storage.file), storage.size * 5);
    let error = fetch::whole(&url, &storage, needed - 1, 1).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("it takes about {needed} bytes of memory")), "{error}");
    assert!(bench.asked().is_empty());
    assert!(fetch::whole(&url, &storage, needed, 1).await.is_ok());
}

/// The paused clock goes on by itself while everything sleeps.
#[tokio::test(start_paused = true)]
async fn packs_of_a_server_that_is_away_cost_one_wait_together() {
    let bench = Bench::new(Vec::new()).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let packs = ["storage", "san", "raid"].map(|name| pack(name, &packed(name), &[])).to_vec();
    let offer = Offer { url: format!("http://{closed}/files"), index: Index { kernel: "6.1".into(), packs } };
    bench.write(files::PACKS, &serde_json::to_string(&offer).unwrap());
    let start = tokio::time::Instant::now();
    add(bench.root.path(), &["storage", "san", "raid"].map(str::to_owned)).await;
    assert!((65..100).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_damaged_archive_is_tried_again_by_the_next_agent() {
    let mut bytes = packed("storage");
    let cut = zstd::decode_all(bytes.as_slice()).unwrap();
    bytes = zstd::encode_all(&cut[..cut.len() - 600], 3).unwrap();
    let bench = Bench::new(vec![(pack("storage", &bytes, &["pci:*"]), bytes)]).await;
    bench.device("pci", "0000:00:01.1", DISK, false);
    add(bench.root.path(), &[]).await;
    assert!(!bench.path("/etc/thimble/manifest.d/storage").exists());
    assert_eq!(bench.called(), "", "drivers of a damaged pack are not loaded");
}
