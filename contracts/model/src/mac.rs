//! A machine's hardware address: one type, one notation (lower case, colons), whatever it was read from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac([u8; 6]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as 52:54:00:12:34:56")]
pub struct NotAMac(pub String);

impl Mac {
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl From<[u8; 6]> for Mac {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Mac {
    type Err = NotAMac;

    /// Reads `52:54:00:12:34:56`, `52-54-00-12-34-56`, `5254.0012.3456` and `525400123456`, in either case.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let refused = || NotAMac(text.chars().take(64).collect());
        let (separator, group) = match text.len() {
            17 if text.contains(':') => (Some(b':'), 3),
            17 => (Some(b'-'), 3),
            14 => (Some(b'.'), 5),
            12 => (None, 13),
            _ => return Err(refused()),
        };
        let (mut bytes, mut digits) = ([0_u8; 6], 0_usize);
        for (position, byte) in text.bytes().enumerate() {
            if separator.is_some() && position % group == group - 1 {
                if Some(byte) != separator {
                    return Err(refused());
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(refused)?;
            let slot = bytes.get_mut(digits / 2).ok_or_else(refused)?;
            *slot = *slot << 4 | digit;
            digits += 1;
        }
        if digits == 12 { Ok(Self(bytes)) } else { Err(refused()) }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn every_notation_means_the_same_address() {
        for text in ["52:54:00:AB:cd:0f", "52-54-00-ab-CD-0F", "5254.00ab.cd0f", "525400abcd0f"] {
            assert_eq!(text.parse::<Mac>().map(|mac| mac.to_string()).as_deref(), Ok("52:54:00:ab:cd:0f"), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:0g",
            "52:54:00:ab:cd:0f:11",
            "52:54-00:ab:cd:0f",
            "5254:00ab:cd0f",
            "ää:54:00:ab:cd:f",
            "::::::::::::",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
