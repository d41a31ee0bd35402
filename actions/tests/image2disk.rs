//! image2disk onto a regular file, from a web server that drops and cuts connections, changes the file, or refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use actions::image2disk::run;
use actions::variables::Variables;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What the server does with one request; the last one is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Whole,
    /// Sends the requested part, as a file server does.
    Part,
    /// Breaks the connection after this many bytes of the answer.
    Drop(usize),
    /// Like `Drop`, but without a length, so that the client cannot know.
    DropUnsized(usize),
    Unsized,
    /// Ends properly after this many bytes, as a file that was cut.
    Short(usize),
    Changed,
    Status(u16),
}

#[derive(Clone)]
struct Server {
    address: SocketAddr,
    file: Bytes,
    script: Arc<Mutex<Vec<Answer>>>,
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    fn start(file: Vec<u8>, script: &[Answer]) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            file: file.into(),
            script: Arc::new(Mutex::new(script.to_vec())),
            ranges: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await })
        });
        server
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    fn requests(&self) -> Vec<Option<String>> {
        self.ranges.lock().unwrap().clone()
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap) -> Response<Body> {
    let range = headers.get(header::RANGE).map(|value| value.to_str().unwrap().to_owned());
    server.ranges.lock().unwrap().push(range.clone());
    let next = {
        let mut script = server.script.lock().unwrap();
        if script.len() > 1 { script.remove(0) } else { script[0] }
    };
    let start: usize = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let response = Response::builder().header(header::ETAG, if next == Answer::Changed { "\"2\"" } else { "\"1\"" });
    let total = server.file.len();
    let part = |start: usize| {
        if start == 0 {
            return response_of(StatusCode::OK, None);
        }
        response_of(StatusCode::PARTIAL_CONTENT, Some(format!("bytes {start}-{}/{total}", total - 1)))
    };
    fn response_of(status: StatusCode, range: Option<String>) -> (StatusCode, Option<String>) {
        (status, range)
    }
    let (status, content_range, body, length) = match next {
        Answer::Whole => (StatusCode::OK, None, Body::from(server.file.clone()), Some(total)),
        Answer::Unsized => (StatusCode::OK, None, pieces(server.file.clone(), false), None),
        Answer::Part | Answer::Changed => {
            let (status, range) = part(start);
            (status, range, Body::from(server.file.slice(start..)), Some(total - start))
        }
        Answer::Drop(after) => {
            let (status, range) = part(start);
            (status, range, pieces(server.file.slice(start..start + after), true), Some(total - start))
        }
        Answer::DropUnsized(after) => (StatusCode::OK, None, pieces(server.file.slice(..after), true), None),
        Answer::Short(length) => (StatusCode::OK, None, Body::from(server.file.slice(..length)), Some(length)),
        Answer::Status(code) => (StatusCode::from_u16(code).unwrap(), None, Body::from("sorry"), None),
    };
    let mut response = response.status(status);
    if let Some(range) = content_range {
        response = response.header(header::CONTENT_RANGE, range);
    }
    if let Some(length) = length {
        response = response.header(header::CONTENT_LENGTH, length);
    }
    response.body(body).unwrap()
}

/// The data in pieces, and then the end or a broken connection.
fn pieces(data: Bytes, broken: bool) -> Body {
    let mut items: Vec<io::Result<Bytes>> = data.chunks(8192).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    if broken {
        items.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    Body::from_stream(stream::iter(items))
}

/// Data that does not compress away, with two long runs of zeros, and an end inside of a sector.
fn image() -> Vec<u8> {
    let mut state = 1u64;
    let mut image: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(2_900_001)
    .collect();
    image[1_200_000..1_900_000].fill(0);
    image[2_300_000..2_600_000].fill(0);
    image
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

const DISK: usize = 4 << 20;
const OLD: u8 = 0xee;

impl Disk {
    fn of(size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, vec![OLD; size]).unwrap();
        Self { _folder: folder, path }
    }

    fn write(&self, url: &str, more: &[(&str, &str)]) -> Result<(), String> {
        let path = self.path.to_str().unwrap();
        let mut values = vec![("IMG_URL", url), ("DEST_DISK", path), ("PROGRESS_INTERVAL_SECONDS", "0")];
        values.extend(more);
        let values: [(&str, &str); 6] = std::array::from_fn(|at| values.get(at).copied().unwrap_or(("UNUSED", "")));
        run(&Variables::of(values)).map_err(|error| {
            let causes = std::iter::successors(error.source(), |error| (*error).source());
            causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
        })
    }

    fn must_hold(&self, image: &[u8], case: &str) {
        let data = std::fs::read(&self.path).unwrap();
        assert!(data.starts_with(image), "{case}: the disk does not hold the image");
        assert!(data[image.len()..].iter().all(|byte| *byte == OLD), "{case}: what lies behind the image was changed");
    }

    /// Nothing was erased.
    fn must_be_untouched(&self, case: &str) {
        assert!(std::fs::read(&self.path).unwrap().iter().all(|byte| *byte == OLD), "{case}");
    }

    /// Neither the old system nor the new one boots.
    fn must_not_boot(&self, case: &str) {
        let data = std::fs::read(&self.path).unwrap();
        assert!(data[..1 << 20].iter().all(|byte| *byte == 0), "{case}: the first MiB is not erased");
    }
}

const NO_RETRY: (&str, &str) = ("RETRY_ENABLED", "false");

#[test]
fn every_format_arrives_as_the_image_it_was() {
    for (name, packed) in [
        ("disk.img", image()),
        ("disk.img.gz", gzip(&image())),
        ("disk.img.bz2", bzip2(&image())),
        ("disk.img.xz", xz(&image())),
        ("disk.img.zst?token=x", zstd(&image())),
        ("without-suffix", zstd(&image())),
    ] {
        for answer in [Answer::Whole, Answer::Unsized] {
            let (server, disk) = (Server::start(packed.clone(), &[answer]), Disk::of(DISK));
            disk.write(&server.url(name), &[NO_RETRY]).unwrap_or_else(|error| panic!("{name} {answer:?}: {error}"));
            disk.must_hold(&image(), name);
        }
    }
}

#[test]
fn members_and_frames_in_a_row_are_one_image() {
    let (one, two) = (image()[..1_500_000].to_vec(), image()[1_500_000..].to_vec());
    for (name, pack) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("bz2", bzip2), ("xz", xz), ("zst", zstd)] {
        let packed = [pack(&one), pack(&two)].concat();
        let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(DISK));
        disk.write(&server.url(name), &[NO_RETRY]).unwrap_or_else(|error| panic!("{name}: {error}"));
        disk.must_hold(&image(), name);
    }
}

#[test]
fn a_file_is_an_image_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.zst");
    std::fs::write(&path, zstd(&image())).unwrap();
    for url in [path.display().to_string(), format!("file://{}", path.display())] {
        let disk = Disk::of(DISK);
        disk.write(&url, &[]).unwrap();
        disk.must_hold(&image(), &url);
    }
}

#[test]
fn a_dropped_connection_is_continued_where_it_stopped() {
    let packed = zstd(&image());
    let script = [Answer::Drop(900_000), Answer::Drop(700_000), Answer::Status(503), Answer::Part];
    let (server, disk) = (Server::start(packed, &script), Disk::of(DISK));
    disk.write(&server.url("disk.zst"), &[]).unwrap();
    disk.must_hold(&image(), "continued");
    let ranges = server.requests();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    let starts: Vec<u64> =
        ranges[1..].iter().map(|range| range.as_ref().unwrap()[6..].trim_end_matches('-').parse().unwrap()).collect();
    assert!(starts[0] <= 900_000 && starts[0] > 0 && starts[1] > starts[0] && starts[2] == starts[1], "{starts:?}");
}

#[test]
fn without_ranges_or_with_another_file_the_write_starts_again() {
    for (case, second) in [("no ranges", Answer::Whole), ("another file", Answer::Changed), ("shorter", Answer::Status(416))] {
        let script = [Answer::Drop(1_900_000), second, Answer::Whole];
        let (server, disk) = (Server::start(image(), &script), Disk::of(DISK));
        disk.write(&server.url("disk.img"), &[]).unwrap_or_else(|error| panic!("{case}: {error}"));
        disk.must_hold(&image(), case);
        assert_eq!(server.requests().len(), 3, "{case}");
        assert_eq!(server.requests()[2], None, "{case}: from the beginning");
    }
}

#[test]
fn a_download_that_ends_early_is_a_failure_and_does_not_boot() {
    for (case, name, packed, answer, expected) in [
        ("a dropped raw image", "d.img", image(), Answer::Drop(1_900_000), "of 2900001"),
        ("a dropped image of unknown length", "d.img", image(), Answer::DropUnsized(1_900_000), "ended after"),
        ("a cut zstd file", "d.zst", zstd(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut gzip file", "d.gz", gzip(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut bzip2 file", "d.bz2", bzip2(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut xz file", "d.xz", xz(&image()), Answer::Short(1_500_000), "does not decode"),
    ] {
        let (server, disk) = (Server::start(packed, &[answer]), Disk::of(DISK));
        let error = disk.write(&server.url(name), &[NO_RETRY]).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
        disk.must_not_boot(case);
    }
}

#[test]
fn the_disks_old_content_survives_an_image_that_cannot_be_had() {
    for (case, answer, name, expected) in [
        ("not found", Answer::Status(404), "d.img", "the server answers 404"),
        ("server error", Answer::Status(500), "d.img", "answers 500"),
        ("an error page", Answer::Short(20), "d.img.zst", "its name says zstd, but its first bytes do not"),
        ("an empty file", Answer::Short(0), "d.img", "is empty"),
    ] {
        let file = if case == "an empty file" { Vec::new() } else { vec![b'<'; 100] };
        let (server, disk) = (Server::start(file, &[answer]), Disk::of(DISK));
        let error = disk.write(&server.url(name), &[NO_RETRY]).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
        if answer != Answer::Short(0) {
            disk.must_be_untouched(case);
        }
    }
}

#[test]
fn an_image_larger_than_the_disk_is_refused_with_both_numbers() {
    for (case, name, packed, erased) in [
        ("raw, known by its length", "d.img", image(), false),
        ("zstd, known by its header", "d.zst", zstd_sized(&image()), false),
        ("gzip, seen when it comes", "d.gz", gzip(&image()), true),
    ] {
        let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(2 << 20));
        let error = disk.write(&server.url(name), &[]).expect_err(case);
        assert!(error.contains("DEST_DISK") && error.contains("2097152"), "{case}: {error}");
        if erased {
            assert!(error.contains("at least"), "{case}: {error}");
            disk.must_not_boot(case);
        } else {
            assert!(error.contains("2900001"), "{case}: {error}");
            disk.must_be_untouched(case);
        }
    }
}

fn zstd_sized(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).unwrap()
}

#[test]
fn a_checksum_is_over_what_was_downloaded() {
    let packed = zstd(&image());
    let right = hex::encode(Sha256::digest(&packed));
    let script = [Answer::Drop(900_000), Answer::Part];
    let (server, disk) = (Server::start(packed.clone(), &script), Disk::of(DISK));
    disk.write(&server.url("d.zst"), &[("IMG_SHA256", &right)]).unwrap();
    disk.must_hold(&image(), "right, over a dropped connection");

    let wrong = "0".repeat(64);
    let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(DISK));
    let error = disk.write(&server.url("d.zst"), &[("IMG_SHA256", &wrong)]).unwrap_err();
    assert!(error.contains(&wrong) && error.contains(&right), "{error}");
    disk.must_not_boot("wrong");
}

#[test]
fn a_server_that_is_down_is_named() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let disk = Disk::of(DISK);
    let error = disk.write(&format!("http://127.0.0.1:{port}/d.img"), &[NO_RETRY]).unwrap_err();
    assert!(error.contains(&format!("cannot reach http://127.0.0.1:{port}/d.img")), "{error}");
    disk.must_be_untouched("down");
}
