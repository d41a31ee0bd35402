//! HTTP/1.1 for one machine: requests one after the other on one connection, whose bodies are counted and dropped.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// What the agent says to a registry, which shows a manifest of OCI only to those that name it.
const AGENT: &str = "User-Agent: thimble\r\nAccept: application/vnd.oci.image.manifest.v1+json";
/// Without a byte for so long, a client gives up.
const SILENT: Duration = Duration::from_secs(20);
const LONGEST_HEAD: usize = 16 << 10;
/// The longest text that a machine reads: a script or a manifest.
const TEXT: u64 = 1 << 20;
/// What is taken from a socket at once.
const PIECE: usize = 256 << 10;
/// Of a slow link: small, so that the server sees that it is slow.
const SLOW_WINDOW: usize = 16 << 10;

thread_local! {
    static DROPPED: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// The network of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub address: Ipv4Addr,
    /// Bytes a second, if it is slow.
    pub rate: Option<u32>,
    /// Its power will be cut, so its sockets are kept for that.
    pub is_cut: bool,
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    server: SocketAddrV4,
    rate: Option<u32>,
}

/// What a request has brought.
#[derive(Debug, Default)]
pub struct Answer {
    pub text: String,
    pub bytes: u64,
    /// Of a text: from its request until the machine's kernel had its last byte. When the simulator reads it is another matter.
    pub took: Duration,
}

struct Head {
    status: u16,
    /// Of the body.
    length: u64,
    /// What came of the body with it.
    rest: Vec<u8>,
    arrived: SystemTime,
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// `http://ADDRESS:PORT/PATH`.
pub fn parts(url: &str) -> io::Result<(SocketAddrV4, &str)> {
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("a URL that is not http://"))?;
    let (authority, path) = rest.split_once('/').ok_or_else(|| bad("a URL without a path"))?;
    let server = authority.parse().map_err(|_| bad("a URL whose host is not ADDRESS:PORT"))?;
    Ok((server, path))
}

/// A TCP connection from a machine's address. `Link` also gives the size of its window.
pub async fn connect(link: Link, server: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if link.rate.is_some() {
        socket.set_recv_buffer_size(u32::try_from(SLOW_WINDOW).unwrap_or(u32::MAX))?;
    }
    socket.bind(SocketAddr::from((link.address, 0)))?;
    let stream = timeout(SILENT, socket.connect(server.into())).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    pub async fn open(link: Link, server: SocketAddrV4) -> io::Result<Self> {
        let stream = connect(link, server).await?;
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { stream, server, rate: link.rate })
    }

    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    pub const fn server(&self) -> SocketAddrV4 {
        self.server
    }

    /// With `wants_text` the body is returned, else it is counted.
    pub async fn get(&mut self, path: &str, wants_text: bool) -> io::Result<Answer> {
        let who = match path.starts_with("v2/") {
            true => AGENT,
            false => "User-Agent: iPXE/1.21.1",
        };
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {}\r\n{who}\r\nConnection: keep-alive\r\n\r\n", self.server);
        let asked = SystemTime::now();
        self.stream.write_all(request.as_bytes()).await?;
        let Head { status, length, rest: mut text, mut arrived } = self.head().await?;
        if status != 200 {
            return Err(bad(format!("HTTP status {status}")));
        }
        let mut left = length.checked_sub(text.len() as u64).ok_or_else(|| bad("more than the announced body"))?;
        if wants_text {
            if length > TEXT {
                return Err(bad("a text that is too long"));
            }
            while (text.len() as u64) < length {
                arrived = self.take_some(&mut text).await?;
            }
            let took = arrived.duration_since(asked).unwrap_or_default();
            return Ok(Answer { text: String::from_utf8_lossy(&text).into_owned(), bytes: length, took });
        }
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(if self.rate.is_some() { SLOW_WINDOW } else { PIECE });
            let taken = self.drop_some(most).await?;
            left -= taken as u64;
            if let Some(rate) = self.rate {
                sleep(Duration::from_secs_f64(taken as f64 / f64::from(rate))).await;
            }
        }
        Ok(Answer { bytes: length, ..Answer::default() })
    }

    /// The kernel drops the bytes without a copy.
    async fn drop_some(&self, most: usize) -> io::Result<usize> {
        let take = || {
            DROPPED.with_borrow_mut(|buffer| {
                let buffer = buffer.get_mut(..most).unwrap_or_default();
                Ok(recv(&self.stream, buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT)?.1)
            })
        };
        match in_time(self.stream.async_io(Interest::READABLE, take)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            taken => Ok(taken),
        }
    }

    /// Reads what has come. Returns when it came, by the kernel.
    async fn take_some(&self, read: &mut Vec<u8>) -> io::Result<SystemTime> {
        let take = || {
            let (mut buffer, mut space) = ([0; 4096], nix::cmsg_space!(TimeSpec));
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let got = recvmsg::<SockaddrIn>(self.stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
            let noted = got.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => Some(SystemTime::UNIX_EPOCH + Duration::from(at)),
                _ => None,
            });
            let taken = got.bytes;
            read.extend_from_slice(buffer.get(..taken).unwrap_or_default());
            Ok((taken, noted.unwrap_or_else(SystemTime::now)))
        };
        match in_time(self.stream.async_io(Interest::READABLE, take)).await? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (_, at) => Ok(at),
        }
    }

    async fn head(&mut self) -> io::Result<Head> {
        let mut read = Vec::with_capacity(1024);
        loop {
            let arrived = self.take_some(&mut read).await?;
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&read).map_err(|error| bad(error.to_string()))?;
            if let httparse::Status::Complete(end) = parsed {
                let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
                let status = response.code.unwrap_or(0);
                let length = length.ok_or_else(|| bad("an answer without a length"))?;
                return Ok(Head { status, length, rest: read.split_off(end), arrived });
            }
            if read.len() > LONGEST_HEAD {
                return Err(bad("a head that is too long"));
            }
        }
    }
}

async fn in_time<T>(reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(SILENT, reading).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    const LINK: Link = Link { address: Ipv4Addr::LOCALHOST, rate: None, is_cut: false };

    /// A server that answers each request on one connection with these bytes.
    async fn server(answers: Vec<Vec<u8>>) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.unwrap() == 0 {
                    return;
                }
                stream.write_all(&answer).await.unwrap();
            }
        });
        address
    }

    fn answer(body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn texts_are_read_and_bodies_are_counted_on_one_connection() {
        let large = vec![7; 3_000_000];
        let server = server(vec![answer(b"#!ipxe"), answer(&large), answer(b"")]).await;
        let mut connection = Connection::open(LINK, server).await.unwrap();
        assert_eq!(connection.get("a", true).await.unwrap().text, "#!ipxe");
        assert_eq!(connection.get("b", false).await.unwrap().bytes, 3_000_000);
        assert_eq!(connection.get("c", false).await.unwrap().bytes, 0);
        assert_eq!(connection.get("d", false).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn an_error_and_a_body_that_ends_early_are_failures() {
        for (bytes, said) in [
            (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec(), "HTTP status 503"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec(), "unexpected end"),
            (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "without a length"),
            (b"nonsense\r\n\r\n".to_vec(), "invalid HTTP version"),
        ] {
            let mut connection = Connection::open(LINK, server(vec![bytes]).await).await.unwrap();
            let error = connection.get("a", false).await.unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[tokio::test]
    async fn the_time_of_a_text_ends_when_it_arrives_and_not_when_it_is_read() {
        let busy = Duration::from_secs(2);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(&answer(b"#!ipxe")).unwrap();
        });
        let mut connection = Connection::open(LINK, address).await.unwrap();
        // The second one keeps this thread, so nothing is read meanwhile.
        let (answered, ()) = tokio::join!(connection.get("a", true), async { std::thread::sleep(busy) });
        assert!(answered.unwrap().took < busy / 2);
        server.join().unwrap();
    }

    #[test]
    fn a_url_has_an_address_and_a_path() {
        assert_eq!(parts("http://10.77.0.1:7080/files/x").unwrap(), ("10.77.0.1:7080".parse().unwrap(), "files/x"));
        for url in ["https://10.77.0.1:1/x", "http://10.77.0.1:1", "http://host/x"] {
            assert!(parts(url).is_err(), "{url}");
        }
    }
}
