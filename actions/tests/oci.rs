//! oci2root and oci2disk by a registry, with umoci as oci2root's peer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loops;

use actions::variables::Variables;
use actions::{ActionError, dry_run, run};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use loops::{Look, Loop, alone, is_there, must, tree};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const MIB: u64 = 1 << 20;

/// Serves an image layout as a registry does.
#[derive(Clone)]
struct Registry {
    address: SocketAddr,
    layout: PathBuf,
    /// Wanted for a token; without one everybody reads.
    login: Option<&'static str>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start(layout: &Path, login: Option<&'static str>) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Self { address, layout: layout.to_owned(), login, requests: Arc::default() };
        let router = Router::new().fallback(answer).with_state(registry.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await })
        });
        registry
    }

    fn image(&self, tag: &str) -> String {
        format!("http://{}/lab/debian:{tag}", self.address)
    }

    fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        std::fs::read(self.layout.join("blobs/sha256").join(digest.strip_prefix("sha256:")?)).ok()
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        let (kind, name) = path.strip_prefix("/v2/lab/debian/")?.split_once('/')?;
        if kind == "blobs" || name.starts_with("sha256:") {
            return self.blob(name);
        }
        let index: serde_json::Value = serde_json::from_slice(&std::fs::read(self.layout.join("index.json")).unwrap()).unwrap();
        let manifests = index["manifests"].as_array().unwrap();
        let named = |one: &&serde_json::Value| one["annotations"]["org.opencontainers.image.ref.name"] == name;
        self.blob(manifests.iter().find(named)?["digest"].as_str()?)
    }
}

async fn answer(State(registry): State<Registry>, headers: HeaderMap, request: Request<Body>) -> Response<Body> {
    let (path, address) = (request.uri().path().to_owned(), registry.address);
    registry.requests.lock().unwrap().push(path.clone());
    let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    if path == "/token" {
        let query = request.uri().query().unwrap_or_default();
        let right = query.contains("service=lab") && query.contains("scope=repository:lab/debian:pull");
        return match (right, registry.login.is_some_and(|login| given.as_deref() == Some(login))) {
            (true, true) => Response::new(Body::from(r#"{"token":"secret"}"#)),
            _ => Response::builder().status(StatusCode::UNAUTHORIZED).body(Body::empty()).unwrap(),
        };
    }
    if registry.login.is_some() && given.as_deref() != Some("Bearer secret") {
        let challenge = format!(r#"Bearer realm="http://{address}/token",service="lab""#);
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, challenge);
        return refused.body(Body::empty()).unwrap();
    }
    match registry.content(&path) {
        Some(bytes) => Response::new(Body::from(bytes)),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
    }
}

fn report(result: Result<(), ActionError>) -> Result<(), String> {
    result.map_err(|error| {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string);
        std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    })
}

const LOWER: &str = r#"
    mkdir -p etc usr/bin var/cache opaque sysroot/ostree/repo
    echo lower > etc/hostname; echo gone > etc/gone; echo x > var/cache/a; echo y > opaque/below
    chown 7:8 etc/hostname; chmod 4755 etc/hostname; ln etc/hostname usr/bin/hard; ln -s ../etc usr/etc
    setfattr -n user.comment -v hello etc/hostname
    head -c 200000 /dev/urandom > sysroot/ostree/repo/object; ln sysroot/ostree/repo/object usr/bin/object
    touch -d '2001-02-03 04:05:06 UTC' etc/hostname usr/bin
"#;
const UPPER: &str = r#"
    mkdir -p etc opaque usr; : > etc/.wh.gone; : > .wh.var; : > opaque/.wh..wh..opq; echo new > opaque/above
    echo through > usr/kept
"#;

/// An image of two layers, with whiteouts in the second one.
fn image(work: &Path) -> PathBuf {
    let layout = work.join("layout");
    must(Command::new("umoci").arg("init").arg("--layout").arg(&layout));
    let tag = format!("{}:v1", layout.display());
    must(Command::new("umoci").args(["new", "--image", &tag]));
    for (name, script) in [("lower", LOWER), ("upper", UPPER)] {
        let folder = work.join(name);
        std::fs::create_dir(&folder).unwrap();
        must(Command::new("sh").args(["-euc", script]).current_dir(&folder));
        let tar = work.join(format!("{name}.tar"));
        let mut pack = Command::new("tar");
        pack.args(["--create", "--numeric-owner", "--format=pax", "--xattrs", "--xattrs-include=*", "--file"]);
        must(pack.arg(&tar).arg("--directory").arg(&folder).arg("."));
        must(Command::new("umoci").args(["raw", "add-layer", "--image", &tag]).arg(&tar));
    }
    layout
}

fn ready() -> bool {
    is_there("umoci", "umoci") && is_there("setfattr", "attr")
}

#[test]
fn an_images_root_is_what_umoci_unpacks() {
    let _alone = alone();
    if !ready() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let layout = image(work.path());
    let Some(disk) = Loop::ext4(64 * MIB) else { return };
    let registry = Registry::start(&layout, None);
    let url = registry.image("v1");
    let variables = Variables::of([("IMG_URL", &*url), ("DEST_DISK", disk.name()), ("FS_TYPE", "ext4"), ("DEST_PATH", "/os")]);
    dry_run("oci2root", &variables).unwrap();
    report(run("oci2root", &variables)).unwrap();
    let bundle = work.path().join("by-umoci");
    must(Command::new("umoci").args(["raw", "unpack", "--image", &format!("{}:v1", layout.display())]).arg(&bundle));
    let look = Look::at(&disk.device);
    // umoci keeps what it needs for a new layer beside the files.
    let (own, peers) = (tree(&look.path().join("os")), tree(&bundle));
    assert_eq!(own, peers);
    assert!(own.contains("opaque/above") && !own.contains("opaque/below") && !own.contains("var/cache"), "{own}");
}

#[test]
fn a_registry_with_a_token_service_gets_the_login() {
    let _alone = alone();
    if !ready() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let layout = image(work.path());
    let Some(disk) = Loop::ext4(64 * MIB) else { return };
    let registry = Registry::start(&layout, Some("Basic b3BlcmF0b3I6cGFzcw==")); // operator:pass
    let url = registry.image("v1");
    let with = |password: &str| {
        let login = [("REGISTRY_USERNAME", "operator"), ("REGISTRY_PASSWORD", password)];
        let [user, password] = login;
        report(run(
            "oci2root",
            &Variables::of([("IMG_URL", &*url), ("DEST_DISK", disk.name()), ("FS_TYPE", "ext4"), user, password]),
        ))
    };
    with("pass").unwrap();
    for wrong in ["wrong", ""] {
        let error = with(wrong).unwrap_err();
        assert!(error.starts_with("IMG_URL: "), "{error}");
    }
}

#[test]
fn a_damaged_layer_and_a_missing_image_are_named() {
    let _alone = alone();
    if !ready() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let layout = image(work.path());
    let Some(disk) = Loop::ext4(64 * MIB) else { return };
    let registry = Registry::start(&layout, None);
    let of = |tag: &str| {
        let url = registry.image(tag);
        report(run("oci2root", &Variables::of([("IMG_URL", &*url), ("DEST_DISK", disk.name()), ("FS_TYPE", "ext4")])))
    };
    let missing = of("v2").unwrap_err();
    assert!(missing.contains("lab/debian:v2: the registry does not have it"), "{missing}");
    let largest = std::fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let damaged = of("v1").unwrap_err();
    let digest = largest.file_name().unwrap().to_str().unwrap();
    assert!(damaged.contains(&format!("cannot unpack layer sha256:{digest}")), "{damaged}");
}

#[test]
fn a_disk_image_comes_out_of_an_artifact() {
    let _alone = alone();
    let work = tempfile::tempdir().unwrap();
    let mut disk_image = vec![7; 3 << 20];
    disk_image[510..512].copy_from_slice(b"\x55\xaa");
    disk_image[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
    disk_image[462..510].fill(0);
    let packed = zstd::encode_all(&disk_image[..], 1).unwrap();
    let blobs = work.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        use sha2::Digest;
        let hex = hex::encode(sha2::Sha256::digest(bytes));
        std::fs::write(blobs.join(&hex), bytes).unwrap();
        format!("sha256:{hex}")
    };
    let layer = |bytes: &[u8], title: &str| {
        let (digest, size) = (put(bytes), bytes.len());
        serde_json::json!({"mediaType": "application/x-disk", "digest": digest, "size": size,
            "annotations": {"org.opencontainers.image.title": title}})
    };
    let config = serde_json::json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": put(b"{}"), "size": 2});
    let manifest = |layers: Vec<serde_json::Value>| {
        put(serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string().as_bytes())
    };
    let (disk, note) = (layer(&packed, "disk.raw.zst"), layer(b"a note", "README"));
    let named = |tag: &str, digest: String| serde_json::json!({"digest": digest, "annotations": {"org.opencontainers.image.ref.name": tag}});
    let manifests = [named("one", manifest(vec![disk.clone()])), named("two", manifest(vec![note, disk]))];
    std::fs::write(work.path().join("index.json"), serde_json::json!({"manifests": manifests}).to_string()).unwrap();
    let registry = Registry::start(work.path(), None);
    let target = work.path().join("target");
    let write = |tag: &str, file: &str| {
        std::fs::write(&target, vec![1; 4 << 20]).unwrap();
        let url = registry.image(tag);
        report(run("oci2disk", &Variables::of([("IMG_URL", &*url), ("DEST_DISK", target.to_str().unwrap()), ("OCI_FILE", file)])))
    };
    write("one", "").unwrap();
    assert!(std::fs::read(&target).unwrap().starts_with(&disk_image));
    write("two", "disk.raw.zst").unwrap();
    assert!(std::fs::read(&target).unwrap().starts_with(&disk_image));
    let choice = write("two", "").unwrap_err();
    assert!(choice.contains("several files") && choice.contains("README") && choice.contains("disk.raw.zst"), "{choice}");
    let note = write("two", "README").unwrap_err();
    assert!(note.contains("is not a disk image") && note.contains("Nothing was erased"), "{note}");
    let blob = blobs.join(put(&packed).strip_prefix("sha256:").unwrap());
    let other = zstd::encode_all(&[&disk_image[..1 << 20], &vec![8; 2 << 20]].concat()[..], 1).unwrap();
    std::fs::write(blob, other).unwrap();
    assert!(write("one", "").unwrap_err().contains("the digest in the manifest is"));
}
