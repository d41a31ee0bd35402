//! Enough HTTP/1.1 for the lab to call the server and the registry: one request per connection.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const LIMIT: Duration = Duration::from_secs(20);

pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub enum Place {
    Port(SocketAddr),
    Socket(PathBuf),
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Port(address)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => write!(out, "http://{address}"),
            Self::Socket(path) => write!(out, "{}", path.display()),
        }
    }
}

trait Connection: Read + Write {
    /// For the next bytes. `None` waits for ever.
    fn patience(&self, limit: Option<Duration>) -> io::Result<()>;
}

impl Connection for TcpStream {
    fn patience(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }
}

impl Connection for UnixStream {
    fn patience(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }
}

impl Place {
    fn connect(&self) -> Result<Box<dyn Connection>> {
        let connected: io::Result<Box<dyn Connection>> = match self {
            Self::Port(address) => TcpStream::connect_timeout(address, LIMIT).map(|socket| Box::new(socket) as _),
            Self::Socket(path) => connect(path).map(|socket| Box::new(socket) as _),
        };
        connected.with_context(|| format!("cannot connect to {self}"))
    }
}

/// The path may be longer than the address of a socket, so it begins at its folder.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default();
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

pub fn get(to: impl Into<Place>, path: &str) -> Result<Response> {
    request(to, "GET", path, &[], &[])
}

/// Sends one request and reads the whole answer.
pub fn request(to: impl Into<Place>, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    let to = to.into();
    let what = || format!("{method} {path} at {to}");
    let mut reader = send(&to, method, path, headers, body).with_context(what)?;
    let (status, headers) = read_head(&mut reader).with_context(what)?;
    let body = read_body(&mut reader, method, status, &headers).with_context(what)?;
    Ok(Response { status, headers, body })
}

/// Opens an endless answer (the event stream) and calls `line` for each line until it returns false or the stream ends.
pub fn stream(to: impl Into<Place>, path: &str, mut line: impl FnMut(&str) -> bool) -> Result<()> {
    let to = to.into();
    let mut reader = send(&to, "GET", path, &[], &[])?;
    reader.get_ref().patience(None).context("cannot wait without limit")?;
    let (status, headers) = read_head(&mut reader)?;
    if status != 200 {
        bail!("GET {path} at {to} answered {status}");
    }
    let chunked = is_chunked(&headers);
    let mut pending = Vec::new();
    loop {
        let data = if chunked { read_chunk(&mut reader)? } else { reader.fill_buf()?.to_vec() };
        if data.is_empty() {
            return Ok(());
        }
        if !chunked {
            reader.consume(data.len());
        }
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let one: Vec<u8> = pending.drain(..=end).collect();
            if !line(String::from_utf8_lossy(&one).trim_end()) {
                return Ok(());
            }
        }
    }
}

fn send(to: &Place, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<BufReader<Box<dyn Connection>>> {
    let mut socket = to.connect()?;
    socket.patience(Some(LIMIT)).context("cannot set a time limit")?;
    let host = match to {
        Place::Port(address) => address.to_string(),
        Place::Socket(_) => "localhost".to_owned(),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).context("cannot send the request")?;
    socket.write_all(body).context("cannot send the body")?;
    Ok(BufReader::new(socket))
}

fn read_head(reader: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line).context("no answer")?;
    let status = line.split(' ').nth(1).and_then(|code| code.trim().parse().ok());
    let status = status.with_context(|| format!("{line:?} is not an HTTP status line"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).context("the answer's headers ended early")?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_body(reader: &mut impl BufRead, method: &str, status: u16, headers: &[(String, String)]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok(body);
    }
    if is_chunked(headers) {
        loop {
            let chunk = read_chunk(reader)?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
        }
    }
    let length =
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length")).and_then(|(_, value)| value.parse().ok());
    match length {
        Some(length) => {
            reader.take(length).read_to_end(&mut body).context("cannot read the answer")?;
            if body.len() as u64 != length {
                bail!("the answer ended after {} of {length} bytes", body.len());
            }
        }
        None => drop(reader.read_to_end(&mut body).context("cannot read the answer")?),
    }
    Ok(body)
}

fn is_chunked(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked"))
}

pub fn read_chunk(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut line = String::new();
    if reader.read_line(&mut line).context("cannot read the answer")? == 0 {
        return Ok(Vec::new());
    }
    let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16);
    let size = size.with_context(|| format!("{line:?} is not a chunk size"))?;
    let mut data = vec![0; size + 2];
    reader.read_exact(&mut data).context("a chunk ended early")?;
    data.truncate(size);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (u16, Vec<u8>) {
        let mut reader = text.as_bytes();
        let (status, headers) = read_head(&mut reader).unwrap();
        (status, read_body(&mut reader, "GET", status, &headers).unwrap())
    }

    #[test]
    fn bodies_end_by_length_chunks_or_close() {
        for (case, text) in [
            ("length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more"),
            ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
            ("close", "HTTP/1.1 200 OK\r\n\r\nhello"),
        ] {
            assert_eq!(parse(text), (200, b"hello".to_vec()), "{case}");
        }
    }

    #[test]
    fn a_socket_with_a_long_path_is_reached() {
        let folder = std::env::temp_dir().join(format!("thimble-lab-{}-{}", std::process::id(), "x".repeat(120)));
        std::fs::create_dir_all(&folder).unwrap();
        let opened = File::open(&folder).unwrap();
        let short = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join("api.sock");
        let listener = std::os::unix::net::UnixListener::bind(short).unwrap();
        let path = folder.join("api.sock");
        assert!(UnixStream::connect(&path).is_err(), "the path is too long");
        connect(&path).unwrap();
        listener.accept().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_short_body_is_an_error() {
        let mut reader = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello".as_bytes();
        let (status, headers) = read_head(&mut reader).unwrap();
        assert!(read_body(&mut reader, "GET", status, &headers).is_err());
    }
}
