//! How udev makes file names of the texts that devices report.

/// White space at both ends is removed, and each run of it inside becomes one `_`.
pub fn squeezed(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join("_")
}

/// Every character that is unusual in a file name becomes `_`.
pub fn replaced(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) || !c.is_ascii() { c } else { '_' }).collect()
}

/// The same, but `\x2f` stays, because it was escaped before.
pub fn escaped(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_escape =
            rest.get(..4).is_some_and(|four| four.starts_with("\\x") && four.chars().skip(2).all(|c| c.is_ascii_hexdigit()));
        let length = if is_escape { 4 } else { c.len_utf8() };
        let (head, tail) = rest.split_at(length.min(rest.len()));
        if is_escape {
            name.push_str(head)
        } else {
            name.push_str(&replaced(head))
        }
        rest = tail;
    }
    name
}

/// A label as a file name: unusual bytes as `\x20`. Bytes that are not UTF-8 are unusual.
pub fn encoded(label: &[u8]) -> String {
    let mut name = String::with_capacity(label.len());
    for chunk in label.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_plain(c) || !c.is_ascii() { name.push(c) } else { name.push_str(&format!("\\x{:02x}", u32::from(c))) }
        }
        chunk.invalid().iter().for_each(|byte| name.push_str(&format!("\\x{byte:02x}")));
    }
    name
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_udev_makes_them() {
        for (text, squeeze, encode) in [
            ("  QEMU  DISK ", "QEMU_DISK", "\\x20\\x20QEMU\\x20\\x20DISK\\x20"),
            ("root/part", "root/part", "root\\x2fpart"),
            ("Größe", "Größe", "Größe"),
            ("a\\b", "a\\b", "a\\x5cb"),
        ] {
            assert_eq!((squeezed(text).as_str(), encoded(text.as_bytes()).as_str()), (squeeze, encode));
        }
        assert_eq!(replaced("Samsung  990/é#"), "Samsung__990_é#");
        assert_eq!(escaped("a\\x2fb\\xzz/ä\\x2"), "a\\x2fb_xzz_ä_x2");
        assert_eq!(encoded(b"\xff."), "\\xff.");
    }
}
