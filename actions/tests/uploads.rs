//! What `capture`, `slurp` and `inventory` send to a web server, and `verify` of what was installed from there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use actions::variables::Variables;
use actions::{ActionError, capture, cloud_init, image2disk, inventory, slurp, verify};
use machine::Chain;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Default)]
struct Request {
    method: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Keeps what is sent, and serves it.
struct Server {
    address: String,
    files: Arc<Mutex<BTreeMap<String, Request>>>,
}

impl Server {
    fn start(refuse: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let files = Arc::<Mutex<BTreeMap<String, Request>>>::default();
        let kept = files.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                answer(connection, &kept, refuse);
            }
        });
        Self { address, files }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn got(&self, path: &str) -> Request {
        self.files.lock().unwrap().get(path).cloned().unwrap_or_else(|| panic!("nothing was sent to {path}"))
    }
}

fn answer(mut connection: TcpStream, files: &Mutex<BTreeMap<String, Request>>, refuse: bool) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let line = |reader: &mut BufReader<TcpStream>| {
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        text.trim_end().to_owned()
    };
    let first = line(&mut reader);
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next().map(str::to_owned), words.next().map(str::to_owned)) else { return };
    let mut request = Request { method, ..Request::default() };
    loop {
        let header = line(&mut reader);
        let Some((name, value)) = header.split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if let Some(length) = request.headers.get("content-length") {
        request.body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut request.body).unwrap();
    } else if request.headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let length = usize::from_str_radix(&line(&mut reader), 16).unwrap();
            let mut chunk = vec![0; length];
            reader.read_exact(&mut chunk).unwrap();
            line(&mut reader);
            if length == 0 {
                break;
            }
            request.body.extend(chunk);
        }
    }
    let mut files = files.lock().unwrap();
    let (status, body) = match (request.method.as_str(), files.get(&path)) {
        ("GET", Some(file)) => ("200 OK", file.body.clone()),
        ("GET", None) => ("404 Not Found", Vec::new()),
        _ if refuse => ("507 Insufficient Storage", Vec::new()),
        _ => ("201 Created", Vec::new()),
    };
    if request.method != "GET" {
        files.insert(path, request);
    }
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body)); // a client may have ended
}

/// In memory if possible: each installation waits for the disk several times.
fn folder() -> tempfile::TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() }.unwrap()
}

fn disk(folder: &Path) -> PathBuf {
    let mut data = vec![0; 7 << 20];
    data[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    data[510..512].copy_from_slice(&[0x55, 0xaa]);
    (1u32..).zip(data[2 << 20..3 << 20].chunks_mut(4)).for_each(|(number, word)| word.copy_from_slice(&number.to_le_bytes()));
    let path = folder.join("disk");
    std::fs::write(&path, data).unwrap();
    path
}

fn cause(error: impl Into<ActionError>) -> String {
    Chain(&error.into()).to_string()
}

#[test]
fn an_image_that_was_sent_installs_from_there_and_is_verified() {
    let folder = folder();
    let (disk, server) = (disk(folder.path()), Server::start(false));
    for name in ["/a.raw.zst", "/a.qcow2"] {
        let url = server.url(name);
        let all = [("SOURCE_DISK", disk.to_str().unwrap()), ("DEST_URL", &url)];
        capture::run(&Variables::of(all)).unwrap_or_else(|error| panic!("{}", cause(error)));
        let image = server.got(name);
        assert_eq!((image.method.as_str(), image.headers["transfer-encoding"].as_str()), ("PUT", "chunked"));
        let sum = hex::encode(Sha256::digest(&image.body));
        let list = String::from_utf8(server.got(&format!("{name}.sha256")).body).unwrap();
        assert_eq!(list, format!("{sum}  {}\n", &name[1..]));

        // Onto a larger disk.
        let target = folder.path().join("target");
        std::fs::write(&target, vec![9; 10 << 20]).unwrap();
        let checksum = server.url(&format!("{name}.sha256"));
        let all = [("IMG_URL", url.as_str()), ("DEST_DISK", target.to_str().unwrap()), ("IMG_CHECKSUM", &checksum)];
        let install = Variables::of(all);
        assert!(cause(verify::run(&install).unwrap_err()).contains("differs from the image at byte"));
        image2disk::run(&install).unwrap();
        verify::run(&install).unwrap_or_else(|error| panic!("{}", cause(error)));
        let mut data = std::fs::read(&target).unwrap();
        assert!(data.starts_with(&std::fs::read(&disk).unwrap()));
        for at in [0, 100, 2_500_000, (7 << 20) - 1] {
            data[at] ^= 1;
            std::fs::write(&target, &data).unwrap();
            let error = cause(verify::run(&install).unwrap_err());
            assert!(error.contains(&format!("differs from the image at byte {at}:")), "{error}");
            assert!(std::fs::read(&target).unwrap() == data, "nothing is written");
            data[at] ^= 1;
        }
    }
}

#[test]
fn a_partition_table_that_was_adapted_is_no_difference() {
    let folder = folder();
    let (disk, target) = (folder.path().join("disk"), folder.path().join("target"));
    std::fs::File::create(&disk).unwrap().set_len(6 << 20).unwrap();
    let child = std::process::Command::new("sfdisk").arg("-q").arg(&disk).stdin(std::process::Stdio::piped()).spawn();
    let Ok(mut child) = child else { return eprintln!("SKIPPED: sfdisk: apt-get install fdisk") };
    child.stdin.take().unwrap().write_all(b"label: gpt\nstart=2048,size=2048\n").unwrap();
    assert!(child.wait().unwrap().success());
    // As a part of a larger disk, whose end the image has, too.
    for (image, size) in [(6 << 20, 9 << 20), (9 << 20, 9 << 20)] {
        std::fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(image).unwrap();
        std::fs::write(&target, vec![9; size]).unwrap();
        let install = Variables::of([("IMG_URL", disk.to_str().unwrap()), ("DEST_DISK", target.to_str().unwrap())]);
        image2disk::run(&install).unwrap();
        verify::run(&install).unwrap_or_else(|error| panic!("{image}: {}", cause(error)));
        let mut data = std::fs::read(&target).unwrap();
        data[size - 600] ^= 1; // in the backup of GPT
        std::fs::write(&target, &data).unwrap();
        assert!(cause(verify::run(&install).unwrap_err()).contains(&format!("at byte {}:", size - 600)));
    }
}

#[test]
fn slurp_sends_the_form_of_upstreams_action() {
    let folder = folder();
    let (disk, server) = (disk(folder.path()), Server::start(false));
    let content = std::fs::read(&disk).unwrap();
    for (compressed, file) in [("false", "web.img"), ("true", "web.img.gz")] {
        let url = server.url("/image");
        let all = [("SOURCE_DISK", disk.to_str().unwrap()), ("DEST_URL", &url), ("IMG_NAME", "web"), ("COMPRESSED", compressed)];
        slurp::run(&Variables::of(all)).unwrap_or_else(|error| panic!("{}", cause(error)));
        let request = server.got("/image");
        assert_eq!(request.method, "POST");
        let boundary = request.headers["content-type"].strip_prefix("multipart/form-data; boundary=").unwrap();
        let blank = request.body.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&request.body[..blank]).into_owned();
        assert!(head.starts_with(&format!("--{boundary}\r\n")), "{head}");
        assert!(head.contains(&format!("form-data; name=\"BootyImage\"; filename=\"{file}\"")), "{head}");
        let tail = format!("\r\n--{boundary}--\r\n");
        let sent = request.body[blank + 4..].strip_suffix(tail.as_bytes()).unwrap();
        if compressed == "true" {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(sent).read_to_end(&mut plain).unwrap();
            assert!(plain == content && sent.len() < content.len());
        } else {
            assert!(sent == content);
        }
    }
    let place = format!("{}/", folder.path().display());
    slurp::run(&Variables::of([("SOURCE_DISK", disk.to_str().unwrap()), ("DEST_URL", &place), ("IMG_NAME", "b")])).unwrap();
    assert!(std::fs::read(folder.path().join("b.img")).unwrap() == content);
}

#[test]
fn a_server_that_refuses_fails_the_action() {
    let folder = folder();
    let (disk, server) = (disk(folder.path()), Server::start(true));
    let (url, disk) = (server.url("/a.zst"), disk.to_str().unwrap());
    let variables = Variables::of([("SOURCE_DISK", disk), ("DEST_URL", &url), ("IMG_NAME", "a")]);
    for error in [
        cause(capture::run(&variables).unwrap_err()),
        cause(slurp::run(&variables).unwrap_err()),
        cause(inventory::run(&variables).unwrap_err()),
    ] {
        assert!(error.contains("refuses the upload: it answers 507"), "{error}");
    }
    let nobody = Variables::of([("SOURCE_DISK", disk), ("DEST_URL", "http://127.0.0.1:1/a"), ("IMG_NAME", "a")]);
    assert!(cause(capture::run(&nobody).unwrap_err()).contains("cannot send to http://127.0.0.1:1/a: "));
}

#[test]
fn an_inventory_is_sent_as_json() {
    let server = Server::start(false);
    inventory::run(&Variables::of([("DEST_URL", &server.url("/machines/1"))])).unwrap();
    let request = server.got("/machines/1");
    let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert!(request.method == "PUT" && json["memory"]["bytes"].as_u64() > Some(0));
}

#[test]
fn data_for_cloud_init_is_fetched_before_the_disk_is_looked_for() {
    let server = Server::start(false);
    let dry = || {
        let url = server.url("");
        let all = [("DEST_DISK", "/dev/null"), ("FS_TYPE", "ext4"), ("METADATA_URL", url.as_str())];
        cloud_init::dry_run(&Variables::of(all)).map_err(cause)
    };
    assert!(dry().unwrap_err().contains("/meta-data: the server answers 404"));
    server
        .files
        .lock()
        .unwrap()
        .insert("/meta-data".to_owned(), Request { body: b"instance-id: 1\n".to_vec(), ..Request::default() });
    assert_eq!(dry(), Ok(()), "the other files need not be there");
}
