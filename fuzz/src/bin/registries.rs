//! Any answer of a registry or token service is accepted or refused, and what is shown of it is harmless.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::registry::{Said, Url, auth, retry_after};
use std::time::{Duration, SystemTime};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 5 {
        0 => challenge(&text),
        1 => challenge(&format!("Basic realm=\"x\", Bearer {text}")),
        2 => {
            if let Ok(token) = auth::token(rest) {
                assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "it goes into a header");
            }
        }
        3 => {
            let said = Said::read(rest).to_string();
            assert!(said.chars().count() < 330 && !said.contains(char::is_control), "{said:?}");
        }
        _ => {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let (text, date) = text.split_once('|').unwrap_or((&text, ""));
            let _ = (retry_after::pause(text, Some(date), now), retry_after::pause(text, None, now));
        }
    }
});

fn challenge(header: &str) {
    let registry = Url::parse("https://registry.example/v2").unwrap();
    if let Some(auth::Challenge::Bearer { realm, service, scope }) = auth::choose([header].into_iter()) {
        let scope = scope.unwrap_or_default();
        if let Some(url) = auth::token_url(&registry, &realm, service.as_deref(), &scope) {
            assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none());
        }
    }
}
