//! TFTP packets: bytes to types and back.

use std::str;

/// Error codes of RFC 1350 and RFC 2347.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    Undefined,
    NotFound,
    AccessViolation,
    IllegalOperation,
    UnknownTransfer,
    OptionsRefused,
    Other(u16),
}

impl ErrorCode {
    const fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Undefined,
            1 => Self::NotFound,
            2 => Self::AccessViolation,
            4 => Self::IllegalOperation,
            5 => Self::UnknownTransfer,
            8 => Self::OptionsRefused,
            other => Self::Other(other),
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::Undefined => 0,
            Self::NotFound => 1,
            Self::AccessViolation => 2,
            Self::IllegalOperation => 4,
            Self::UnknownTransfer => 5,
            Self::OptionsRefused => 8,
            Self::Other(other) => other,
        }
    }
}

/// What a client sends. Option names are kept as sent; they compare without case (RFC 2347).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    Read { path: &'a str, options: Vec<(&'a str, &'a str)> },
    Write { path: &'a str },
    Ack { block: u16 },
    Error { code: ErrorCode, message: String },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} bytes are not a TFTP packet")]
    TooShort(usize),
    #[error("a client does not send opcode {0}")]
    Opcode(u16),
    #[error("its {0} has no end, or is not text")]
    Text(&'static str),
    #[error("mode {0:?} is neither octet nor netascii")]
    Mode(String),
}

impl<'a> Packet<'a> {
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (opcode, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed::TooShort(bytes.len()))?;
        match u16::from_be_bytes(*opcode) {
            1 => request(rest).map(|(path, options)| Self::Read { path, options }),
            2 => request(rest).map(|(path, _)| Self::Write { path }),
            4 => {
                let (block, _) = rest.split_first_chunk::<2>().ok_or(Malformed::TooShort(bytes.len()))?;
                Ok(Self::Ack { block: u16::from_be_bytes(*block) })
            }
            5 => {
                let (code, text) = rest.split_first_chunk::<2>().ok_or(Malformed::TooShort(bytes.len()))?;
                let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
                let message = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect();
                Ok(Self::Error { code: ErrorCode::from_number(u16::from_be_bytes(*code)), message })
            }
            other => Err(Malformed::Opcode(other)),
        }
    }
}

type Request<'a> = (&'a str, Vec<(&'a str, &'a str)>);

fn request(bytes: &[u8]) -> Result<Request<'_>, Malformed> {
    let (path, rest) = file_name(bytes).ok_or(Malformed::Text("file name"))?;
    let (mode, mut rest) = text(rest).ok_or(Malformed::Text("mode"))?;
    // Firmware that says netascii wants the bytes as they are.
    if !["octet", "netascii"].iter().any(|known| mode.eq_ignore_ascii_case(known)) {
        return Err(Malformed::Mode(mode.chars().take(40).collect()));
    }
    let mut options = Vec::new();
    while !rest.is_empty() {
        // Some ROMs send bytes behind the last option. An option is a pair of texts.
        let Some((name, value, after)) =
            text(rest).and_then(|(name, after)| text(after).map(|(value, after)| (name, value, after)))
        else {
            break;
        };
        options.push((name, value));
        rest = after;
    }
    Ok((path, options))
}

/// ROMs that take option 67 for text with a NUL read on to the end of the options, and append its 0xff.
fn file_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let (name, rest) = bytes.split_at_checked(end)?;
    let length = name.iter().rposition(|&byte| byte != 0xff)? + 1;
    Some((str::from_utf8(name.get(..length)?).ok()?, rest.get(1..)?))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let (text, rest) = bytes.split_at_checked(end)?;
    Some((str::from_utf8(text).ok()?, rest.get(1..)?))
}

/// A DATA packet's header; the block follows it.
#[must_use]
pub fn data_header(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

#[must_use]
pub fn option_ack(options: &[(&str, u64)]) -> Vec<u8> {
    let mut out = vec![0, 6];
    for (name, value) in options {
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(value.to_string().as_bytes());
        out.push(0);
    }
    out
}

#[must_use]
pub fn error(code: ErrorCode, message: &str) -> Vec<u8> {
    let [high, low] = code.number().to_be_bytes();
    let mut out = vec![0, 5, high, low];
    out.extend(message.bytes().filter(|&byte| byte != 0));
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        for (case, bytes, packet) in [
            ("a bare request", &b"\0\x01a.efi\0octet\0"[..], Ok(Packet::Read { path: "a.efi", options: vec![] })),
            (
                "options",
                b"\0\x01a\0OCTET\0BlkSize\x001468\0tsize\x000\0",
                Ok(Packet::Read { path: "a", options: vec![("BlkSize", "1468"), ("tsize", "0")] }),
            ),
            (
                "bytes behind the options",
                b"\0\x01a\0octet\0tsize\x000\0\xff",
                Ok(Packet::Read { path: "a", options: vec![("tsize", "0")] }),
            ),
            ("an option without value", b"\0\x01a\0octet\0tsize\0", Ok(Packet::Read { path: "a", options: vec![] })),
            ("a write", b"\0\x02a\0octet\0", Ok(Packet::Write { path: "a" })),
            ("an ack", b"\0\x04\x01\x02", Ok(Packet::Ack { block: 258 })),
            ("an error", b"\0\x05\0\x08no\0", Ok(Packet::Error { code: ErrorCode::OptionsRefused, message: "no".to_owned() })),
            ("an error without text", b"\0\x05\0\0", Ok(Packet::Error { code: ErrorCode::Undefined, message: String::new() })),
            ("nothing", b"", Err(Malformed::TooShort(0))),
            ("half an ack", b"\0\x04\x01", Err(Malformed::TooShort(3))),
            ("data", b"\0\x03\0\x01x", Err(Malformed::Opcode(3))),
            ("a name without end", b"\0\x01a", Err(Malformed::Text("file name"))),
            ("no mode", b"\0\x01a\0", Err(Malformed::Text("mode"))),
            ("a name that is not text", b"\0\x01\xff\0octet\0", Err(Malformed::Text("file name"))),
            ("mail", b"\0\x01a\0mail\0", Err(Malformed::Mode("mail".to_owned()))),
        ] {
            assert_eq!(Packet::decode(bytes), packet, "{case}");
        }
    }

    #[test]
    fn answers_are_written() {
        assert_eq!(option_ack(&[("tsize", 70_000), ("blksize", 1468)]), b"\0\x06tsize\x0070000\0blksize\x001468\0");
        assert_eq!(error(ErrorCode::NotFound, "no\0pe"), b"\0\x05\0\x01nope\0");
        assert_eq!(data_header(258), [0, 3, 1, 2]);
    }
}
