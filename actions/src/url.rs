//! How a URL is shown in errors and progress: without its login, its query, and the secret of a machine's metadata.

/// The path in front of a machine's secret, which its namespace and its name follow (docs/metadata.md).
const METADATA: &str = "/instance/";
/// Stands for what is left out.
const HIDDEN: &str = "...";

/// The text with every URL in it as it may be shown. Signatures of object stores are in the query.
pub fn shown(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        result.push_str(before);
        let (url, after) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
        // What a sentence puts behind the URL belongs to the sentence.
        let (url, marks) = url.split_at(url.trim_end_matches([':', ';', ',', '.']).len());
        result.push_str(&one(url));
        result.push_str(marks);
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Not a character of a URL.
fn ends(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '\\')
}

/// One URL, from its authority on.
fn one(url: &str) -> String {
    let (authority, rest) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    match path.split_once(METADATA) {
        Some((before, behind)) => format!("{host}{before}{METADATA}{}", without_secret(behind)),
        None => format!("{host}{path}"),
    }
}

/// `NAMESPACE/NAME/SECRET/meta-data`
fn without_secret(path: &str) -> String {
    let parts = path.split('/').enumerate().map(|(index, part)| if index == 2 && !part.is_empty() { HIDDEN } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_is_secret() {
        for (text, expected) in [
            ("nothing", "nothing"),
            ("cannot get http://a/b: the server answers 404", "cannot get http://a/b: the server answers 404"),
            ("get https://user:t0p@a:8443/b.zst?X-Sig=t0p&x=1: refused", "get https://a:8443/b.zst: refused"),
            ("IMG_URL=\"https://user:t0p@a\" is not usable", "IMG_URL=\"https://a\" is not usable"),
            ("oci://t0p@r.test/n@sha256:00 (x)", "oci://r.test/n@sha256:00 (x)"),
            ("http://u:t@0p@a/, http://u:t0p@b?t0p, and file:///x", "http://a/, http://b, and file:///x"),
            ("http://a/instance/lab/machine-1/t0p/meta-data.", "http://a/instance/lab/machine-1/.../meta-data."),
            ("http://a/x/instance/lab/machine-1/t0p", "http://a/x/instance/lab/machine-1/..."),
            ("http://a/instance/lab/machine-1/", "http://a/instance/lab/machine-1/"),
            ("{\"msg\":\"http://u:t0p@a#t0p\\n\"}", "{\"msg\":\"http://a\\n\"}"),
            ("://", "://"),
            ("http://\u{e9}@\u{e9}/\u{e9}?t0p \u{e9}", "http://\u{e9}/\u{e9} \u{e9}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
