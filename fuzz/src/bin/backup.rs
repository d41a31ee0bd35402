//! Any file given to `thimble restore`: it ends, and only a whole one is taken to its end.
#![no_main]

use api::backup::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::open(bytes) else { return };
    let mut read = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.value.len() < bytes.len() && entry.key.len() < bytes.len());
        read += 1;
    }
    assert!(read <= reader.head().entries);
});
