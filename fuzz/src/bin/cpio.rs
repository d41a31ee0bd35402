//! Any archive that a machine is sent as a driver pack is read or refused, and names nothing outside of the machine's root.
#![no_main]

use cpio::{ReadError, Unpacked, read};
use libfuzzer_sys::fuzz_target;

const MOST: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let mut total = 0;
    let result = read(with_header(bytes).as_slice(), MOST, |path, member| {
        assert!(!path.is_empty() && path.split('/').all(|name| !matches!(name, "" | "." | "..")), "{path:?}");
        if let Unpacked::File(content) = member {
            total += std::io::copy(content, &mut std::io::sink()).map_err(ReadError::Io)?;
        }
        Ok::<_, ReadError>(())
    });
    assert!(total <= MOST && (result.is_ok() || !result.unwrap_err().to_string().is_empty()));
});

/// The first byte decides whether the rest is an archive, or the content behind a good header.
fn with_header(bytes: &[u8]) -> Vec<u8> {
    let Some((&kind, rest)) = bytes.split_first() else { return Vec::new() };
    if kind % 2 == 0 {
        return rest.to_vec();
    }
    let length = kind / 2;
    let mode: u32 = if kind % 3 == 0 { 0o040_755 } else { 0o100_644 };
    let zeros = "0".repeat(8);
    let head = format!("070701{zeros}{mode:08x}{}{length:08x}{}{:08x}{zeros}", zeros.repeat(4), zeros.repeat(4), 8);
    [head.as_bytes(), rest].concat()
}
