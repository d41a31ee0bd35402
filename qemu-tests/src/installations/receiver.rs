//! An HTTP server that keeps what is sent to it by PUT, and the files of forms that are sent by POST.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http;
use crate::segment;

/// A sender may compress for a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs until the lab's process ends.
pub struct Receiver {
    address: SocketAddrV4,
}

impl Receiver {
    /// Files are kept in `folder` under their names, once they are complete.
    pub fn start(folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind((segment::HOST, 0)).context("cannot listen for uploads")?;
        let port = listener.local_addr().context("cannot listen for uploads")?.port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Err(error) = take(&client, &folder) {
                    println!("an upload failed: {error:#}");
                    let _the_sender_may_be_gone = answer(&client, "500 Internal Server Error");
                }
            }
        });
        Ok(Self { address: SocketAddrV4::new(segment::HOST, port) })
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

fn take(client: &TcpStream, folder: &Path) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
    let mut reader = BufReader::new(client);
    let Some((method, path, headers)) = head(&mut reader)? else { return Ok(()) };
    if method == "POST" {
        return form(&mut reader, &headers, folder).and_then(|()| answer(client, "200 OK"));
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if method != "PUT" || name.is_empty() || name.starts_with('.') {
        return answer(client, "405 Method Not Allowed");
    }
    let part = folder.join(format!("{name}.part"));
    let mut file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    body(&mut reader, &headers, &mut file)?;
    fs::rename(&part, folder.join(name)).with_context(|| format!("cannot keep {name}"))?;
    answer(client, "201 Created")
}

/// A form with one file (RFC 7578), which is kept under its own name.
fn form(reader: &mut impl BufRead, headers: &Headers, folder: &Path) -> Result<()> {
    let part = folder.join("form.part");
    let open = || File::options().create(true).truncate(true).read(true).write(true).open(&part);
    let mut file = open().with_context(|| format!("cannot write {}", part.display()))?;
    body(reader, headers, &mut file)?;
    let length = file.seek(SeekFrom::End(0)).context("cannot read the form")?;
    file.rewind().context("cannot read the form")?;
    let mut reader = BufReader::new(&file);
    let boundary = line(&mut reader)?;
    let mut name = None;
    loop {
        let line = line(&mut reader)?;
        if line.is_empty() {
            break;
        }
        name = name.or(line.split_once("filename=\"").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned));
    }
    let name = name.filter(|name| !name.is_empty() && !name.contains('/')).context("the form has no file")?;
    let start = reader.stream_position().context("cannot read the form")?;
    let end = length.checked_sub(format!("\r\n{boundary}--\r\n").len() as u64).filter(|end| *end >= start);
    let mut kept = File::create(folder.join(&name)).with_context(|| format!("cannot write {name}"))?;
    std::io::copy(&mut reader.take(end.context("the form is cut off")? - start), &mut kept).context("cannot keep the file")?;
    fs::remove_file(&part).context("cannot remove the form")
}

type Headers = Vec<(String, String)>;

/// Method, path and headers. `None` if the client sends nothing.
fn head(reader: &mut impl BufRead) -> Result<Option<(String, String, Headers)>> {
    let line = line(reader)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        match self::line(reader)?.split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Ok(Some((method, path, headers))),
        }
    }
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line).context("the request ended early")?;
    Ok(line.trim_end().to_owned())
}

fn body(reader: &mut impl BufRead, headers: &Headers, file: &mut File) -> Result<()> {
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let chunk = http::read_chunk(reader)?;
            if chunk.is_empty() {
                return Ok(());
            }
            file.write_all(&chunk).context("cannot write an upload")?;
        }
    }
    let length: u64 = header("content-length").and_then(|text| text.parse().ok()).context("the upload has no length")?;
    let copied = std::io::copy(&mut reader.take(length), file).context("cannot write an upload")?;
    if copied == length { Ok(()) } else { bail!("the upload ended after {copied} of {length} bytes") }
}

fn answer(mut client: &TcpStream, status: &str) -> Result<()> {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(text.as_bytes()).context("cannot answer an upload")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(request: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut reader = request.as_bytes();
        let (_, _, headers) = head(&mut reader)?.unwrap();
        body(&mut reader, &headers, &mut File::create(&path).unwrap())?;
        Ok(fs::read_to_string(path).unwrap())
    }

    #[test]
    fn a_form_has_a_file_with_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let part = "Content-Disposition: form-data; name=\"x\"; filename=\"a.img\"\r\nContent-Type: y\r\n\r\n";
        let text = format!("--b\r\n{part}\r\nbytes\r\n--b--\r\n");
        let headers = vec![("content-length".to_owned(), text.len().to_string())];
        form(&mut text.as_bytes(), &headers, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a.img")).unwrap(), "\r\nbytes");
        assert!(form(&mut &b"--b\r\n\r\n"[..], &vec![("content-length".into(), "7".into())], folder.path()).is_err());
    }

    #[test]
    fn uploads_come_with_a_length_or_in_chunks() {
        for (case, rest) in [
            ("length", "Content-Length: 5\r\n\r\nhello more"),
            ("chunks", "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ] {
            assert_eq!(received(&format!("PUT /a HTTP/1.1\r\n{rest}")).unwrap(), "hello", "{case}");
        }
        assert!(received("PUT /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nhello").is_err());
    }
}
