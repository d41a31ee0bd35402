//! Paths, URLs and the encodings base64 and base32.

use std::collections::BTreeMap;

use super::arguments::{map, text};
use super::{Context, Entry, Param, plain};
use crate::strconv;
use crate::value::{Text, Type, Value};

const S: Param = Param::Text;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("base", &[S], |context, args| context.budget.text(base(&text(args, 0)))),
    plain("dir", &[S], |context, args| context.budget.text(dir(&text(args, 0)))),
    plain("clean", &[S], |context, args| context.budget.text(clean(&text(args, 0)))),
    plain("ext", &[S], |context, args| context.budget.text(ext(&text(args, 0)))),
    plain("isAbs", &[S], |_, args| Ok(Value::Bool(text(args, 0).starts_with(b"/")))),
    plain("osBase", &[S], |context, args| context.budget.text(base(&text(args, 0)))),
    plain("osDir", &[S], |context, args| context.budget.text(dir(&text(args, 0)))),
    plain("osClean", &[S], |context, args| context.budget.text(clean(&text(args, 0)))),
    plain("osExt", &[S], |context, args| context.budget.text(ext(&text(args, 0)))),
    plain("osIsAbs", &[S], |_, args| Ok(Value::Bool(text(args, 0).starts_with(b"/")))),
    plain("b64enc", &[S], |context, args| encoded(context, &text(args, 0), &BASE64)),
    plain("b64dec", &[S], |context, args| decoded(context, &text(args, 0), &BASE64)),
    plain("b32enc", &[S], |context, args| encoded(context, &text(args, 0), &BASE32)),
    plain("b32dec", &[S], |context, args| decoded(context, &text(args, 0), &BASE32)),
    plain("urlParse", &[S], url_parse),
    plain("urlJoin", &[Param::Map], url_join),
];

fn base(path: &[u8]) -> &[u8] {
    if path.is_empty() {
        return b".";
    }
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let path = path.get(..end).unwrap_or_default();
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.is_empty() { b"/" } else { name }
}

fn dir(path: &[u8]) -> Vec<u8> {
    clean(path.get(..path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1)).unwrap_or_default())
}

fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

fn ext(path: &[u8]) -> &[u8] {
    let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let dot = path.iter().rposition(|byte| *byte == b'.').filter(|at| *at >= name);
    dot.and_then(|at| path.get(at..)).unwrap_or_default()
}

struct Alphabet {
    letters: &'static [u8],
    bits: u32,
    /// How many letters and how many bytes one group has.
    group: (usize, usize),
    name: &'static str,
}

static BASE64: Alphabet = Alphabet {
    letters: b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    bits: 6,
    group: (4, 3),
    name: "base64",
};
static BASE32: Alphabet = Alphabet { letters: b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", bits: 5, group: (8, 5), name: "base32" };

fn encoded(context: &Context<'_>, bytes: &[u8], alphabet: &Alphabet) -> Result<Value, String> {
    context.budget.read(bytes.len())?;
    context.budget.take(bytes.len().saturating_mul(2))?;
    let (letters, size) = alphabet.group;
    let mut out = Vec::with_capacity(bytes.len().div_ceil(size) * letters);
    for group in bytes.chunks(size) {
        let mut value: u64 = 0;
        for index in 0..size {
            value = value << 8 | u64::from(group.get(index).copied().unwrap_or(0));
        }
        let total = u32::try_from(size * 8).unwrap_or(0);
        let used = (group.len() * 8).div_ceil(alphabet.bits as usize);
        for index in 0..letters {
            let shift = total - alphabet.bits * (u32::try_from(index).unwrap_or(0) + 1);
            let digit = usize::try_from(value >> shift & ((1 << alphabet.bits) - 1)).unwrap_or(0);
            out.push(if index < used { alphabet.letters.get(digit).copied().unwrap_or(b'=') } else { b'=' });
        }
    }
    Ok(Value::Text(Text::from(out)))
}

pub(super) fn base64(context: &Context<'_>, bytes: &[u8]) -> Result<Value, String> {
    encoded(context, bytes, &BASE64)
}

/// The error is the position of the first bad byte.
pub(super) fn base64_bytes(text: &[u8]) -> Result<Vec<u8>, usize> {
    decode(text, &BASE64)
}

/// If a text cannot be decoded, sprig returns the error's text as the result.
fn decoded(context: &Context<'_>, text: &[u8], alphabet: &Alphabet) -> Result<Value, String> {
    context.budget.read(text.len())?;
    context.budget.take(text.len())?;
    match decode(text, alphabet) {
        Ok(bytes) => Ok(Value::Text(Text::from(bytes))),
        Err(at) => context.budget.text(format!("illegal {} data at input byte {at}", alphabet.name)),
    }
}

/// Go's decoders: line ends are skipped, and the error gives the position of a byte.
fn decode(text: &[u8], alphabet: &Alphabet) -> Result<Vec<u8>, usize> {
    let (letters, size) = alphabet.group;
    let is_base32 = alphabet.bits == 5;
    let stripped: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    // The position counts line ends in base64, but not in base32.
    let source = if is_base32 { stripped.as_slice() } else { text };
    let mut out = Vec::with_capacity(source.len());
    let mut at = 0;
    let skip = |at: &mut usize| {
        while matches!(source.get(*at), Some(b'\r' | b'\n')) {
            *at += 1;
        }
    };
    loop {
        let mut digits = Vec::with_capacity(letters);
        let mut ended = false;
        while digits.len() < letters {
            skip(&mut at);
            let Some(letter) = source.get(at).copied() else {
                return match digits.len() {
                    0 => Ok(out),
                    _ if is_base32 => Err(source.len() - digits.len()),
                    count => Err(at - count),
                };
            };
            at += 1;
            if let Some(digit) = alphabet.letters.iter().position(|known| *known == letter) {
                digits.push(digit as u64);
                continue;
            }
            if letter != b'=' {
                return Err(at - 1);
            }
            let needed = if is_base32 { matches!(digits.len(), 2 | 4 | 5 | 7) } else { matches!(digits.len(), 2 | 3) };
            if is_base32 {
                if digits.len() < 2 {
                    return Err(at - 1);
                }
                let missing = letters - digits.len();
                for index in 1..missing {
                    match source.get(at) {
                        Some(b'=') => at += 1,
                        Some(_) => return Err(at - 1 + usize::from(index == 0)),
                        None => return Err(source.len()),
                    }
                }
                if !needed {
                    return Err(at - 1);
                }
            } else {
                if !needed {
                    return Err(at - 1);
                }
                if digits.len() == 2 {
                    skip(&mut at);
                    match source.get(at) {
                        Some(b'=') => at += 1,
                        Some(_) => return Err(at - 1),
                        None => return Err(source.len()),
                    }
                }
                skip(&mut at);
            }
            if at < source.len() {
                return Err(at);
            }
            ended = true;
            break;
        }
        let bytes = digits.len() * alphabet.bits as usize / 8;
        let mut value: u64 = 0;
        for index in 0..letters {
            value = value << alphabet.bits | digits.get(index).copied().unwrap_or(0);
        }
        for index in 0..bytes.min(size) {
            let shift = (size - 1 - index) * 8;
            out.push(u8::try_from(value >> shift & 0xff).unwrap_or(0));
        }
        if ended {
            return Ok(out);
        }
    }
}

/// The parts of a URL in `net/url`.
#[derive(Default)]
struct Url {
    scheme: String,
    opaque: String,
    user: Option<(String, Option<String>)>,
    host: String,
    path: String,
    query: String,
    force_query: bool,
    fragment: String,
    omit_host: bool,
}

fn url_parse(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let raw = text(args, 0);
    context.budget.read(raw.len())?;
    context.budget.take(raw.len().saturating_mul(8))?;
    let raw = raw.lossy().into_owned();
    let url = parse_url(&raw).map_err(|error| {
        format!(
            "unable to parse url: parse {}: {error}",
            strconv::quote(raw.split('#').next().unwrap_or_default().as_bytes(), false)
        )
    })?;
    let hostname = url
        .host
        .strip_prefix('[')
        .and_then(|host| host.split(']').next())
        .map_or_else(|| url.host.rsplit_once(':').map_or(url.host.clone(), |(host, _)| host.to_owned()), str::to_owned);
    let mut entries = BTreeMap::new();
    let user = url.user.as_ref().map(userinfo).unwrap_or_default();
    for (key, value) in [
        ("scheme", &url.scheme),
        ("host", &url.host),
        ("hostname", &hostname),
        ("path", &url.path),
        ("query", &url.query),
        ("opaque", &url.opaque),
        ("fragment", &url.fragment),
        ("userinfo", &user),
    ] {
        entries.insert(Text::from(key), context.budget.text(value)?);
    }
    Ok(Value::Map(context.budget.map(Type::Any, entries)?))
}

fn userinfo((name, password): &(String, Option<String>)) -> String {
    let mut out = escape(name, Part::User);
    if let Some(password) = password {
        out.push(':');
        out.push_str(&escape(password, Part::User));
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Path,
    User,
    Host,
    Fragment,
}

fn escape(text: &str, part: Part) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || match part {
                Part::Path => matches!(byte, b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'),
                Part::User => matches!(byte, b'$' | b'&' | b'+' | b',' | b';' | b'='),
                Part::Host => matches!(
                    byte,
                    b'!' | b'$'
                        | b'&'
                        | b'\''
                        | b'('
                        | b')'
                        | b'*'
                        | b'+'
                        | b','
                        | b';'
                        | b'='
                        | b':'
                        | b'['
                        | b']'
                        | b'<'
                        | b'>'
                        | b'"'
                ),
                Part::Fragment => {
                    matches!(
                        byte,
                        b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@' | b'!' | b'(' | b')' | b'*'
                    )
                }
            };
        if plain { out.push(char::from(byte)) } else { out.push_str(&format!("%{byte:02X}")) }
    }
    out
}

fn unescape(text: &str, part: Part) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        if byte == b'%' {
            let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let Some(value) = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) else {
                let shown = bytes.get(at..).unwrap_or_default();
                let shown = shown.get(..3).unwrap_or(shown);
                return Err(format!("invalid URL escape {}", strconv::quote(shown, false)));
            };
            if part == Part::Host && value < 0x80 && value != b'%' {
                let shown = bytes.get(at..at + 3).unwrap_or_default();
                return Err(format!("invalid URL escape {}", strconv::quote(shown, false)));
            }
            out.push(value);
            at += 3;
            continue;
        }
        if part == Part::Host && byte < 0x80 && escape(&char::from(byte).to_string(), Part::Host).len() > 1 {
            return Err(format!("invalid character {} in host name", strconv::quote(&[byte], false)));
        }
        out.push(byte);
        at += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn parse_url(raw: &str) -> Result<Url, String> {
    let mut url = Url::default();
    let (rest, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    if raw.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let mut rest = rest;
    if let Some((scheme, after)) = scheme(rest)? {
        (url.scheme, rest) = (scheme.to_lowercase(), after);
    }
    if rest.ends_with('?') && rest.matches('?').count() == 1 {
        url.force_query = true;
        rest = rest.get(..rest.len() - 1).unwrap_or_default();
    } else if let Some((before, query)) = rest.split_once('?') {
        url.query = query.to_owned();
        rest = before;
    }
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            url.opaque = rest.to_owned();
            url.fragment = unescape(fragment, Part::Fragment)?;
            return Ok(url);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let triple = rest.starts_with("///");
    if (!url.scheme.is_empty() || !triple) && rest.starts_with("//") {
        let after = rest.get(2..).unwrap_or_default();
        let end = after.find('/').unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        rest = path;
        authority_of(&mut url, authority)?;
    } else if !url.scheme.is_empty() && rest.starts_with('/') {
        url.omit_host = true;
    }
    url.path = unescape(rest, Part::Path)?;
    url.fragment = unescape(fragment, Part::Fragment)?;
    Ok(url)
}

fn scheme(raw: &str) -> Result<Option<(&str, &str)>, String> {
    for (at, letter) in raw.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok(Some((raw.get(..at).unwrap_or_default(), raw.get(at + 1..).unwrap_or_default()))),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn authority_of(url: &mut Url, authority: &str) -> Result<(), String> {
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let after_host = match host.strip_prefix('[') {
        Some(inner) => {
            let (literal, port) = inner.split_once(']').ok_or("missing ']' in host")?;
            let address = literal.split('%').next().unwrap_or_default();
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                if address.parse::<std::net::Ipv4Addr>().is_ok() {
                    return Err("invalid IP-literal".to_owned());
                }
                let shown = strconv::quote(literal.as_bytes(), false);
                return Err(format!("invalid host: ParseAddr({shown}): unable to parse IP"));
            }
            port
        }
        None => host.find(':').map_or("", |at| host.get(at..).unwrap_or_default()),
    };
    if let Some(port) = after_host.strip_prefix(':').or((!after_host.is_empty()).then_some("x"))
        && !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("invalid port {} after host", strconv::quote(after_host.as_bytes(), false)));
    }
    url.host = unescape(host, Part::Host)?;
    let Some(user) = user else { return Ok(()) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(allowed) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    url.user = Some(match user.split_once(':') {
        Some((name, password)) => (unescape(name, Part::User)?, Some(unescape(password, Part::User)?)),
        None => (unescape(user, Part::User)?, None),
    });
    Ok(())
}

fn url_join(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let parts = map(args, 0);
    let part = |key: &str| match parts.as_ref().and_then(|parts| parts.get(key.as_bytes())) {
        None => Ok(String::new()),
        Some(Value::Text(text)) => Ok(text.lossy().into_owned()),
        Some(Value::Nil) => Err(super::arguments::NIL_POINTER.to_owned()),
        Some(other) => Err(format!("unable to parse {key} key, must be of type string, but {} found", other.kind())),
    };
    let (scheme, host, path) = (part("scheme")?, part("host")?, part("path")?);
    let (query, opaque, fragment) = (part("query")?, part("opaque")?, part("fragment")?);
    let user = part("userinfo")?;
    let user = if user.is_empty() {
        None
    } else {
        parse_url(&format!("proto://{user}@host"))
            .map_err(|error| {
                let shown = strconv::quote(format!("proto://{user}@host").as_bytes(), false);
                format!("unable to parse userinfo in dict: parse {shown}: {error}")
            })?
            .user
    };
    let mut out = String::new();
    if !scheme.is_empty() {
        out.push_str(&scheme);
        out.push(':');
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || user.is_some() {
            if !host.is_empty() || !path.is_empty() || user.is_some() {
                out.push_str("//");
            }
            if let Some(user) = &user {
                out.push_str(&userinfo(user));
                out.push('@');
            }
            out.push_str(&escape(&host, Part::Host));
        }
        let escaped = if path == "*" { path.clone() } else { escape(&path, Part::Path) };
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            out.push('/');
        }
        if out.is_empty() && escaped.split('/').next().is_some_and(|segment| segment.contains(':')) {
            out.push_str("./");
        }
        out.push_str(&escaped);
    } else {
        out.push_str(&opaque);
    }
    if !query.is_empty() {
        out.push('?');
        out.push_str(&query);
    }
    if !fragment.is_empty() {
        out.push('#');
        out.push_str(&escape(&fragment, Part::Fragment));
    }
    context.budget.text(out)
}
