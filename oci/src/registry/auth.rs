//! Where a token is requested. Pure.

use reqwest::Url;

use crate::challenge::escape;
pub use crate::challenge::{BadToken, Challenge, choose, token};

/// The URL to request a token. A relative realm belongs to the registry. A user in the URL is not sent.
pub fn token_url(registry: &Url, realm: &str, service: Option<&str>, scope: &str) -> Option<Url> {
    let mut url = registry.join(realm).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    let mut query: Vec<String> = url.query().filter(|query| !query.is_empty()).map(str::to_owned).into_iter().collect();
    query.extend(service.map(|service| format!("service={}", escape(service))));
    // A challenge separates several scopes with spaces. The request has one parameter for each.
    query.extend(scope.split_ascii_whitespace().map(|scope| format!("scope={}", escape(scope))));
    url.set_query(Some(&query.join("&")));
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_requested_with_escaped_parameters() {
        let registry = Url::parse("https://registry.example/v2").unwrap();
        for (realm, service, scope, want) in [
            (
                "http://t/x",
                Some("my registry"),
                "repository:a/b:pull",
                "http://t/x?service=my%20registry&scope=repository:a/b:pull",
            ),
            ("http://t/x?a=b", None, "s", "http://t/x?a=b&scope=s"),
            ("http://t/x#f", None, "a:pull b:pull", "http://t/x?scope=a:pull&scope=b:pull"),
            ("/token", None, "s", "https://registry.example/token?scope=s"),
            ("http://user:pass@t/x", None, "s", "http://t/x?scope=s"),
        ] {
            assert_eq!(token_url(&registry, realm, service, scope).unwrap().as_str(), want);
        }
        for realm in ["file:///etc/passwd", "mailto:x", "http://"] {
            assert_eq!(token_url(&registry, realm, None, "s"), None, "{realm}");
        }
    }
}
