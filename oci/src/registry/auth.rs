//! What a registry asks for with 401, and what the client answers.

use serde::Deserialize;

/// The `WWW-Authenticate` header, as far as registries use it.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The answer of a token service; old ones say `token`, OAuth2 says `access_token`.
#[derive(Debug, Deserialize)]
pub struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Token {
    pub fn into_header(self) -> Option<String> {
        self.token.or(self.access_token).map(|t| format!("Bearer {t}"))
    }
}

pub fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut challenge = (None, None, None);
    for (key, value) in parameters(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => challenge.0 = Some(value),
            "service" => challenge.1 = Some(value),
            "scope" => challenge.2 = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: challenge.0?, service: challenge.1, scope: challenge.2 })
}

/// `key="value"` pairs; commas inside quotes belong to the value (`pull,push`).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',']).to_owned();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key, value.trim().to_owned()));
        rest = tail;
    }
    found
}

/// The address to ask for a token.
pub fn token_url(realm: &str, service: Option<&str>, scope: &str) -> String {
    let mut url = realm.to_owned();
    url.push(if realm.contains('?') { '&' } else { '?' });
    if let Some(service) = service {
        url.push_str(&format!("service={}&", escape(service)));
    }
    url.push_str(&format!("scope={}", escape(scope)));
    url
}

fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/' | b':');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_commas_inside_quotes() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) })
        };
        for (header, want) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push")),
            ),
            ("Bearer realm=http://t/x, service=s", bearer("http://t/x", Some("s"), None)),
            ("Bearer service=\"s\"", None),
            ("Negotiate", None),
        ] {
            assert_eq!(parse(header), want, "{header}");
        }
    }

    #[test]
    fn the_token_is_asked_for_with_escaped_parameters() {
        let url = token_url("http://t/x", Some("my registry"), "repository:a/b:pull");
        assert_eq!(url, "http://t/x?service=my%20registry&scope=repository:a/b:pull");
        assert_eq!(token_url("http://t/x?a=b", None, "s"), "http://t/x?a=b&scope=s");
    }
}
