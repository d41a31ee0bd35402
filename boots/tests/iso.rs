//! ISO images with a machine's own kernel arguments, over real sockets: from the files folder, and from a URL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use boots::{Config, FileSource};
use cmdline::PLACEHOLDER;
use support::{Broken, Host, LIMIT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HARDWARE: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1}
spec: {interfaces: [{dhcp: {mac: "02:00:00:00:00:01", ip: {address: 10.0.0.11, netmask: 255.255.255.0}}}]}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m2}
spec: {interfaces: [{dhcp: {mac: "02:00:00:00:00:02"}, isoboot: {sourceISO: "SOURCE"}}]}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m3}
spec: {interfaces: [{dhcp: {mac: "02:00:00:00:00:03", ip: {address: "fd00:77::3", netmask: "ffff:ffff:ffff:ffff::", family: 6}}}]}
"#;
const SIZE: usize = 300_000;

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

async fn ask(host: &Host, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("no answer in time").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut lines = std::str::from_utf8(&answer[..end]).unwrap().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

/// Two placeholders, one of them across the border of what is read at once.
fn image() -> Vec<u8> {
    let mut image = support::pattern(SIZE);
    for place in [5_000, 65_000] {
        image[place..place + PLACEHOLDER.len()].copy_from_slice(PLACEHOLDER.as_bytes());
    }
    image
}

async fn host(source: &str, iso_source: Option<String>) -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("hardware.yaml");
    std::fs::write(&path, HARDWARE.replace("SOURCE", source)).unwrap();
    let machines = Arc::new(FileSource::open(path).unwrap());
    let host = Host::on(machines, |mut config| {
        config.arguments.grpc_authority = Some("127.0.0.1:42113".to_owned());
        config.arguments.syslog_host = Some("127.0.0.1".to_owned());
        Config { iso_source, address6: Some("fd00:77::1".parse().unwrap()), ..config }
    });
    (host.await, folder)
}

#[tokio::test]
async fn an_image_has_the_arguments_of_its_machine_in_every_range() {
    let (host, _folder) = host("", None).await;
    let source = image();
    host.file("hook.iso", &source);
    let path = "/iso/02:00:00:00:00:01/hook.iso";
    let whole = ask(&host, "GET", path, &[]).await;
    assert_eq!((whole.status, whole.headers["content-length"].as_str(), whole.body.len()), (200, "300000", SIZE));
    assert_eq!(&whole.body[..5_000], &source[..5_000]);
    assert_eq!(&whole.body[66_024..], &source[66_024..]);
    assert_eq!(whole.body[5_000..6_024], whole.body[65_000..66_024]);
    let text = std::str::from_utf8(&whole.body[5_000..6_024]).unwrap();
    for word in ["worker_id=02:00:00:00:00:01", "grpc_authority=127.0.0.1:42113", "ipam=02-00-00-00-00-01::10.0.0.11:"] {
        assert!(text.contains(word), "{word} is not in {}", text.trim_end());
    }
    let etag = whole.headers["etag"].as_str();
    for (first, last) in
        [(0, 0), (4_999, 5_000), (5_500, 5_501), (6_023, 6_024), (65_535, 65_536), (66_000, 200_000), (299_999, 299_999)]
    {
        let range = format!("bytes={first}-{last}");
        let part = ask(&host, "GET", path, &[("Range", &range), ("If-Range", etag)]).await;
        assert_eq!((part.status, part.headers["content-range"].as_str()), (206, format!("bytes {first}-{last}/300000").as_str()));
        assert!(part.body == whole.body[first..=last], "{range}");
    }
    let suffix = ask(&host, "GET", path, &[("Range", "bytes=-7")]).await;
    assert!(suffix.status == 206 && suffix.body == whole.body[SIZE - 7..]);
    let head = ask(&host, "HEAD", path, &[("Range", "bytes=5-9")]).await;
    assert_eq!((head.status, head.headers["content-length"].as_str(), head.body.len()), (206, "5", 0));
    assert_eq!(ask(&host, "GET", path, &[("If-None-Match", etag)]).await.status, 304);
    assert_eq!(ask(&host, "GET", path, &[("Range", "bytes=300000-")]).await.status, 416);
    let other = ask(&host, "GET", "/iso/a/02-00-00-00-00-01/hook.iso", &[]).await;
    assert_eq!(
        (other.headers["etag"].as_str(), other.body.len()),
        (etag, SIZE),
        "another notation, and folders as smee takes them"
    );
    host.stop().await;
}

#[tokio::test]
async fn a_machine_with_ipv6_only_is_told_an_address_that_it_reaches() {
    let (host, _folder) = host("", None).await;
    host.file("hook.iso", &image());
    let whole = ask(&host, "GET", "/iso/02:00:00:00:00:03/hook.iso", &[]).await;
    let text = std::str::from_utf8(&whole.body[5_000..6_024]).unwrap();
    for word in ["grpc_authority=[fd00:77::1]:42113", "syslog_host=fd00:77::1", "worker_id=02:00:00:00:00:03"] {
        assert!(text.split(' ').any(|found| found == word), "{word} is not in {}", text.trim_end());
    }
    host.stop().await;
}

#[tokio::test]
async fn only_images_of_the_operator_are_served_and_only_to_machines() {
    let (host, _folder) = host("file:///etc/passwd", None).await;
    host.file("plain.iso", &support::pattern(3_000_000));
    host.file("short.iso", b"");
    host.file("kernel", PLACEHOLDER.as_bytes());
    std::fs::write(host.folder.path().join("secret.iso"), image()).unwrap();
    for (path, status, words) in [
        ("/iso/02:00:00:00:00:01/gone.iso", 404, "there is no \"gone.iso\" in the files folder"),
        ("/iso/02:00:00:00:00:99/plain.iso", 404, "unknown machine"),
        ("/iso/02:00:00:00:00:01/kernel", 404, "does not end in .iso"),
        ("/iso/02:00:00:00:00:01/.iso", 404, "does not end in .iso"),
        ("/iso/plain.iso", 400, "/iso/MAC/NAME.iso"),
        ("/iso/02:00:00:00:00:01/../secret.iso", 400, "/iso/MAC/NAME.iso"),
        ("/iso/02:00:00:00:00:01/..%2Fsecret.iso", 400, "/iso/MAC/NAME.iso"),
        ("/iso/http:%2F%2F10.0.0.1%2F02:00:00:00:00:01/x.iso", 404, "in the files folder"),
        ("/iso/02:00:00:00:00:01/plain.iso", 422, "has no placeholder"),
        ("/iso/02:00:00:00:00:01/short.iso", 422, "has no placeholder"),
        ("/iso/02:00:00:00:00:02/plain.iso", 502, "the source of the image cannot be read"),
    ] {
        let answer = ask(&host, "GET", path, &[]).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == status && text.contains(words), "{path}: {} {text}", answer.status);
    }
    host.stop().await;
    let broken = Host::with(Arc::new(Broken)).await;
    assert_eq!(ask(&broken, "GET", "/iso/02:00:00:00:00:01/x.iso", &[]).await.status, 503);
    broken.stop().await;
}

#[tokio::test]
async fn an_image_at_a_url_is_changed_on_its_way() {
    let (upstream, _folder) = host("", None).await;
    upstream.file("hook.iso", &image());
    let url = format!("http://{}/files/hook.iso", upstream.http);
    let (host, _folder) = host(&url, Some(format!("http://{}/files/gone.iso", upstream.http))).await;
    let path = "/iso/02:00:00:00:00:02/any-name.iso";
    let whole = ask(&host, "GET", path, &[]).await;
    assert_eq!((whole.status, whole.body.len()), (200, SIZE));
    let text = std::str::from_utf8(&whole.body[65_000..66_024]).unwrap();
    assert!(text.contains("worker_id=02:00:00:00:00:02") && !text.contains(&PLACEHOLDER[..16]), "{}", text.trim_end());
    for (first, last) in [(0, 99), (5_100, 5_200), (64_000, 65_500), (65_999, 70_000), (299_000, 299_999)] {
        let part = ask(&host, "GET", path, &[("Range", &format!("bytes={first}-{last}"))]).await;
        assert!(part.status == 206 && part.body == whole.body[first..=last], "{first}-{last}: {}", part.status);
    }
    let head = ask(&host, "HEAD", path, &[]).await;
    assert_eq!((head.status, head.headers["content-length"].as_str()), (200, "300000"));
    let answer = ask(&host, "GET", "/iso/02:00:00:00:00:01/any-name.iso", &[]).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 502 && text.contains("the source of the image cannot be read") && !text.contains("http"), "{text}");
    host.stop().await;
    upstream.stop().await;
}
