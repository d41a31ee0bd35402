//! Domain names as option 119 writes them: DNS labels with compression pointers (RFC 1035 section 4.1.4, RFC 3397).

const MAX_NAME: usize = 253;

/// Names without pointers, one after the other. Names that DNS cannot carry are left out.
pub(crate) fn encode(names: &[impl AsRef<str>]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names.iter().map(|name| name.as_ref().trim_end_matches('.')) {
        let labels = || name.split('.');
        if name.len() > MAX_NAME || labels().any(|label| label.is_empty() || label.len() > 63) {
            continue;
        }
        for label in labels() {
            out.push(label.len() as u8); // at most 63, checked above
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
    }
    out
}

/// The names of an option, or nothing if one of them is broken. Pointers must lead backwards, so this ends.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (name, next) = name_at(bytes, at)?;
        names.push(name);
        at = next;
    }
    Some(names)
}

fn name_at(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let (mut at, mut earliest, mut next) = (start, start, None);
    loop {
        let len = usize::from(*bytes.get(at)?);
        match len {
            0 => return Some((name, next.unwrap_or(at + 1))),
            1..=63 => {
                let label = std::str::from_utf8(bytes.get(at + 1..at + 1 + len)?).ok()?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(label);
                at += 1 + len;
            }
            0xC0.. => {
                let target = (len & 0x3F) << 8 | usize::from(*bytes.get(at + 1)?);
                if target >= earliest {
                    return None;
                }
                next.get_or_insert(at + 2);
                (at, earliest) = (target, target);
            }
            _ => return None,
        }
        if name.len() > MAX_NAME {
            return None;
        }
    }
}
