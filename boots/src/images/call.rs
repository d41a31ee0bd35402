//! What a path below `/v2/` asks for, by the endpoints of the OCI distribution specification. Pure.

use http::StatusCode;
use oci::Digest;
use oci::reference::{Version, is_repository, is_tag};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Whether the server is a registry.
    Base,
    /// The names of all repositories. Docker's registry has it, and the specification does not.
    Catalog,
    Tags {
        name: String,
    },
    Manifest {
        name: String,
        version: Version,
    },
    Blob {
        name: String,
        digest: Digest,
    },
}

/// An answer that is an error of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Refused {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

/// How many characters of a request a message quotes.
const QUOTED_MAX: usize = 100;

/// Reads the path after `/v2/`.
///
/// # Errors
/// If it is not a path of a registry, or a part of it is not valid.
pub fn parse(path: &str) -> Result<Call, Refused> {
    // Only the colon of a digest is ever encoded. Names have no other character that would have to be.
    let path = path.replace("%3A", ":").replace("%3a", ":");
    match path.as_str() {
        "" => return Ok(Call::Base),
        "_catalog" => return Ok(Call::Catalog),
        _ => {}
    }
    let refused = |status, code, what: &str, text: &str| Refused::new(status, code, format!("{} is not {what}", quoted(text)));
    let elsewhere = || refused(StatusCode::NOT_FOUND, "UNSUPPORTED", "a path of this registry", &path);
    let (rest, last) = path.rsplit_once('/').ok_or_else(elsewhere)?;
    let (name, kind) = rest.rsplit_once('/').ok_or_else(elsewhere)?;
    if !matches!((kind, last), ("tags", "list") | ("manifests" | "blobs", _)) {
        return Err(elsewhere());
    }
    if !is_repository(name) {
        return Err(refused(StatusCode::BAD_REQUEST, "NAME_INVALID", "a valid image name", name));
    }
    let digest = || {
        let bad = |_| refused(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "a digest", last);
        last.parse::<Digest>().map_err(bad)
    };
    let name = name.to_owned();
    match kind {
        "tags" => Ok(Call::Tags { name }),
        "blobs" => Ok(Call::Blob { name, digest: digest()? }),
        _ if last.contains(':') => Ok(Call::Manifest { name, version: Version::Digest(digest()?) }),
        _ if is_tag(last) => Ok(Call::Manifest { name, version: Version::Tag(last.to_owned()) }),
        _ => Err(refused(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "a valid tag", last)),
    }
}

/// A part of a request for a message, without control characters.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(QUOTED_MAX).collect::<String>())
}

/// One page of a list, and whether more follows.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<String>,
    pub more: bool,
}

/// The most items of an answer. The next page has the rest.
pub const PAGE_MAX: usize = 1000;

/// The page after `last`, with at most `n` items of a sorted list.
///
/// # Errors
/// If `n` is not a number.
pub fn page<'a>(all: impl Iterator<Item = &'a str>, n: Option<&str>, last: Option<&str>) -> Result<Page, Refused> {
    let bad = |_| {
        let text = n.map(quoted).unwrap_or_default();
        Refused::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", format!("n is {text}, which is not a number"))
    };
    let most = n.map(str::parse::<usize>).transpose().map_err(bad)?.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let mut rest = all.filter(|item| last.is_none_or(|last| *item > last));
    let items: Vec<String> = rest.by_ref().take(most).map(str::to_owned).collect();
    Ok(Page { more: !items.is_empty() && rest.next().is_some(), items })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_path_is_read_from_its_end_because_names_have_slashes() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let name = |name: &str| name.to_owned();
        let tag = |tag: &str| Version::Tag(tag.to_owned());
        for (path, want) in [
            ("", Call::Base),
            ("_catalog", Call::Catalog),
            ("image2disk/tags/list", Call::Tags { name: name("image2disk") }),
            ("a/b/c/manifests/v1", Call::Manifest { name: name("a/b/c"), version: tag("v1") }),
            ("manifests/manifests/manifests", Call::Manifest { name: name("manifests"), version: tag("manifests") }),
            ("tags/list/tags/list", Call::Tags { name: name("tags/list") }),
            (&format!("a/manifests/sha256:{HEX}"), Call::Manifest { name: name("a"), version: Version::Digest(digest.clone()) }),
            (&format!("a/blobs/sha256%3A{HEX}"), Call::Blob { name: name("a"), digest: digest.clone() }),
        ] {
            assert_eq!(parse(path), Ok(want), "{path}");
        }
    }

    #[test]
    fn any_other_path_is_refused_with_the_code_of_the_specification() {
        let long = "a/".repeat(200);
        for (path, status, code) in [
            ("image2disk", 404, "UNSUPPORTED"),
            ("image2disk/", 404, "UNSUPPORTED"),
            ("image2disk/tags/", 404, "UNSUPPORTED"),
            ("image2disk/uploads/x", 404, "UNSUPPORTED"),
            ("/manifests/v1", 400, "NAME_INVALID"),
            ("../manifests/v1", 400, "NAME_INVALID"),
            ("a/../b/manifests/v1", 400, "NAME_INVALID"),
            ("a/%2e%2e/b/manifests/v1", 400, "NAME_INVALID"),
            ("a//b/manifests/v1", 400, "NAME_INVALID"),
            ("/etc/blobs/sha256:00", 400, "NAME_INVALID"),
            ("Upper/manifests/v1", 400, "NAME_INVALID"),
            ("a\\b/manifests/v1", 400, "NAME_INVALID"),
            (&format!("{long}a/manifests/v1"), 400, "NAME_INVALID"),
            ("a/blobs/sha256:00", 400, "DIGEST_INVALID"),
            ("a/blobs/md5:00", 400, "DIGEST_INVALID"),
            ("a/blobs/..", 400, "DIGEST_INVALID"),
            ("a/manifests/sha256:../../x", 404, "UNSUPPORTED"),
            ("a/manifests/sha256:zz", 400, "DIGEST_INVALID"),
            ("a/manifests/.INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN"),
            ("a/manifests/", 404, "MANIFEST_UNKNOWN"),
        ] {
            let refused = parse(path).unwrap_err();
            assert_eq!((refused.status.as_u16(), refused.code), (status, code), "{path}: {}", refused.message);
        }
        let shown = parse("a\u{1b}[2J/manifests/v1").unwrap_err().message;
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn a_list_is_cut_into_pages() {
        let all = ["a", "b", "c"];
        let page = |n, last| page(all.iter().copied(), n, last);
        let want = |items: &[&str], more| Page { items: items.iter().map(|item| (*item).to_owned()).collect(), more };
        for (n, last, result) in [
            (None, None, want(&all, false)),
            (Some("2"), None, want(&["a", "b"], true)),
            (Some("2"), Some("b"), want(&["c"], false)),
            (Some("1"), Some("aa"), want(&["b"], true)),
            (Some("9999999"), None, want(&all, false)),
            (Some("0"), None, want(&[], false)),
            (None, Some("z"), want(&[], false)),
        ] {
            assert_eq!(page(n, last), Ok(result), "{n:?} {last:?}");
        }
        for n in ["", "-1", "x", "1.5"] {
            assert_eq!(page(Some(n), None).unwrap_err().code, "PAGINATION_NUMBER_INVALID", "{n}");
        }
    }
}
