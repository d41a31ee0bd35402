//! One header block and the numbers in it.

use super::BLOCK;
use super::sparse::{self, Part};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
    /// A vendor's kind, by its letter.
    Other(u8),
}

impl Kind {
    /// Some old archives give a link the size of its target, without the content.
    pub(super) fn has_content(self) -> bool {
        matches!(self, Self::File | Self::Other(_))
    }
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

pub(super) struct Numbers {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: Time,
    pub device: (u32, u32),
}

pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// `None` if the checksum is wrong. Old programs summed signed bytes, so both sums are accepted.
    pub fn new(block: [u8; BLOCK]) -> Option<Self> {
        let header = Self(block);
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (place, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&place) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        let stated = octal(header.field(148, 8))?;
        (stated == unsigned || stated == signed).then_some(header)
    }

    fn field(&self, start: usize, length: usize) -> &[u8] {
        self.0.get(start..start + length).unwrap_or_default()
    }

    pub fn kind_byte(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or(0)
    }

    /// V7 has no letter for directories. Their names end in a slash.
    pub fn kind(&self, path: &[u8]) -> Kind {
        match self.kind_byte() {
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => Kind::Other(other),
        }
    }

    pub fn format(&self) -> Format {
        match (self.field(257, 6), self.field(263, 2)) {
            (b"ustar\0", _) if self.field(508, 4) == b"tar\0" => Format::Star,
            (b"ustar\0", _) => Format::Ustar,
            (b"ustar ", b" \0") => Format::Gnu,
            _ => Format::V7,
        }
    }

    pub fn name(&self) -> Vec<u8> {
        let name = text(self.field(0, 100));
        let prefix = match self.format() {
            Format::Ustar => text(self.field(345, 155)),
            Format::Star => text(self.field(345, 131)),
            Format::Gnu | Format::V7 => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub fn link(&self) -> Vec<u8> {
        text(self.field(157, 100)).to_vec()
    }

    pub fn size(&self) -> Option<u64> {
        number(self.field(124, 12))?.try_into().ok()
    }

    pub fn numbers(&self) -> Option<Numbers> {
        let device = |start| Some(number(self.field(start, 8))? as u32);
        Some(Numbers {
            mode: number(self.field(100, 8))? as u32 & 0o7777,
            uid: id(number(self.field(108, 8))?),
            gid: id(number(self.field(116, 8))?),
            size: self.size()?,
            mtime: Time { seconds: number(self.field(136, 12))?, nanoseconds: 0 },
            device: if self.format() == Format::V7 { (0, 0) } else { (device(329)?, device(337)?) },
        })
    }

    /// The size of a sparse file in GNU's oldest form, and its first four parts.
    pub fn sparse(&self) -> Option<(u64, Vec<Part>)> {
        let mut parts = Vec::new();
        sparse::from_fields(self.field(386, 96), &mut parts)?;
        Some((number(self.field(483, 12))?.try_into().ok()?, parts))
    }

    pub fn has_more_sparse(&self) -> bool {
        self.field(482, 1) != [0]
    }
}

/// The id as chown(2) takes it: 32 bits. -1 becomes root.
pub(super) fn id(number: i64) -> u32 {
    match number as u32 {
        u32::MAX => 0,
        id => id,
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits, or GNU's binary form for larger numbers. An empty field is zero.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    let negative = first & 0x40 != 0;
    let mut value = 0u64;
    for (place, byte) in field.iter().enumerate() {
        let byte = if negative { !byte } else { *byte };
        let byte = if place == 0 { byte & 0x7f } else { byte };
        if value >> 56 > 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if negative { !value } else { value })
}

fn octal(field: &[u8]) -> Option<i64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let digits = text(field.get(start..)?);
    let end = digits.iter().rposition(|byte| !padding(byte)).map_or(0, |last| last + 1);
    let digits = std::str::from_utf8(digits.get(..end)?).ok()?;
    if digits.is_empty() {
        Some(0)
    } else {
        i64::from_str_radix(digits, 8).ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))
    }
}
