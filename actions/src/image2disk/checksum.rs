//! What the image's file must hash to: the variables `IMG_SHA256` and `IMG_CHECKSUM`.

use crate::variables::{VariableError, Variables, unusable};
use sha2::{Digest, Sha256, Sha512};

const SHA256: &str = "IMG_SHA256";
const CHECKSUM: &str = "IMG_CHECKSUM";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    pub variable: &'static str,
    pub algorithm: Algorithm,
    /// In lower case.
    pub digits: String,
}

#[derive(Clone)]
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

/// What the variables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Nothing,
    Known(Checksum),
    /// The URL of a list, as sha256sum writes it.
    List(String),
}

impl Wanted {
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        let list = variables.text(CHECKSUM).ok().filter(|text| text.starts_with("http://") || text.starts_with("https://"));
        match list {
            Some(url) if variables.optional(SHA256).is_none() => Ok(Self::List(url.trim().to_owned())),
            _ => Ok(Checksum::read(variables)?.map_or(Self::Nothing, Self::Known)),
        }
    }
}

impl Checksum {
    /// The line of a list that is for this file: `HEX  NAME` or `HEX *NAME` of sha256sum, `SHA256 (NAME) = HEX` of BSD, or a
    /// single hash without a name.
    pub fn in_list(list: &str, file: &str) -> Option<Self> {
        let lines: Vec<&str> = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let by_name = lines.iter().find_map(|line| {
            let (name, digits) = match line.split_once(" = ") {
                Some((left, digits)) => (left.split_once('(')?.1.strip_suffix(')')?, digits),
                None => line.split_once([' ', '\t']).map(|(digits, name)| (name.trim_start().trim_start_matches('*'), digits))?,
            };
            (name.rsplit('/').next() == Some(file)).then_some(digits)
        });
        let digits = by_name.or(if let [line] = lines.as_slice() { Some(*line) } else { None })?;
        let algorithms = [Algorithm::Sha256, Algorithm::Sha512];
        algorithms.into_iter().find_map(|algorithm| Self::of(CHECKSUM, algorithm, digits))
    }

    fn read(variables: &Variables) -> Result<Option<Self>, VariableError> {
        match (variables.optional(SHA256), variables.optional(CHECKSUM)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(unusable(CHECKSUM, &variables.text(CHECKSUM)?, "one of IMG_SHA256 and IMG_CHECKSUM")),
            (Some(_), None) => {
                let text = variables.text(SHA256)?;
                let digits = text.trim().trim_start_matches("sha256:");
                Self::of(SHA256, Algorithm::Sha256, digits)
                    .map(Some)
                    .ok_or_else(|| unusable(SHA256, &text, "64 hexadecimal digits"))
            }
            (None, Some(_)) => {
                let text = variables.text(CHECKSUM)?;
                let wanted = "sha256: and 64 or sha512: and 128 hexadecimal digits, or the URL of a list of checksums";
                Self::named(CHECKSUM, &text).map(Some).ok_or_else(|| unusable(CHECKSUM, &text, wanted))
            }
        }
    }

    /// `sha256:HEX` or `sha512:HEX`.
    pub fn named(variable: &'static str, text: &str) -> Option<Self> {
        let (name, digits) = text.trim().split_once(':')?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return None,
        };
        Self::of(variable, algorithm, digits)
    }

    /// `None` if these are not the digits of such a hash.
    pub fn of(variable: &'static str, algorithm: Algorithm, digits: &str) -> Option<Self> {
        let length = match algorithm {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        };
        let plain = digits.len() == length && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain.then(|| Self { variable, algorithm, digits: digits.to_ascii_lowercase() })
    }

    pub fn hasher(&self) -> Hasher {
        match self.algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Box::new(Sha512::new())),
        }
    }
}

impl Hasher {
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
        }
    }

    /// In hexadecimal digits.
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => hex::encode(hash.finalize()),
            Self::Sha512(hash) => hex::encode(hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_names_its_algorithm_and_has_all_its_digits() {
        let (short, long) = ("A".repeat(64), "b".repeat(128));
        for (variable, text, expected) in [
            ("IMG_SHA256", short.clone(), Some(Algorithm::Sha256)),
            ("IMG_SHA256", format!("sha256:{short}"), Some(Algorithm::Sha256)),
            ("IMG_CHECKSUM", format!("sha256:{short}"), Some(Algorithm::Sha256)),
            ("IMG_CHECKSUM", format!("sha512:{long}\n"), Some(Algorithm::Sha512)),
            ("IMG_CHECKSUM", format!("sha512:{short}"), None),
            ("IMG_CHECKSUM", format!("md5:{}", "a".repeat(32)), None),
            ("IMG_CHECKSUM", short.clone(), None),
            ("IMG_SHA256", "abc".to_owned(), None),
        ] {
            let read = Checksum::read(&Variables::of([(variable, text.as_str())]));
            match expected {
                Some(algorithm) => assert_eq!(read.unwrap().unwrap().algorithm, algorithm, "{text}"),
                None => assert!(read.unwrap_err().to_string().starts_with(&format!("{variable}=\"")), "{text}"),
            }
        }
        assert_eq!(Checksum::read(&Variables::of([])), Ok(None));
        let both = Checksum::read(&Variables::of([("IMG_SHA256", short.as_str()), ("IMG_CHECKSUM", long.as_str())]));
        assert!(both.unwrap_err().to_string().contains("one of IMG_SHA256 and IMG_CHECKSUM"));
    }

    #[test]
    fn a_list_has_a_line_for_the_file() {
        let (a, b) = ("a".repeat(64), "b".repeat(128));
        for (case, list, expected) in [
            ("of sha256sum", format!("{}  other.img\n{a}  disk.img.zst\n", "c".repeat(64)), Some(&a)),
            ("binary, with a folder", format!("{a} *./out/disk.img.zst"), Some(&a)),
            ("of sha512sum", format!("# made today\n{b}  disk.img.zst\n"), Some(&b)),
            ("of BSD", format!("SHA256 (x) = {}\nSHA256 (disk.img.zst) = {a}\n", "c".repeat(64)), Some(&a)),
            ("one hash alone", format!("\n{a}\n"), Some(&a)),
            ("another file only", format!("{a}  other.img\n"), None),
            ("two hashes without names", format!("{a}\n{a}\n"), None),
            ("a page", "<html>not found</html>".to_owned(), None),
            ("a short hash", "abcd  disk.img.zst".to_owned(), None),
        ] {
            let found = Checksum::in_list(&list, "disk.img.zst").map(|checksum| checksum.digits);
            assert_eq!(found.as_ref(), expected, "{case}");
        }
    }

    #[test]
    fn a_url_names_a_list() {
        let url = "https://images.example/SHA256SUMS";
        assert_eq!(Wanted::read(&Variables::of([("IMG_CHECKSUM", url)])), Ok(Wanted::List(url.into())));
        assert_eq!(Wanted::read(&Variables::of([])), Ok(Wanted::Nothing));
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-2, of "abc"
        for (algorithm, start) in [(Algorithm::Sha256, "ba7816bf"), (Algorithm::Sha512, "ddaf35a1")] {
            let checksum = Checksum { variable: "X", algorithm, digits: String::new() };
            let mut hasher = checksum.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            assert!(hasher.finish().starts_with(start));
        }
    }
}
