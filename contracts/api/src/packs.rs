//! `packs.json`: the driver packs beside a ramdisk. `thimble image build --packs` writes it, and boots reads it.

use serde::{Deserialize, Serialize};

/// The index lies in the ramdisk's folder, and the packs beside it.
pub const INDEX: &str = "packs.json";

/// The packs that were built beside one ramdisk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub kernel: String,
    pub packs: Vec<Pack>,
}

/// A further initrd segment, with the drivers of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    pub name: String,
    #[serde(default)]
    pub about: String,
    /// Beside the index.
    pub file: String,
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
    /// Patterns as in `modules.alias`: a device whose modalias matches one wants this pack.
    pub modaliases: Vec<String>,
}

/// The packs that a machine may fetch itself. `thimble image iso` writes it into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The folder of the packs. A file's name follows it, after a slash.
    pub url: String,
    #[serde(flatten)]
    pub index: Index,
}

impl Offer {
    /// # Errors
    /// Like [`Index::parse`].
    pub fn parse(text: &[u8]) -> Result<Self, BadIndex> {
        let offer: Self = serde_json::from_slice(text).map_err(BadIndex::Json)?;
        Ok(Self { index: offer.index.plain()?, ..offer })
    }

    #[must_use]
    pub fn url_of(&self, pack: &Pack) -> String {
        format!("{}/{}", self.url.trim_end_matches('/'), pack.file)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BadIndex {
    #[error("it is not what `thimble image build --packs` writes")]
    Json(#[source] serde_json::Error),
    #[error("the file of the pack {name:?} is {file:?}; wanted is a plain name of letters, digits and ._-+")]
    FileName { name: String, file: String },
}

impl Index {
    /// # Errors
    /// If the text is not an index, or a file's name cannot be a word of a boot script.
    pub fn parse(text: &[u8]) -> Result<Self, BadIndex> {
        serde_json::from_slice::<Self>(text).map_err(BadIndex::Json)?.plain()
    }

    fn plain(self) -> Result<Self, BadIndex> {
        match self.packs.iter().find(|pack| !is_plain(&pack.file)) {
            Some(pack) => Err(BadIndex::FileName { name: pack.name.clone(), file: pack.file.clone() }),
            None => Ok(self),
        }
    }
}

/// The file of the pack with this name.
#[must_use]
pub fn file_name(pack: &str) -> String {
    format!("pack-{pack}.cpio.zst")
}

/// Whether a file of this name is a pack or the index.
#[must_use]
pub fn is_of_packs(file: &str) -> bool {
    file == INDEX || (file.starts_with("pack-") && file.ends_with(".cpio.zst"))
}

/// The name becomes a word of the boot script and of the kernel's command line.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_back_as_it_was_written() {
        let pack = Pack {
            name: "san".into(),
            about: "adapters".into(),
            file: file_name("san"),
            size: 7,
            sha256: "00ff".into(),
            modaliases: vec!["pci:v00001077d*sv*sd*bc*sc*i*".into()],
        };
        let index = Index { kernel: "6.1.0".into(), packs: vec![pack] };
        let text = serde_json::to_string(&index).unwrap();
        let expected = concat!(
            r#"{"kernel":"6.1.0","packs":[{"name":"san","about":"adapters","file":"pack-san.cpio.zst","size":7,"#,
            r#""sha256":"00ff","modaliases":["pci:v00001077d*sv*sd*bc*sc*i*"]}]}"#
        );
        assert_eq!(text, expected);
        assert_eq!(Index::parse(text.as_bytes()).unwrap(), index);
        let offer = Offer { url: "http://192.0.2.1:7080/files/".into(), index };
        let text = serde_json::to_string(&offer).unwrap();
        assert_eq!(Offer::parse(text.as_bytes()).unwrap(), offer);
        assert_eq!(offer.url_of(&offer.index.packs[0]), "http://192.0.2.1:7080/files/pack-san.cpio.zst");
        assert!(is_of_packs(INDEX) && is_of_packs(&file_name("san")) && !is_of_packs("initramfs.cpio.zst"));
    }

    #[test]
    fn an_index_that_cannot_be_used_is_refused() {
        for text in ["", "{}", "[]", r#"{"kernel":"6","packs":[{"name":"a"}]}"#] {
            assert!(matches!(Index::parse(text.as_bytes()), Err(BadIndex::Json(_))), "{text}");
        }
        for file in ["", "../a", "a/b", "a b", "-a", ".a", "a&&b", "a\\nb", "${x}"] {
            let text =
                format!(r#"{{"kernel":"6","packs":[{{"name":"a","file":"{file}","size":1,"sha256":"","modaliases":[]}}]}}"#);
            assert!(matches!(Index::parse(text.as_bytes()), Err(BadIndex::FileName { .. })), "{file}");
        }
    }
}
