//! How much memory the reader of an .xz file needs.

const MAGIC: &[u8] = b"\xfd7zXZ\0";
const STREAM_HEADER: usize = 12;
const HAS_SIZES: [u8; 2] = [0x40, 0x80];
const FILTERS: u8 = 0x03;
const LZMA2: u64 = 0x21;

/// The dictionary of the first block in bytes, as in the .xz format 1.2.1, 3.1 and 5.3.1. `None` if the file is not .xz, or
/// has another filter before LZMA2.
pub fn dictionary(file: &[u8]) -> Option<u64> {
    if !file.starts_with(MAGIC) {
        return None;
    }
    let (flags, mut rest) = file.get(STREAM_HEADER + 1..)?.split_first()?; // after the header's own size
    if flags & FILTERS != 0 {
        return None;
    }
    for has in HAS_SIZES {
        if flags & has != 0 {
            integer(&mut rest)?;
        }
    }
    if (integer(&mut rest)?, integer(&mut rest)?) != (LZMA2, 1) {
        return None;
    }
    match *rest.first()? {
        bits @ 0..=39 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
        40 => Some(u64::from(u32::MAX)),
        _ => None,
    }
}

/// Seven bits in each byte, the lowest first.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use lzma_rust2::{XzOptions, XzWriter};
    use proptest::prelude::*;

    /// What `xz --check=crc32 --lzma2=dict=1MiB -T2` writes.
    const WITH_SIZES: &[u8] = b"\xfd7zXZ\0\x00\x01\x69\x22\xde\x36\x04\xc0\x98\xe6\x1e\x90\xa5\xb7\x01\x21\x01\x10\0\0\0\0";

    #[test]
    fn the_dictionary_is_what_the_writer_was_given() {
        for bytes in [4096, 64 << 10, 1 << 20, 8 << 20] {
            let mut options = XzOptions::with_preset(1);
            options.lzma_options.dict_size = bytes;
            let mut writer = XzWriter::new(Vec::new(), options).unwrap();
            std::io::Write::write_all(&mut writer, b"a module").unwrap();
            assert_eq!(dictionary(&writer.finish().unwrap()), Some(u64::from(bytes)));
        }
        assert_eq!(dictionary(WITH_SIZES), Some(1 << 20));
        assert_eq!(dictionary(b"\x28\xb5\x2f\xfd and so on"), None);
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..28, with in any::<u8>(), cut in 0usize..29) {
            let mut file = WITH_SIZES.to_vec();
            file[at] = with;
            file.truncate(cut);
            let _ = dictionary(&file);
        }
    }
}
