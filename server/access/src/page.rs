//! Requests that a web page makes a browser send. All are refused: those to a name that was made to point here
//! (DNS rebinding), and those of any origin.

use http::{HeaderMap, header};

use crate::names::Names;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfAPage {
    #[error("{0:?} is not a name of this host; use its address, or add the name with --tls-name")]
    Host(String),
    #[error("web pages may not use the API")]
    Page,
}

/// # Errors
/// If the request is for another host, or comes from a page.
pub fn check(headers: &HeaderMap, names: &Names) -> Result<(), OfAPage> {
    // A client without `Host` is not a browser.
    for host in headers.get_all(header::HOST) {
        let host = host.to_str().unwrap_or_default();
        if !names.is_host(host) {
            return Err(OfAPage::Host(machine::said(host, 80)));
        }
    }
    origin(headers)
}

/// The same without a look at the host, for callers that may know this one by any name.
///
/// # Errors
/// If the request comes from a page.
pub fn origin(headers: &HeaderMap) -> Result<(), OfAPage> {
    // `none` is a person who typed the address.
    let typed = headers.get_all("sec-fetch-site").iter().all(|site| site == "none");
    if headers.contains_key(header::ORIGIN) || !typed { Err(OfAPage::Page) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_browser_gets_nothing_for_a_page() {
        let mut names = Names::local();
        names.add("prov.example").unwrap();
        let other = |name: &str| Err(OfAPage::Host(name.to_owned()));
        for (case, headers, expected) in [
            ("curl by address", &[("host", "10.0.0.1:7080")][..], Ok(())),
            ("curl by name", &[("host", "prov.example")], Ok(())),
            ("HTTP/1.0 without a host", &[], Ok(())),
            ("a name that was rebound", &[("host", "evil.example:7080")], other("evil.example:7080")),
            ("two hosts", &[("host", "10.0.0.1"), ("host", "evil.example")], other("evil.example")),
            ("another origin", &[("host", "10.0.0.1"), ("origin", "http://evil.example")], Err(OfAPage::Page)),
            ("a page without an origin", &[("host", "10.0.0.1"), ("origin", "null")], Err(OfAPage::Page)),
            ("an image of a page", &[("host", "10.0.0.1"), ("sec-fetch-site", "cross-site")], Err(OfAPage::Page)),
            ("a page of the same site", &[("host", "10.0.0.1"), ("sec-fetch-site", "same-site")], Err(OfAPage::Page)),
            ("a page of this host", &[("host", "10.0.0.1"), ("sec-fetch-site", "same-origin")], Err(OfAPage::Page)),
            ("an address that was typed", &[("host", "10.0.0.1"), ("sec-fetch-site", "none")], Ok(())),
        ] {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| {
                map.append(*name, HeaderValue::from_static(value));
            });
            assert_eq!(check(&map, &names), expected, "{case}");
        }
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(check(&map, &names).is_err());
    }
}
