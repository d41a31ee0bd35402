//! Whatever path a client of `/v2/` asks for: a name that is accepted stays below the folder, and a refusal has no control
//! characters.
#![no_main]

use boots::images::call::{Call, page, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match parse(&text) {
        Ok(Call::Tags { name } | Call::Manifest { name, .. } | Call::Blob { name, .. }) => {
            assert!(name.len() <= 255 && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{name}");
        }
        Ok(Call::Base | Call::Catalog) => {}
        Err(refused) => assert!(refused.status.is_client_error() && !refused.message.contains(char::is_control), "{refused:?}"),
    }
    let mut words = text.split('\n');
    let (n, last) = (words.next(), words.next());
    let mut all: Vec<&str> = words.collect();
    all.sort_unstable();
    if let Ok(found) = page(all.iter().copied(), n, last) {
        assert!(found.items.len() <= all.len() && found.items.iter().all(|item| last.is_none_or(|last| item.as_str() > last)));
    }
});
