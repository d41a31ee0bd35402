//! Any bytes as a boot entry, a device path, and signature lists of Secure Boot.
#![no_main]

use actions::efi::device_path;
use actions::efi::load_option::LoadOption;
use actions::secureboot::lists;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(option) = LoadOption::decode(bytes) {
        let _ = option.path_text();
        assert_eq!(LoadOption::decode(&option.encode()).map(|again| again.path), Some(option.path));
    }
    let _ = device_path::text(bytes);
    if let Some(length) = device_path::length(bytes) {
        assert!(length <= bytes.len());
    }
    let _ = lists::describe(bytes);
    let _ = lists::of_auth(bytes);
    if let Ok((data, kept)) = lists::unsigned(bytes, false) {
        assert!(kept == bytes && data.ends_with(bytes));
    }
});
