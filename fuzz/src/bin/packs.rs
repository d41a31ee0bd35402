//! Any list of devices and any index of packs give a result that is safe in a boot script.
#![no_main]

use api::packs::Index;
use boots::packs::{scan, wanted};
use devices::modalias::Device;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let told = scan::reported(&format!("pci={text}")).unwrap_or_default();
    assert!(told.len() <= 2048 && told.iter().all(|device| Device::of_modalias(&device.to_string()).as_ref() == Some(device)));
    let (alias, modalias) = text.split_once('\n').unwrap_or((&text, &text));
    if let Some(device) = Device::of_modalias(modalias).or_else(|| Device::of_modalias(&format!("pci:v{modalias}"))) {
        let _ = device.may_match(alias);
        let _ = device.may_match(&format!("pci:{alias}"));
    }
    if let Ok(index) = Index::parse(bytes) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
        assert!(wanted(&index, &told, &[]).iter().all(|pack| !pack.file.is_empty() && pack.file.bytes().all(plain)));
    }
});
