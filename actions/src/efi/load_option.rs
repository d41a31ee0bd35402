//! EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3): what a variable such as Boot0001 holds.

use super::device_path;
use super::text::{take_ucs2, ucs2};
use crate::partitions::le;

pub const ACTIVE: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    pub attributes: u32,
    pub description: String,
    /// One or several device paths.
    pub path: Vec<u8>,
    /// What the loader gets: arguments, for most in UCS-2.
    pub data: Vec<u8>,
}

impl LoadOption {
    pub fn encode(&self) -> Vec<u8> {
        let length = u16::try_from(self.path.len()).unwrap_or(u16::MAX);
        [&self.attributes.to_le_bytes()[..], &length.to_le_bytes(), &ucs2(&self.description), &self.path, &self.data].concat()
    }

    /// `None` for what is cut off.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (attributes, length) = (u32::try_from(le(bytes, 0, 4)?).ok()?, usize::try_from(le(bytes, 4, 2)?).ok()?);
        let (description, taken) = take_ucs2(bytes.get(6..)?)?;
        let rest = bytes.get(6 + taken..)?;
        let (path, data) = (rest.get(..length)?.to_vec(), rest.get(length..)?.to_vec());
        Some(Self { attributes, description, path, data })
    }

    pub fn is_active(&self) -> bool {
        self.attributes & ACTIVE != 0
    }

    pub fn path_text(&self) -> String {
        device_path::text(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_back_and_every_cut_of_it_is_refused_or_read() {
        let path = vec![0x7f, 0xff, 4, 0];
        let option = LoadOption { attributes: ACTIVE, description: "Debian ä".to_owned(), path, data: vec![1, 2, 3] };
        let bytes = option.encode();
        assert_eq!(LoadOption::decode(&bytes), Some(option));
        for end in 0..bytes.len() - 3 {
            assert_eq!(LoadOption::decode(&bytes[..end]), None, "{end}");
        }
    }
}
