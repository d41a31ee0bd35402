//! `/v2/` over real sockets, with requests written by hand, with the agent's client, with skopeo and with containerd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use boots::Config;
use oci::Digest;
use oci::build::{ConfigBuilder, ConfigurationBuilder, Image, Layer};
use oci::layout::write::{Folder, NamedDescriptor};
use oci::registry::{Client, Limits, Patience, Settings};
use serde_json::Value;
use support::{Fixed, Host, LIMIT, assert_logged, keep_log, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A layout with one image, whose layer is an archive of one file.
struct Layout {
    manifest: Digest,
    layer: Digest,
    layer_bytes: Vec<u8>,
}

fn layout(folder: &Path, names: &[&str], content: &[u8]) -> Layout {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "tool", content).unwrap();
    let layer = Layer::gzip(&tar.into_inner().unwrap(), 1).unwrap();
    let config = ConfigBuilder::default().entrypoint(["/tool".to_owned()]).build().unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let configuration = ConfigurationBuilder::default().architecture(architecture).os("linux").config(config);
    let image = Image::new(std::iter::once(&layer), configuration).unwrap();
    let layout = Folder::create(folder).unwrap();
    for blob in [&layer.blob, &image.config, &image.manifest] {
        layout.put(&blob.bytes).unwrap();
    }
    layout.finish(names.iter().map(|name| NamedDescriptor::new(name, &image.manifest.bytes).unwrap()).collect()).unwrap();
    Layout { manifest: image.manifest.digest, layer: layer.blob.digest, layer_bytes: layer.blob.bytes }
}

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

struct Site {
    host: Host,
    folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let images = Some(folder.path().join("images"));
        let host = Host::on(Arc::new(Fixed::default()), |config| Config { images, ..config }).await;
        Self { host, folder }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join("images").join(name)
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(self.host.http).await.unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("no answer in time").unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: answer[end + 4..].to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    /// Layouts that were put there a moment ago are seen with the next look.
    async fn until_served(&self, path: &str) -> Answer {
        let seen = async {
            loop {
                let answer = self.get(path).await;
                if answer.status == 200 {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{path} is not served"))
    }
}

#[tokio::test]
async fn an_image_is_served_by_tag_and_by_digest() {
    let site = Site::start().await;
    let image = layout(&site.place("actions"), &["lab/tool:v1", "lab/tool:v2"], &pattern(300_000));
    let base = site.get("/v2/").await;
    assert_eq!((base.status, base.header("docker-distribution-api-version")), (200, Some("registry/2.0")));
    let digest = image.manifest.to_string();
    for (method, reference) in [("GET", "v1"), ("HEAD", "v1"), ("GET", &digest), ("HEAD", &digest)] {
        let answer = site.send(method, &format!("/v2/lab/tool/manifests/{reference}"), &[]).await;
        assert_eq!(answer.status, 200, "{method} {reference}");
        assert_eq!(answer.header("content-type"), Some("application/vnd.oci.image.manifest.v1+json"));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert_eq!(answer.body.len(), if method == "HEAD" { 0 } else { length }, "{method} {reference}");
        assert!(method == "HEAD" || Digest::of(&answer.body) == image.manifest);
    }
    let tags = site.get("/v2/lab/tool/tags/list?n=1").await;
    assert_eq!(tags.json(), serde_json::json!({"name": "lab/tool", "tags": ["v1"]}));
    assert_eq!(tags.header("link"), Some("</v2/lab/tool/tags/list?n=1&last=v1>; rel=\"next\""));
    let tags = site.get("/v2/lab/tool/tags/list?n=1&last=v1").await;
    assert_eq!((tags.json()["tags"][0].as_str(), tags.header("link")), (Some("v2"), None));
    assert_eq!(site.get("/v2/_catalog").await.json(), serde_json::json!({"repositories": ["actions", "lab/tool"]}));
    site.host.stop().await;
}

#[tokio::test]
async fn a_blob_is_served_whole_by_range_and_by_head() {
    let site = Site::start().await;
    let image = layout(&site.place("tool"), &["1"], &pattern(900_000));
    let (path, digest) = (format!("/v2/tool/blobs/{}", image.layer), image.layer.to_string());
    let size = image.layer_bytes.len();
    let whole = site.get(&path).await;
    assert_eq!((whole.status, whole.header("docker-content-digest")), (200, Some(digest.as_str())));
    assert!(whole.body == image.layer_bytes);
    let head = site.send("HEAD", &path, &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some(size.to_string().as_str()), 0));
    let part = site.send("GET", &path, &[("Range", "bytes=100-199")]).await;
    assert_eq!((part.status, part.header("docker-content-digest")), (206, Some(digest.as_str())));
    assert!(part.body == image.layer_bytes[100..200]);
    let beyond = site.send("GET", &path, &[("Range", &format!("bytes={size}-"))]).await;
    assert_eq!(beyond.status, 416);
    site.host.stop().await;
}

#[tokio::test]
async fn whatever_is_not_there_is_an_error_of_the_specification() {
    let site = Site::start().await;
    let image = layout(&site.place("tool"), &["1"], b"content");
    let other = Digest::of(b"other");
    for (method, path, status, code) in [
        ("GET", "/v2/other/manifests/1".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/tool/manifests/2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/tool/manifests/{other}"), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/tool/manifests/{}", image.layer), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/tool/blobs/{other}"), 404, "BLOB_UNKNOWN"),
        ("GET", format!("/v2/other/blobs/{}", image.layer), 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/other/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/tool/tags/list?n=x".to_owned(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/tool/blobs/sha256:0".to_owned(), 400, "DIGEST_INVALID"),
        ("GET", "/v2/../../etc/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("GET", "/v2/tool/%2e%2e/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("GET", format!("/v2/tool/referrers/{}", image.manifest), 404, "UNSUPPORTED"),
        ("POST", "/v2/tool/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
        ("PUT", "/v2/tool/manifests/1".to_owned(), 405, "UNSUPPORTED"),
        ("PATCH", "/v2/tool/blobs/uploads/x".to_owned(), 405, "UNSUPPORTED"),
        ("DELETE", "/v2/tool/manifests/1".to_owned(), 405, "UNSUPPORTED"),
    ] {
        let answer = site.send(method, &path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
        if status == 405 {
            let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
            assert!(message.contains("thimble image action --into"), "{message}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
    site.host.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_one_line_in_the_log_names_it() {
    keep_log();
    let site = Site::start().await;
    let image = layout(&site.place("tool"), &["1"], &pattern(50_000));
    let blob = site.place("tool").join(oci::layout::blob_path(&image.layer));
    let mut bytes = image.layer_bytes.clone();
    bytes[1000] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    let path = format!("/v2/tool/blobs/{}", image.layer);
    for _ in 0..2 {
        let answer = site.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UNKNOWN"));
    }
    assert_logged(&["images: ", image.layer.hex(), "is damaged and not served", "put the image there again"]);
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, &image.layer_bytes).unwrap();
    assert_eq!(site.get(&path).await.status, 200, "a mended file is served at once");
    let manifest = site.place("tool").join(oci::layout::blob_path(&image.manifest));
    std::fs::write(&manifest, "{}").unwrap();
    assert_eq!(site.get("/v2/tool/manifests/1").await.code(), "MANIFEST_UNKNOWN");
    site.host.stop().await;
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_served() {
    keep_log();
    let site = Site::start().await;
    let outside = layout(&site.folder.path().join("secret"), &["secret:1"], b"outside");
    let inside = layout(&site.place("tool"), &["1"], b"inside");
    symlink("../secret", site.place("link")).unwrap();
    let blob = site.place("tool").join(oci::layout::blob_path(&outside.layer));
    symlink(site.folder.path().join("secret").join(oci::layout::blob_path(&outside.layer)), &blob).unwrap();
    let twin = site.place("tool").join(oci::layout::blob_path(&Digest::of(b"twin")));
    symlink(inside.layer.hex(), twin).unwrap();
    for path in
        ["/v2/secret/manifests/1".to_owned(), "/v2/link/manifests/1".to_owned(), format!("/v2/tool/blobs/{}", outside.layer)]
    {
        assert_eq!(site.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(site.get(&format!("/v2/tool/blobs/{}", Digest::of(b"twin"))).await.status, 404, "the name is not the digest");
    assert_eq!(site.get(&format!("/v2/tool/blobs/{}", inside.layer)).await.status, 200);
    assert_logged(&["images: \"link\" is a symbolic link"]);
    assert_logged(&["images: ", outside.layer.hex(), "leads outside the served folder"]);
    site.host.stop().await;
}

#[tokio::test]
async fn a_new_layout_appears_and_a_changed_tag_is_followed_without_a_restart() {
    let site = Site::start().await;
    assert_eq!(site.get("/v2/tool/manifests/1").await.status, 404, "the folder does not exist yet");
    let first = layout(&site.place("tool"), &["1"], b"first");
    let answer = site.until_served("/v2/tool/manifests/1").await;
    assert_eq!(answer.header("docker-content-digest"), Some(first.manifest.to_string().as_str()));
    let second = layout(&site.place("tool"), &["1", "2"], b"second");
    let answer = site.until_served("/v2/tool/manifests/2").await;
    assert_eq!(answer.header("docker-content-digest"), Some(second.manifest.to_string().as_str()));
    assert_eq!(site.get(&format!("/v2/tool/manifests/{}", first.manifest)).await.status, 200, "for a pull under way");
    site.host.stop().await;
}

#[tokio::test]
async fn a_host_without_images_says_so() {
    let host = Host::start().await;
    let site = Site { host, folder: tempfile::tempdir().unwrap() };
    assert_eq!(site.get("/v2/").await.code(), "UNSUPPORTED");
    site.host.stop().await;
}

/// As a machine does: by the server's address, and by a bare name with the server as a mirror.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_pulls_by_address_and_through_a_mirror() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let site = Site::start().await;
    let image = layout(&site.place("actions"), &["image2disk:v1"], &pattern(2_000_000));
    let address = site.host.http.to_string();
    let settings = Settings {
        mirrors: vec![format!("docker.io=http://{address}"), format!("registry.example:5000=http://{address}")],
        insecure: [address.clone()].into(),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let store = oci::store::Store::open(&folder.path().join("store")).unwrap();
    let client = Client::new(&settings, Limits::default()).unwrap();
    let puller = oci::Puller::new(client, store, Patience::default(), |_| oci::Free::of_memory(u64::MAX));
    for (number, name) in
        [&format!("{address}/image2disk:v1"), "image2disk:v1", "registry.example:5000/image2disk:v1"].iter().enumerate()
    {
        let into = folder.path().join(number.to_string());
        puller.save(name, &into).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let layer = std::fs::read(into.join(oci::layout::blob_path(&image.layer))).unwrap();
        assert!(layer == image.layer_bytes, "{name}");
    }
    site.host.stop().await;
}

fn run(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|_| panic!("the tests need Debian's package {program}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_copies_from_it_and_into_its_folder() {
    let site = Site::start().await;
    let image = layout(&site.place("actions"), &["image2disk:v1"], &pattern(100_000));
    let (address, folder) = (site.host.http.to_string(), site.folder.path().display().to_string());
    let (from, into) = (format!("docker://{address}/image2disk:v1"), format!("oci:{folder}/images/copied:v2"));
    let copied = tokio::task::spawn_blocking(move || {
        run("skopeo", &["copy", "-q", "--src-tls-verify=false", &from, &into]);
    });
    copied.await.unwrap();
    let answer = site.until_served("/v2/copied/manifests/v2").await;
    assert_eq!(answer.header("docker-content-digest"), Some(image.manifest.to_string().as_str()));
    let name = format!("docker://{address}/copied");
    let tags = tokio::task::spawn_blocking(move || run("skopeo", &["list-tags", "--tls-verify=false", &name])).await.unwrap();
    assert!(tags.contains("\"v2\""), "{tags}");
    site.host.stop().await;
}

/// containerd with folders of its own, which ends with the test.
struct Containerd {
    process: std::process::Child,
    folder: tempfile::TempDir,
}

impl Containerd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let config = format!(
            "version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = \"{path}/sock\"\n"
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let log = || std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(folder.path().join("config.toml")).stdout(log()).stderr(log());
        let process = command.spawn().expect("the tests need Debian's package containerd");
        let containerd = Self { process, folder };
        let limit = std::time::Instant::now() + LIMIT;
        while !containerd.ctr(&["version"]).0 {
            let log = || std::fs::read_to_string(containerd.folder.path().join("log")).unwrap_or_default();
            assert!(std::time::Instant::now() < limit, "containerd does not answer: {}", log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        containerd
    }

    /// Whether the call succeeded, and what it printed.
    fn ctr(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new("ctr").arg("-a").arg(self.folder.path().join("sock")).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_fetches_from_it() {
    let site = Site::start().await;
    let image = layout(&site.place("actions"), &["image2disk:v1"], &pattern(100_000));
    let name = format!("{}/image2disk:v1", site.host.http);
    let fetched = tokio::task::spawn_blocking(move || {
        let containerd = Containerd::start();
        let (done, text) = containerd.ctr(&["content", "fetch", "--plain-http", &name]);
        assert!(done, "{text}");
        containerd.ctr(&["content", "ls"]).1
    });
    let fetched = fetched.await.unwrap();
    for digest in [&image.manifest, &image.layer] {
        assert!(fetched.contains(&digest.to_string()), "{digest} is missing in {fetched}");
    }
    site.host.stop().await;
}
