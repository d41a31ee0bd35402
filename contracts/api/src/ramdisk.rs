//! `ramdisk.json`: what the ramdisk beside it can do. `thimble image build` writes it, and boots reads it. Other ramdisks have
//! no such file, and get nothing that they would not understand.

use serde::{Deserialize, Serialize};

/// Beside the ramdisk.
pub const ABOUT: &str = "ramdisk.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The file that this is about.
    pub file: String,
    /// Its agent reads the authority of its server from a segment of its own, and so can speak TLS with it.
    #[serde(default)]
    pub server_ca: bool,
}

impl About {
    /// `None` if the text is something else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let about = About { file: "initramfs.cpio.zst".into(), server_ca: true };
        let text = serde_json::to_string(&about).unwrap();
        assert_eq!(text, r#"{"file":"initramfs.cpio.zst","serverCa":true}"#);
        assert_eq!(About::parse(text.as_bytes()), Some(about));
        assert_eq!(About::parse(br#"{"file":"x","more":1}"#).map(|about| about.server_ca), Some(false));
        for text in ["", "[]", "{}", "{\"file\":1}"] {
            assert_eq!(About::parse(text.as_bytes()), None, "{text}");
        }
    }
}
