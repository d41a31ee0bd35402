//! What a server reads of a client's options.

use std::net::Ipv6Addr;

use super::{CLIENT_ARCH, IA_ADDRESS, IA_NA, OPTION_REQUEST, Options, USER_CLASS, VENDOR_CLASS};

/// An identity association as a client asks for it. The times in it are wishes, which may be 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub id: u32,
    pub addresses: Vec<Ipv6Addr>,
}

impl Wanted {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, options) = bytes.split_at_checked(12)?;
        let id = u32::from_be_bytes(*head.first_chunk()?);
        let options = Options::decode(options);
        let addresses = options.all(IA_ADDRESS).filter_map(|value| Some(Ipv6Addr::from(*value.first_chunk::<16>()?)));
        Some(Self { id, addresses: addresses.collect() })
    }
}

impl Options {
    pub fn wanted(&self) -> Vec<Wanted> {
        self.all(IA_NA).filter_map(Wanted::decode).collect()
    }

    /// Whether the client asks for this option.
    pub fn asks_for(&self, kind: u16) -> bool {
        self.all(OPTION_REQUEST).flat_map(|value| value.as_chunks().0).any(|code: &[u8; 2]| u16::from_be_bytes(*code) == kind)
    }

    /// RFC 5970, 3.3.
    pub fn client_archs(&self) -> Vec<u16> {
        self.all(CLIENT_ARCH).flat_map(|value| value.as_chunks().0).map(|arch: &[u8; 2]| u16::from_be_bytes(*arch)).collect()
    }

    pub fn user_classes(&self) -> Vec<&[u8]> {
        self.get(USER_CLASS).map(texts).unwrap_or_default()
    }

    /// The first class of a vendor, such as `PXEClient:Arch:00007:UNDI:003000`.
    pub fn vendor_class(&self) -> &[u8] {
        let value = self.get(VENDOR_CLASS).and_then(|value| value.get(4..)).unwrap_or_default(); // behind the vendor's number
        texts(value).first().copied().unwrap_or(value)
    }
}

/// Values with their lengths in front (RFC 8415, 21.15). Empty if the lengths do not fit.
fn texts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let Some((text, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else { return Vec::new() };
        found.push(text);
        bytes = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_with_and_without_lengths() {
        let class = |value: &[u8]| Options::default().with(VENDOR_CLASS, [&[0, 0, 1, 0x57], value].concat());
        assert_eq!(class(b"\0\x09PXEClient").vendor_class(), b"PXEClient");
        assert_eq!(class(b"PXEClient:Arch").vendor_class(), b"PXEClient:Arch", "without its length");
        assert_eq!(Options::default().with(VENDOR_CLASS, [0]).vendor_class(), b"");
        let user = Options::default().with(USER_CLASS, *b"\0\x04iPXE\0\x01x");
        assert_eq!(user.user_classes(), [&b"iPXE"[..], b"x"]);
        assert!(Options::default().with(USER_CLASS, *b"iPXE").user_classes().is_empty());
    }

    #[test]
    fn what_is_asked_for_is_found() {
        let address: Ipv6Addr = "fd00::7".parse().unwrap();
        let wish = Options::default().with(IA_ADDRESS, [&address.octets()[..], &[0; 8]].concat()).encode();
        let options = Options::default()
            .with(IA_NA, [&[0, 0, 0, 9], &[255; 8][..], &wish].concat())
            .with(IA_NA, [0; 11])
            .with(OPTION_REQUEST, [0, 23, 0, 59, 0])
            .with(CLIENT_ARCH, [0, 7, 0, 16]);
        assert_eq!(options.wanted(), [Wanted { id: 9, addresses: vec![address] }], "the cut one is left out");
        assert!(options.asks_for(59) && !options.asks_for(24));
        assert_eq!(options.client_archs(), [7, 16]);
    }
}
