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

/// A list of names as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub names: Vec<String>,
    pub faults: Vec<NameFault>,
}

/// Why a name of a list, and perhaps what follows it, cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    #[error("it ends within a name")]
    CutOff,
    #[error("byte {0:#04x} is not the length of a label: DNS has 63 bytes at most")]
    Label(u8),
    #[error("a pointer does not lead backwards")]
    Pointer,
    #[error("a name is longer than the 253 bytes that DNS allows")]
    TooLong,
    #[error("a label is not text")]
    NotText,
}

/// The names of an option. A broken name is left out, and so is the rest of the list if the end of the name cannot be found.
pub(crate) fn decode(bytes: &[u8]) -> Names {
    let mut found = Names::default();
    let mut at = 0;
    while at < bytes.len() {
        let read = name_at(bytes, at, true);
        match read.name {
            Ok(name) if name.is_empty() => {}
            Ok(name) => found.names.push(name),
            Err(fault) => found.faults.push(fault),
        }
        let Some(next) = read.next else { break };
        at = next;
    }
    found
}

/// The names of a list without compression. A broken name and padding end the list.
pub fn domain_names(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    loop {
        let read = name_at(bytes, at, false);
        let (Ok(name), Some(next)) = (read.name, read.next) else { return names };
        if name.is_empty() {
            return names;
        }
        names.push(name);
        at = next;
    }
}

struct Read {
    name: Result<String, NameFault>,
    /// Where the next name begins, if that is known.
    next: Option<usize>,
}

/// Pointers must lead backwards, so this ends.
fn name_at(bytes: &[u8], start: usize, is_compressed: bool) -> Read {
    let (mut name, mut length, mut fault) = (String::new(), 0, None); // `length` counts a dot behind each label
    let (mut at, mut earliest, mut next) = (start, start, None);
    let broken = |fault, next| Read { name: Err(fault), next };
    loop {
        let Some(&len) = bytes.get(at) else { return broken(fault.unwrap_or(NameFault::CutOff), next) };
        let size = usize::from(len);
        match len {
            0 => return Read { name: fault.map_or(Ok(name), Err), next: next.or(Some(at + 1)) },
            1..=63 => {
                let Some(label) = bytes.get(at + 1..at + 1 + size) else {
                    return broken(fault.unwrap_or(NameFault::CutOff), next);
                };
                match std::str::from_utf8(label) {
                    Ok(label) if !label.contains('.') => {
                        name += if name.is_empty() { "" } else { "." };
                        name += label;
                    }
                    _ => fault = fault.or(Some(NameFault::NotText)),
                }
                (at, length) = (at + 1 + size, length + size + 1);
            }
            0xC0.. if is_compressed => {
                let Some(&low) = bytes.get(at + 1) else { return broken(fault.unwrap_or(NameFault::CutOff), next) };
                let target = (size & 0x3F) << 8 | usize::from(low);
                next.get_or_insert(at + 2);
                if target >= earliest {
                    return broken(fault.unwrap_or(NameFault::Pointer), next);
                }
                (at, earliest) = (target, target);
            }
            _ => return broken(fault.unwrap_or(NameFault::Label(len)), next),
        }
        if length > MAX_NAME + 1 {
            if next.is_some() {
                return broken(fault.unwrap_or(NameFault::TooLong), next);
            }
            name.clear(); // only its end is looked for
            fault = fault.or(Some(NameFault::TooLong));
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
