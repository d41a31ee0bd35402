//! Enough HTTP/1.1 for the lab to call the server and the registry: one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
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

pub fn get(to: SocketAddr, path: &str) -> Result<Response> {
    request(to, "GET", path, &[], &[])
}

/// Sends one request and reads the whole answer.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    let what = || format!("{method} http://{to}{path}");
    let mut reader = send(to, method, path, headers, body).with_context(what)?;
    let (status, headers) = read_head(&mut reader).with_context(what)?;
    let body = read_body(&mut reader, method, status, &headers).with_context(what)?;
    Ok(Response { status, headers, body })
}

/// Opens an endless answer (the event stream) and calls `line` for each line until it returns false or the stream ends.
pub fn stream(to: SocketAddr, path: &str, mut line: impl FnMut(&str) -> bool) -> Result<()> {
    let mut reader = send(to, "GET", path, &[], &[])?;
    reader.get_ref().set_read_timeout(None).context("cannot wait without limit")?;
    let (status, headers) = read_head(&mut reader)?;
    if status != 200 {
        bail!("GET http://{to}{path} answered {status}");
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

fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect_timeout(&to, LIMIT).with_context(|| format!("cannot connect to {to}"))?;
    socket.set_read_timeout(Some(LIMIT)).context("cannot set a time limit")?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
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

fn read_chunk(reader: &mut impl BufRead) -> Result<Vec<u8>> {
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
    fn a_short_body_is_an_error() {
        let mut reader = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello".as_bytes();
        let (status, headers) = read_head(&mut reader).unwrap();
        assert!(read_body(&mut reader, "GET", status, &headers).is_err());
    }
}
