//! Sends a response to its socket: its head, then a text or a part of a file. The kernel copies the file by itself.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::net::SendFlags;
use rustix::net::sockopt::set_tcp_cork;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::download::{Download, Tally};
use crate::beneath::read_cached;

/// A part up to this size goes out in one packet train with its head.
const SMALL: u64 = 16 * 1024;
/// How much is asked of the page cache at once.
const STRETCH: u64 = 1 << 20;

/// `length` bytes of a file from `start`: the body of a response.
#[derive(Debug)]
pub struct Part {
    pub file: Arc<File>,
    pub start: u64,
    pub length: u64,
    pub download: Download,
}

/// Writes everything. With `MORE` the kernel waits for what follows. A client that takes nothing for `stalled` is cut.
pub async fn bytes(socket: &TcpStream, mut bytes: &[u8], flags: SendFlags, stalled: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let send = socket.async_io(Interest::WRITABLE, || Ok(rustix::net::send(socket, bytes, flags | SendFlags::NOSIGNAL)?));
        let sent = timeout(stalled, send).await??;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// A head and the part of a file behind it.
pub async fn part(socket: &TcpStream, mut head: Vec<u8>, part: &Part, stalled: Duration) -> io::Result<()> {
    let mut tally = Tally::of(part.download.clone(), part.length);
    if part.length <= SMALL {
        let at = head.len();
        head.resize(at + usize::try_from(part.length).unwrap_or(0), 0);
        if !read_cached(&part.file, head.get_mut(at..).unwrap_or_default(), part.start)? {
            let (file, start, length) = (Arc::clone(&part.file), part.start, part.length);
            let read = tokio::task::spawn_blocking(move || read(&file, start, length)).await.map_err(io::Error::other)??;
            head.truncate(at);
            head.extend_from_slice(&read);
        }
        bytes(socket, &head, SendFlags::empty(), stalled).await?;
        tally.add(part.length);
        return Ok(());
    }
    // Only full packets leave until the end, which costs a tenth less. A socket that refuses it is slower, and no more.
    let _ = set_tcp_cork(socket, true);
    bytes(socket, &head, SendFlags::MORE, stalled).await?;
    let (mut at, end) = (part.start, part.start + part.length);
    let mut warm = at;
    while at < end {
        if at >= warm {
            warm = (at + STRETCH).min(end);
            warm_up(&part.file, at, warm).await?;
        }
        let most = usize::try_from(warm - at).unwrap_or(usize::MAX);
        let send = socket.async_io(Interest::WRITABLE, || Ok(sendfile(socket, &*part.file, Some(&mut at), most)?));
        match timeout(stalled, send).await?? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()), // the file has become shorter
            sent => tally.add(sent as u64),
        }
    }
    let _ = set_tcp_cork(socket, false);
    Ok(())
}

/// Reads a stretch into the page cache on another thread, unless it is there: a slow disk must not stop other clients.
async fn warm_up(file: &Arc<File>, start: u64, end: u64) -> io::Result<()> {
    if is_cached(file, start) && is_cached(file, end - 1) {
        return Ok(());
    }
    let file = Arc::clone(file);
    let read = move || {
        let mut at = start;
        while at < end {
            at += read(&file, at, (end - at).min(SMALL * 4))?.len() as u64;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Not every file system can answer. It then counts as cached, and `sendfile` waits for the disk as other servers do.
fn is_cached(file: &File, at: u64) -> bool {
    let mut byte = [0];
    preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
