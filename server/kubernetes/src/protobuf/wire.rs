//! Protobuf's wire format: fields of a number and a payload.

use std::fmt;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    Magic,
    Kind(String),
    Short,
    Varint,
    WireType,
    Text,
    Json,
    Time,
    Deep,
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Magic => "it does not begin as Kubernetes' protobuf does",
            Self::Kind(kind) => return write!(out, "the kind {kind:?} is not known in this encoding; send JSON"),
            Self::Short => "it ends in the middle of a field",
            Self::Varint => "a number has too many bytes",
            Self::WireType => "a field has the wrong type",
            Self::Text => "a text is not UTF-8",
            Self::Json => "a field is not the JSON that it should be",
            Self::Time => "a time is out of range",
            Self::Deep => "it is nested too deeply",
        })
    }
}

impl std::error::Error for Malformed {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    /// Of a fixed size; no message here has such a field.
    Fixed,
}

/// The fields of a message, in order. After an error there are no more.
pub struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    pub const fn of(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed::Short)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Payload<'b>), Malformed> {
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => Payload::Number(self.varint()?),
            1 => self.take(8).map(|_| Payload::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Short)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Payload::Fixed)?,
            _ => return Err(Malformed::WireType),
        };
        Ok((tag >> 3, payload))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, Payload<'b>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Writes messages.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    #[must_use]
    pub fn bytes(mut self, number: u64, bytes: &[u8]) -> Self {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    #[must_use]
    pub fn text(self, number: u64, text: &str) -> Self {
        self.bytes(number, text.as_bytes())
    }

    #[must_use]
    pub fn message(self, number: u64, message: Self) -> Self {
        self.bytes(number, &message.0)
    }
}
