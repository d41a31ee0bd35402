//! HTTP over real sockets, with requests written by hand: clients tidy paths up before they send them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use api::StepKind;
use boots::{Config, Milestone};
use model::Mac;
use support::{Broken, FORBIDDEN, Fixed, Host, KNOWN, LIMIT, machine, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn send(host: &Host, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("no answer in time").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

async fn get(host: &Host, path: &str) -> Answer {
    send(host, "GET", path, &[]).await
}

#[tokio::test]
async fn a_file_is_served_whole_by_range_and_by_head() {
    let mut host = Host::start().await;
    let content = pattern(1_500_000);
    host.file("cloud/vmlinuz", &content);
    let path = "/files/cloud/vmlinuz";
    let whole = get(&host, path).await;
    assert_eq!((whole.status, whole.header("content-length")), (200, Some("1500000")));
    assert!(whole.body == content);
    let done = Milestone::Downloaded { path: "cloud/vmlinuz".to_owned(), bytes: 1_500_000 };
    assert_eq!(host.milestone(done).await.mac, Some(KNOWN), "the address says who it is");
    let head = send(&host, "HEAD", path, &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("1500000"), 0));
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    let etag = whole.header("etag").unwrap();
    for (case, headers, status, range, length) in [
        ("a part", vec![("Range", "bytes=300000-999999")], 206, Some("bytes 300000-999999/1500000"), 700_000),
        ("the end", vec![("Range", "bytes=-5")], 206, Some("bytes 1499995-1499999/1500000"), 5),
        ("beyond", vec![("Range", "bytes=1500000-")], 416, Some("bytes */1500000"), 0),
        ("a part of this version", vec![("Range", "bytes=0-0"), ("If-Range", etag)], 206, Some("bytes 0-0/1500000"), 1),
        ("a part of another version", vec![("Range", "bytes=0-0"), ("If-Range", "\"x\"")], 200, None, 1_500_000),
        ("nothing new", vec![("If-None-Match", etag)], 304, None, 0),
    ] {
        let part = send(&host, "GET", path, &headers).await;
        assert_eq!((part.status, part.header("content-range"), part.body.len()), (status, range, length), "{case}");
    }
    let part = send(&host, "GET", path, &[("Range", "bytes=300000-999999")]).await;
    assert!(part.body == content[300_000..1_000_000]);
    let head = send(&host, "HEAD", path, &[("Range", "bytes=5-9")]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (206, Some("5"), 0));
    host.stop().await;
}

#[tokio::test]
async fn nothing_outside_the_folder_is_served() {
    let host = Host::start().await;
    host.file("empty", b"");
    std::fs::write(host.folder.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", host.folder.path().join("files/link")).unwrap();
    for (path, status) in [
        ("/files/empty", 200),
        ("/files/../secret", 403),
        ("/files/%2e%2e/secret", 403),
        ("/files/%2E%2E%2Fsecret", 403),
        ("/files/..%5csecret", 403),
        ("/files/x/../../secret", 403),
        ("/files//etc/passwd", 403),
        ("/files/%2Fetc%2Fpasswd", 403),
        ("/files/link", 403),
        ("/files/a%00b", 403),
        ("/files/nothing", 404),
        ("/files/", 404),
        ("/ipxe/binary/../../secret", 403),
        ("/ipxe/binary/nothing.efi", 404),
        ("/elsewhere", 404),
    ] {
        let answer = get(&host, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_ne!(answer.body, b"secret", "{path}");
    }
    assert_eq!(send(&host, "POST", "/files/empty", &[]).await.status, 405);
    assert_eq!(send(&host, "PUT", "/files/new", &[]).await.status, 405);
    host.stop().await;
}

#[tokio::test]
async fn scripts_go_to_the_machine_the_path_or_the_address_names() {
    let mut host = Host::start().await;
    for (path, status, text) in [
        ("/ipxe/script/02:00:00:00:00:01/auto.ipxe", 200, "worker_id=02:00:00:00:00:01"),
        ("/ipxe/script/02-00-00-00-00-01/auto.ipxe", 200, "worker_id=02:00:00:00:00:01"),
        ("/ipxe/script/auto.ipxe", 200, "hw_addr=02:00:00:00:00:01"),
        ("/ipxe/script/02:00:00:00:00:02/auto.ipxe", 404, "does not set netboot.allowPXE"),
        ("/ipxe/script/02:00:00:00:00:99/auto.ipxe", 404, "02:00:00:00:00:99 is an unknown machine"),
        ("/ipxe/script/02:00:00:00:00:01/other.ipxe", 404, "only auto.ipxe"),
    ] {
        let answer = get(&host, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    }
    let event =
        host.event(|event| matches!(event.milestone, Milestone::ScriptSent { boot: "install", .. }).then(|| event.clone())).await;
    assert_eq!(event.mac, Some(KNOWN));
    host.stop().await;
    let host = Host::with(Arc::new(Broken)).await;
    let answer = get(&host, "/ipxe/script/02:00:00:00:00:01/auto.ipxe").await;
    assert_eq!(answer.status, 200, "a failed lookup is not an unknown machine");
    let script = String::from_utf8(answer.body).unwrap();
    assert!(script.contains("auto.ipxe?unknown=1 ||"), "{script}");
    host.stop().await;
}

#[tokio::test]
async fn programs_are_served_by_name_below_any_folder() {
    let host = Host::start().await;
    host.nbp("snponly.efi", b"efi");
    let answer = get(&host, "/ipxe/binary/02:00:00:00:00:01/ipxe.efi").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"efi"[..]), "another build stands in");
    let head = send(&host, "HEAD", "/ipxe/binary/ipxe.efi", &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("3")), "EDK2 asks for the length first");
    assert_eq!(get(&host, "/healthz").await.text(), "ok");
    host.stop().await;
}

#[tokio::test]
async fn a_download_that_breaks_off_is_reported() {
    let mut host = Host::start().await;
    host.file("disk.img", &vec![7; 64 << 20]);
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    stream.write_all(b"GET /files/disk.img HTTP/1.1\r\nHost: boots\r\n\r\n").await.unwrap();
    let mut first = [0; 1000];
    stream.read_exact(&mut first).await.unwrap();
    drop(stream);
    let sent = host.event(|event| match event.milestone {
        Milestone::Interrupted { sent, total, .. } => Some((sent, total)),
        _ => None,
    });
    let (sent, total) = sent.await;
    assert!(sent < total && total == 64 << 20, "{sent} of {total}");
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_machine_boots_the_ramdisk_where_machines_are_discovered() {
    let unknown = "/ipxe/script/02:00:00:00:00:99/auto.ipxe";
    for (case, network, path, status, text) in [
        ("on the network", [127, 0, 0, 0], unknown, 200, "worker_id=02:00:00:00:00:99"),
        ("elsewhere", [10, 0, 0, 0], unknown, 404, "is an unknown machine"),
        ("without a MAC", [127, 0, 0, 0], "/ipxe/script/auto.ipxe", 404, "is an unknown machine"),
        ("one that may not", [127, 0, 0, 0], "/ipxe/script/02:00:00:00:00:02/auto.ipxe", 404, "does not set netboot.allowPXE"),
    ] {
        let machines = Fixed(vec![machine(FORBIDDEN)]);
        let discovery = vec![(network.into(), 8)];
        let host = Host::on(Arc::new(machines), |config| Config { discovery, ..config }).await;
        let answer = get(&host, path).await;
        assert_eq!(answer.status, status, "{case}: {}", answer.text());
        assert!(answer.text().contains(text), "{case}: {}", answer.text());
        host.stop().await;
    }
}

#[tokio::test]
async fn an_installed_system_announces_itself_to_a_boots_without_its_server() {
    let broken = Host::with(Arc::new(Broken)).await;
    let host = Host::start().await;
    for (host, path, status) in [
        (&host, "/v1/machines/02:00:00:00:00:01/booted", 204),
        (&host, "/v1/machines/02:00:00:00:00:99/booted", 404),
        (&host, "/v1/machines/nonsense/booted", 404),
        (&broken, "/v1/machines/02:00:00:00:00:01/booted", 503),
    ] {
        let answer = send(host, "POST", path, &[("Content-Length", "0")]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    host.stop().await;
    broken.stop().await;
}

#[tokio::test]
async fn a_download_is_a_step_of_the_boot_only_by_the_names_that_the_boot_has() {
    let host = Host::start().await;
    for (path, kind) in [
        ("packages/linux-image-6.1.0_amd64.deb", StepKind::File),
        ("kernel", StepKind::Kernel),
        ("initramfs.cpio.zst", StepKind::Ramdisk),
        ("pack-raid.cpio.zst", StepKind::Pack),
    ] {
        host.file(path, b"content");
        assert_eq!(get(&host, &format!("/files/{path}")).await.status, 200);
        assert_eq!(host.steps.until(KNOWN, kind).await.file, path);
    }
    host.nbp("snponly.efi", b"program");
    assert_eq!(get(&host, "/ipxe/binary/snponly.efi").await.status, 200);
    assert_eq!(host.steps.until(KNOWN, StepKind::Nbp).await.file, "snponly.efi");
    host.stop().await;
}

#[tokio::test]
async fn a_stranger_that_asks_for_scripts_is_one_step_a_minute_and_a_flood_of_strangers_is_bounded() {
    let host = Host::start().await;
    let (start, script) = (std::time::Instant::now(), |mac: Mac| format!("/ipxe/script/{mac}/auto.ipxe"));
    let stranger = Mac::new([2, 9, 9, 9, 9, 9]);
    for _ in 0..20 {
        assert_eq!(get(&host, &script(stranger)).await.status, 404);
        assert_eq!(get(&host, &script(FORBIDDEN)).await.status, 404);
    }
    assert_eq!(host.steps.of(stranger).len(), 1);
    let most = start.elapsed().as_secs() as usize + 1;
    assert!((1..=most).contains(&host.steps.of(FORBIDDEN).len()), "a known one has a step a second at most");
    let mut steps = 0;
    for number in 0..1500_u16 {
        let [high, low] = number.to_be_bytes();
        let mac = Mac::new([2, 8, 8, 8, high, low]);
        assert_eq!(get(&host, &script(mac)).await.status, 404);
        steps += host.steps.of(mac).len();
    }
    assert!((500..1024).contains(&steps), "{steps}");
    host.stop().await;
}

/// The client of a mirror asks for thousands of files that are not there.
#[tokio::test]
async fn files_that_are_not_there_are_a_bounded_number_of_lines_and_steps() {
    support::keep_log();
    let host = Host::start().await;
    let began = std::time::Instant::now();
    for number in 0..300 {
        assert_eq!(get(&host, &format!("/files/pool/none-{number}.deb")).await.status, 404);
    }
    let most = 4 * (began.elapsed().as_secs() + 2);
    let refused = host.steps.of(KNOWN).iter().filter(|step| step.kind == StepKind::FileRefused).count() as u64;
    let lines = support::count_logged("pool/none-") as u64;
    assert!((1..=most).contains(&refused) && (1..=most).contains(&lines), "{refused} steps, {lines} lines, of {most}");
    host.stop().await;
}
