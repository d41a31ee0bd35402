//! A web server that drops and cuts connections, changes the file, or refuses, and a file as the disk.
#![allow(dead_code)] // each test uses a part

use actions::image2disk::{ImageError, dry_run, run};
use actions::variables::Variables;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

/// What the server does with one request; the last one is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
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
pub struct Server {
    address: SocketAddr,
    file: Bytes,
    script: Arc<Mutex<Vec<Answer>>>,
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    pub fn start(file: Vec<u8>, script: &[Answer]) -> Self {
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

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub fn requests(&self) -> Vec<Option<String>> {
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

/// A partition table, data that does not compress away, and two long runs of zeros. The end is inside of a page.
pub fn image() -> Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(make_image).clone()
}

fn make_image() -> Vec<u8> {
    let mut state = 1u64;
    let mut image: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(SIZE)
    .collect();
    image[446..510].fill(0);
    image[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[1_200_000..1_900_000].fill(0);
    image[2_300_000..2_600_000].fill(0);
    image
}

pub const SIZE: usize = 2_900_480;

pub fn lz4(data: &[u8]) -> Vec<u8> {
    packed_by("lz4", &["-q", "-B4", "-c"], data)
}

pub fn lzma(data: &[u8]) -> Vec<u8> {
    packed_by("xz", &["--format=lzma", "-0", "-c"], data)
}

/// By the program that users have.
pub fn packed_by(program: &str, arguments: &[&str], data: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    std::fs::write(&file, data).unwrap();
    let output = Command::new(program).args(arguments).arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("apt-get install lz4 xz-utils: {error}"));
    assert!(output.status.success(), "{program}");
    output.stdout
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

pub struct Disk {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

pub const DISK: usize = 4 << 20;
pub const OLD: u8 = 0xee;

impl Disk {
    pub fn of(size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, vec![OLD; size]).unwrap();
        Self { _folder: folder, path }
    }

    pub fn write(&self, url: &str, more: &[(&str, &str)]) -> Result<(), String> {
        self.call(url, more, run)
    }

    pub fn dry_run(&self, url: &str, more: &[(&str, &str)]) -> Result<(), String> {
        self.call(url, more, dry_run)
    }

    fn call(&self, url: &str, more: &[(&str, &str)], action: fn(&Variables) -> Result<(), ImageError>) -> Result<(), String> {
        let path = self.path.to_str().unwrap();
        let mut values = vec![("IMG_URL", url), ("DEST_DISK", path), ("PROGRESS_INTERVAL_SECONDS", "0")];
        values.extend(more);
        let values: [(&str, &str); 6] = std::array::from_fn(|at| values.get(at).copied().unwrap_or(("UNUSED", "")));
        action(&Variables::of(values)).map_err(|error| {
            let causes = std::iter::successors(error.source(), |error| (*error).source());
            causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
        })
    }

    pub fn must_hold(&self, image: &[u8], case: &str) {
        let data = std::fs::read(&self.path).unwrap();
        assert!(data.starts_with(image), "{case}: the disk does not hold the image");
        let tail = (data.len() - (2 << 20)).max(image.len());
        assert!(
            data[image.len().max(1 << 20).min(tail)..tail].iter().all(|byte| *byte == OLD),
            "{case}: what lies behind the image was changed"
        );
        assert!(data[tail..].iter().all(|byte| *byte == 0), "{case}: superblocks at the end survive");
    }

    /// Nothing was erased.
    pub fn must_be_untouched(&self, case: &str) {
        let data = std::fs::read(&self.path).unwrap();
        assert!(data == vec![OLD; data.len()], "{case}");
    }

    /// Neither the old system nor the new one boots.
    pub fn must_not_boot(&self, case: &str) {
        let data = std::fs::read(&self.path).unwrap();
        assert!(data[..1 << 20] == vec![0; 1 << 20], "{case}: the first MiB is not erased");
    }
}

pub const NO_RETRY: (&str, &str) = ("RETRY_ENABLED", "false");
