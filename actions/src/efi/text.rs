//! What EFI writes in its own way: UCS-2 text, and GUIDs whose first three parts have their lowest byte first.

/// With the NUL at its end.
pub fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// Up to the first NUL, and the bytes that it took with that NUL. `None` without a NUL.
pub fn take_ucs2(data: &[u8]) -> Option<(String, usize)> {
    let units = data
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let length = (units.len() + 1) * 2;
    (length <= data.len()).then(|| (String::from_utf16_lossy(&units), length))
}

/// `8be4df61-93ca-11d2-aa0d-00e098032b8c`
pub fn guid(bytes: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let tail: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, last) = tail.split_at(4);
    format!("{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{first}-{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_two_bytes_a_character_and_ends_with_nul() {
        assert_eq!(ucs2("aä"), [0x61, 0, 0xe4, 0, 0, 0]);
        assert_eq!(take_ucs2(&[0x61, 0, 0, 0, 9]), Some(("a".to_owned(), 4)));
        assert_eq!(take_ucs2(&[0x61, 0]), None);
    }

    #[test]
    fn the_first_parts_of_a_guid_are_turned() {
        let bytes = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
        assert_eq!(guid(&bytes), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
    }
}
