//! What identifies a machine without a network. Much firmware has the same words in every machine, which identify none.

use std::fmt;
use std::str::FromStr;

use cmdline::HwAddr;

/// What a machine knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub uuid: Option<Uuid>,
    pub serial: Option<String>,
    pub macs: Vec<HwAddr>,
}

/// What a row was found by. The first one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Uuid,
    Serial,
    Mac,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uuid => "UUID",
            Self::Serial => "serial number",
            Self::Mac => "MAC address",
        })
    }
}

/// The system UUID of SMBIOS, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 16]);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    #[error("not a UUID (expected 01234567-89ab-cdef-0123-456789abcdef)")]
    Form,
    #[error("a UUID that firmware has in many machines, so it identifies none")]
    Placeholder,
}

/// What American Megatrends has in boards whose maker did not set one, and another one from sample code.
const PLACEHOLDERS: [&str; 2] = ["03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"];

impl Uuid {
    /// Whether both are of one machine. Firmware before SMBIOS 2.6, and some BMCs, write the first three fields in the other
    /// byte order.
    pub fn is(self, other: Self) -> bool {
        self == other || self.swapped() == other
    }

    fn swapped(self) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let [i, j, k, l, m, n, o, p] = rest;
        Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    fn read(text: &str) -> Option<Self> {
        let digits = text.bytes().filter(|byte| *byte != b'-');
        let is_form =
            text.len() == 36 && text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == [8, 13, 18, 23].contains(&at));
        let mut bytes = [0; 16];
        for (at, digit) in digits.enumerate() {
            let digit = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
            let byte = bytes.get_mut(at / 2)?;
            *byte = *byte << 4 | digit;
        }
        is_form.then_some(Self(bytes))
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let uuid = Self::read(text.trim()).ok_or(UuidError::Form)?;
        let is_repeated = uuid.0.windows(2).all(|pair| matches!(pair, [one, other] if one == other));
        let is_known = PLACEHOLDERS.iter().filter_map(|text| Self::read(text)).any(|known| known.is(uuid));
        if is_repeated || is_known { Err(UuidError::Placeholder) } else { Ok(uuid) }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// What firmware has in place of a serial number, in capital letters.
const NO_SERIALS: [&str; 20] = [
    "TO BE FILLED BY O.E.M.",
    "TO BE FILLED BY OEM",
    "O.E.M.",
    "OEM",
    "DEFAULT STRING",
    "SYSTEM SERIAL NUMBER",
    "BASE BOARD SERIAL NUMBER",
    "CHASSIS SERIAL NUMBER",
    "SERIAL NUMBER",
    "NOT SPECIFIED",
    "NOT APPLICABLE",
    "NOT AVAILABLE",
    "NOT PROVIDED",
    "UNKNOWN",
    "INVALID",
    "EMPTY",
    "NONE",
    "NULL",
    "N/A",
    "NA",
];
const DIGITS: &str = "01234567890123456789";

/// A serial number as the table has it: without spaces around it, in capital letters. `None` for what identifies no machine.
pub fn serial(text: &str) -> Option<String> {
    let serial = text.trim().to_uppercase();
    let is_repeated = || serial.chars().zip(serial.chars().skip(1)).all(|(one, other)| one == other);
    // 0123456789 and 123456789 are the samples of many boards.
    let is_sample = || serial.len() >= 6 && DIGITS.contains(serial.as_str());
    let is_none = is_repeated() || is_sample() || NO_SERIALS.contains(&serial.as_str()) || serial.chars().any(char::is_control);
    (!is_none).then_some(serial)
}
