//! Lists of domain names as labels of DNS (RFC 1035, 3.1): with compression pointers in DHCPv4's option 119 (RFC 3397),
//! without them in DHCPv6 (RFC 8415, 10) and in router advertisements (RFC 8106, 5.2).

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
        let (name, next) = name_at(bytes, at, true)?;
        names.push(name);
        at = next;
    }
    Some(names)
}

/// The names of a list without compression. A broken name and padding end the list.
pub fn domain_names(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some((name, next)) = name_at(bytes, at, false).filter(|(name, _)| !name.is_empty()) {
        names.push(name);
        at = next;
    }
    names
}

fn name_at(bytes: &[u8], start: usize, is_compressed: bool) -> Option<(String, usize)> {
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
            0xC0.. if is_compressed => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_compression_ends_at_padding_and_at_what_is_broken() {
        for (case, bytes, expected) in [
            ("padding", &b"\x03lab\x04test\0\x01b\0\0\0"[..], &["lab.test", "b"][..]),
            ("cut off", b"\x01a\0\x03b", &["a"]),
            ("a pointer", b"\x01a\0\x01b\xc0\0", &["a"]),
            ("a label that is too long", &[&[1, b'a', 0, 64], &[b'x'; 64][..], &[0]].concat(), &["a"]),
            ("nothing", b"", &[]),
        ] {
            assert_eq!(domain_names(bytes), expected, "{case}");
        }
    }
}
