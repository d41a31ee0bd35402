//! The head of a request and of a response: bytes to types and back (RFC 9112). Pure.

use std::fmt::Write as _;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

/// A request with the question `?pci=` of a large machine has 25 kB.
pub const LONGEST: usize = 64 * 1024;
const MOST_HEADERS: usize = 100;

/// A request without a body.
#[derive(Debug)]
pub struct Head {
    pub request: Request<Body>,
    /// How many of the bytes it took. What follows is the next request.
    pub length: usize,
    /// Whether the client wants to keep the connection.
    pub persistent: bool,
    /// GET or HEAD, without a body and without a wish for another protocol.
    pub is_plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("this is not a request of HTTP/1.1")]
    NotHttp,
    #[error("the head of the request is longer than {LONGEST} bytes or has more than {MOST_HEADERS} headers")]
    TooLong,
}

impl Malformed {
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotHttp => StatusCode::BAD_REQUEST,
            Self::TooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

impl Head {
    /// `None` if the head is not complete yet.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= LONGEST => length,
            Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooLong),
            Err(_) => return Err(Malformed::NotHttp),
        };
        let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut request = Request::new(Body::empty());
        *request.version_mut() = version;
        *request.method_mut() = parsed.method.and_then(|method| method.parse().ok()).ok_or(Malformed::NotHttp)?;
        *request.uri_mut() = parsed.path.and_then(|path| path.parse::<Uri>().ok()).ok_or(Malformed::NotHttp)?;
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed::NotHttp)?;
            let value = HeaderValue::from_bytes(header.value).map_err(|_| Malformed::NotHttp)?;
            request.headers_mut().append(name, value);
        }
        let (persistent, is_plain) = (persistent(version, request.headers()), is_plain(&request));
        Ok(Some(Self { request, length, persistent, is_plain }))
    }
}

fn persistent(version: Version, headers: &HeaderMap) -> bool {
    let says = |wanted: &str| {
        let texts = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    if version == Version::HTTP_10 { says("keep-alive") } else { !says("close") }
}

fn is_plain(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::CONTENT_LENGTH).into_iter().any(|length| length != "0");
    let wants_more = headers.contains_key(header::UPGRADE) || headers.contains_key(header::EXPECT);
    matches!(*request.method(), Method::GET | Method::HEAD) && !has_body && !wants_more
}

/// The head of a response, for a client of this version. `body` is the length of the body, if no header has it yet.
#[must_use]
pub fn encode(version: Version, status: StatusCode, headers: &HeaderMap, body: usize, persistent: bool, date: &str) -> Vec<u8> {
    let number = if version == Version::HTTP_10 { "1.0" } else { "1.1" };
    let mut head = String::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or("");
    let _ = write!(head, "HTTP/{number} {} {reason}\r\n", status.as_u16()); // a String takes everything
    let mut head = head.into_bytes();
    let mut add = |name: &str, value: &[u8]| {
        // GRUB 2.06 knows the name in this form only. Without it, GRUB waits for the end of the connection.
        let name = if name == "content-length" { "Content-Length" } else { name };
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            head.extend_from_slice(piece);
        }
    };
    for (name, value) in headers {
        add(name.as_str(), value.as_bytes());
    }
    let has_no_body = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !headers.contains_key(header::CONTENT_LENGTH) && !has_no_body {
        add("content-length", body.to_string().as_bytes());
    }
    match (version, persistent) {
        (_, false) => add("connection", b"close"),
        (Version::HTTP_10, true) => add("connection", b"keep-alive"),
        (_, true) => {}
    }
    add("date", date.as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Head {
        Head::decode(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_request_is_plain_if_it_is_its_head_alone() {
        for (text, is_plain, persistent) in [
            ("GET /files/a HTTP/1.1\r\nHost: b\r\n\r\n", true, true),
            ("HEAD /files/a HTTP/1.1\r\n\r\n", true, true),
            ("GET http://b/files/a HTTP/1.1\r\nConnection: Close\r\n\r\n", true, false),
            ("GET /a HTTP/1.1\r\nConnection: x, close\r\n\r\n", true, false),
            ("GET /a HTTP/1.0\r\n\r\n", true, false),
            ("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, true),
            ("GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", true, true),
            ("GET /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", false, true),
            ("GET /a HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc", false, true),
            ("GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false, true),
            ("GET /a HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", false, true),
            ("GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", false, true),
            ("POST /a HTTP/1.1\r\n\r\n", false, true),
        ] {
            let head = decode(text);
            assert_eq!((head.is_plain, head.persistent), (is_plain, persistent), "{text}");
        }
    }

    #[test]
    fn requests_in_a_row_are_taken_one_by_one() {
        let first = "GET /a?pci=1 HTTP/1.1\r\nRange: bytes=0-1\r\n\r\n";
        let both = format!("{first}GET /b HTTP/1.1\r\n\r\n");
        let head = decode(&both);
        assert_eq!((head.length, head.request.uri().path(), head.request.uri().query()), (first.len(), "/a", Some("pci=1")));
        assert_eq!(head.request.headers()["range"], "bytes=0-1");
        for cut in 0..first.len() {
            assert!(Head::decode(&first.as_bytes()[..cut]).unwrap().is_none(), "{cut} bytes");
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LONGEST));
        let unended = "x".repeat(LONGEST);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        for (case, text, error) in [
            ("TLS", "\x16\x03\x01\0\0", Malformed::NotHttp),
            ("another version", "GET / HTTP/2.0\r\n\r\n", Malformed::NotHttp),
            ("a path with a space", "GET /a b HTTP/1.1\r\n\r\n", Malformed::NotHttp),
            ("a bare control character", "GET / HTTP/1.1\r\na: \x01\r\n\r\n", Malformed::NotHttp),
            ("a long path", &long, Malformed::TooLong),
            ("a head without an end", &unended, Malformed::TooLong),
            ("many headers", &many, Malformed::TooLong),
        ] {
            assert_eq!(Head::decode(text.as_bytes()).err(), Some(error), "{case}");
        }
    }

    #[test]
    fn a_head_says_how_long_the_body_is_and_whether_the_connection_stays() {
        let text = |version, status, headers: &HeaderMap, persistent| {
            String::from_utf8(encode(version, status, headers, 5, persistent, "now")).unwrap()
        };
        let (none, length) = (HeaderMap::new(), HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(70))]));
        for (version, status, headers, persistent, expected) in [
            (Version::HTTP_11, StatusCode::OK, &none, true, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: now\r\n\r\n"),
            (Version::HTTP_11, StatusCode::OK, &length, true, "HTTP/1.1 200 OK\r\nContent-Length: 70\r\ndate: now\r\n\r\n"),
            (Version::HTTP_11, StatusCode::NOT_MODIFIED, &none, true, "HTTP/1.1 304 Not Modified\r\ndate: now\r\n\r\n"),
            (
                Version::HTTP_10,
                StatusCode::OK,
                &none,
                true,
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nconnection: keep-alive\r\ndate: now\r\n\r\n",
            ),
            (
                Version::HTTP_11,
                StatusCode::OK,
                &none,
                false,
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nconnection: close\r\ndate: now\r\n\r\n",
            ),
        ] {
            assert_eq!(text(version, status, headers, persistent), expected);
        }
    }
}
