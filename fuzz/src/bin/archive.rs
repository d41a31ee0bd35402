//! Any archive is accepted or refused in bounded memory, and no part of a file lies outside of the archive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::archive::{Archive, HEADERS_MAX, Kind};

fuzz_target!(|bytes: &[u8]| {
    walk(bytes);
    // Most inputs fail at a checksum, which hides the code after it.
    let mut sealed = bytes.to_vec();
    for header in sealed.chunks_exact_mut(512) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    walk(&sealed);
});

fn walk(bytes: &[u8]) {
    let mut archive = Archive::new(bytes);
    while let Ok(Some(entry)) = archive.next_entry() {
        let held: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let (path, link) = (entry.path.as_os_str(), entry.link.as_os_str());
        assert!((held + path.len() + link.len()) as u64 <= HEADERS_MAX + 1024);
        assert!(entry.mode <= 0o7777 && entry.mtime.nanoseconds < 1_000_000_000);
        assert!(![path, link].iter().any(|name| name.as_encoded_bytes().contains(&0)), "the kernel would cut the name there");
        let mut end = 0;
        for part in entry.parts.iter().flatten() {
            assert!(entry.kind == Kind::File && part.offset >= end, "parts are in order");
            end = part.offset + part.length;
            assert!(end <= entry.size);
        }
        let mut content = [0; 700];
        let _ = archive.fill_content(&mut content);
    }
}
