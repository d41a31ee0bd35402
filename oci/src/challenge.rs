//! Challenges of a registry (401), and answers of a token service. Pure.

use serde_json::Value;

/// The longest token. A token is in a header of every request, and servers accept much less.
const TOKEN_MAX: usize = 64 << 10;

/// A challenge in `WWW-Authenticate`, of the kinds that registries use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    #[error("the answer is not a JSON object")]
    Form(#[source] serde_json::Error),
    #[error("it has neither token nor access_token")]
    Missing,
    #[error("the token has characters that are not allowed in a header, or more than {TOKEN_MAX} of them")]
    Unusable,
}

/// The token in the answer of a token service. Old services use `token`, OAuth2 uses `access_token`, and some send both
/// with one empty.
///
/// # Errors
/// If both are missing, or the token cannot be sent.
pub fn token(answer: &[u8]) -> Result<String, BadToken> {
    let answer: Value = serde_json::from_slice(answer).map_err(BadToken::Form)?;
    let named = |name| answer.get(name).and_then(Value::as_str).map(str::trim).filter(|token| !token.is_empty());
    let token = named("token").or_else(|| named("access_token")).ok_or(BadToken::Missing)?;
    let fits = token.len() <= TOKEN_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(token.to_owned()) } else { Err(BadToken::Unusable) }
}

/// The challenge to answer, from all headers: a token if one is offered, otherwise the password.
pub fn choose<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let offered: Vec<Challenge> = headers.flat_map(challenges).collect();
    let bearer = offered.iter().find(|one| matches!(one, Challenge::Bearer { .. }));
    bearer.or(offered.first()).cloned()
}

/// The supported challenges in one header (RFC 9110, section 11.6.1).
fn challenges(header: &str) -> Vec<Challenge> {
    let mut read: Vec<(&str, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let length = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if word.is_empty() {
            // This is not a challenge, so it is skipped up to the next comma.
            let Some((_, next)) = rest.split_once(',') else { break };
            rest = next;
            continue;
        }
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=').map(|value| value.trim_start_matches([' ', '\t']));
        match (value, read.last_mut()) {
            // `abc==` is a token68, which the schemes of registries do not use.
            (Some(value), Some((_, parameters))) if !value.is_empty() && !value.starts_with(['=', ',']) => {
                let (text, next) = parameter(value);
                parameters.push((word.to_ascii_lowercase(), text));
                rest = next;
            }
            (Some(value), _) => rest = value.trim_start_matches('='),
            // This handles `scope=repository:a:pull,push` without quotes.
            (None, Some((_, parameters)))
                if parameters.last().is_some_and(|(name, _)| name == "scope") && matches!(word, "push" | "pull" | "delete") =>
            {
                parameters.iter_mut().rev().take(1).for_each(|(_, scope)| scope.push_str(&format!(",{word}")));
                rest = after;
            }
            (None, _) => {
                read.push((word, Vec::new()));
                rest = after;
            }
        }
    }
    read.into_iter().filter_map(|(scheme, parameters)| understood(scheme, &parameters)).collect()
}

fn understood(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let named = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    let given = |name: &str| named(name).filter(|value| !value.is_empty());
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    bearer.then(|| Some(Challenge::Bearer { realm: given("realm")?, service: given("service"), scope: given("scope") })).flatten()
}

/// tchar of RFC 9110.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Parses a quoted string with its quoted pairs, or the text up to the next comma or space. Also returns the rest.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// A value in the query of a URL.
pub fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/' | b':');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) })
    }

    #[test]
    fn every_legal_form_of_a_challenge_is_read() {
        const HUB: &str = "https://auth.docker.io/token";
        const PULL: Option<&str> = Some("repository:a/b:pull,push");
        for (headers, want) in [
            (&["Basic realm=\"x\""][..], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (&["BASIC REALM=x, charset=\"UTF-8\""], Some(Challenge::Basic)),
            (
                &[r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#],
                bearer(HUB, Some("registry.docker.io"), PULL),
            ),
            (&[r#"bearer REALM = "https://auth.docker.io/token" , Scope="repository:a/b:pull,push""#], bearer(HUB, None, PULL)),
            (&["Bearer realm=http://t/x?a=b, service=s"], bearer("http://t/x?a=b", Some("s"), None)),
            (&["Bearer realm=http://t/x,scope=repository:a/b:pull,push,service=s"], bearer("http://t/x", Some("s"), PULL)),
            (&[r#"Bearer realm="http://t/\"x\"\\",service="a\,b""#], bearer(r#"http://t/"x"\"#, Some("a,b"), None)),
            (&[r#"Basic realm="a, Bearer b", Bearer realm="http://t/x""#], bearer("http://t/x", None, None)),
            (&[r#"Bearer realm="http://t/x", Basic realm="a""#], bearer("http://t/x", None, None)),
            (&["Basic realm=\"a\"", "Bearer realm=\"http://t/x\",service=\"\""], bearer("http://t/x", None, None)),
            (&["Negotiate", "NTLM TlRMTVNTUAAB/+==, Bearer realm=\"http://t/x\""], bearer("http://t/x", None, None)),
            (&["Negotiate abc==, Basic realm=\"a\""], Some(Challenge::Basic)),
            (&[",, Bearer\trealm=\"/token\" ,"], bearer("/token", None, None)),
            (&["Bearer realm=\"http://t/x"], bearer("http://t/x", None, None)),
            (&["Bearer service=\"s\"", "Basic"], Some(Challenge::Basic)),
            (&["Bearer realm=\"\""], None),
            (&["Bearer service=\"s\""], None),
            (&["Negotiate"], None),
            (&["", "=", "\"Bearer\""], None),
            (&[], None),
        ] {
            assert_eq!(choose(headers.iter().copied()), want, "{headers:?}");
        }
    }

    #[test]
    fn a_token_is_found_under_either_name() {
        for (answer, want) in [
            (r#"{"token":"t"}"#, Some("t")),
            (r#"{"access_token":"a"}"#, Some("a")),
            (r#"{"token":"","access_token":"a"}"#, Some("a")),
            (r#"{"token":null,"access_token":"a","expires_in":"300"}"#, Some("a")),
            (r#"{"token":"t","access_token":"a","expires_in":300,"issued_at":7,"x":{}}"#, Some("t")),
            (r#"{"token":"t","expires_in":null,"refresh_token":[]}"#, Some("t")),
            (r#"{"token":" t\n"}"#, Some("t")),
            (r#"{"token":7,"access_token":"a"}"#, Some("a")),
            (r#"{"token":"a","token":"b"}"#, Some("b")),
            (r#"{"token":""}"#, None),
            ("{}", None),
            ("[]", None),
            (r#"{"token":"a\r\nX: b"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(token(answer.as_bytes()).ok().as_deref(), want, "{answer}");
        }
        let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(TOKEN_MAX + 1));
        assert!(matches!(token(long.as_bytes()), Err(BadToken::Unusable)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_loop(text in "[Bb a-z=\",\\\\\t/:é]{0,60}", bytes: Vec<u8>) {
            let _ = (choose([text.as_str()].into_iter()), token(&bytes));
            let _ = choose([format!("Bearer realm={text}").as_str()].into_iter());
        }
    }
}
