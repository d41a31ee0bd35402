//! One packet: the fixed header of BOOTP, the magic cookie, and the options behind it.

use std::net::Ipv4Addr;
use std::{fmt, str};

use super::MessageType;
use super::forms::{Fault, Values};
use super::options::{Options, code, put, read_area, wire_len};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const HEADER_LEN: usize = 236;
const SNAME_LEN: usize = 64;
const FILE_LEN: usize = 128;
const BROADCAST_FLAG: u16 = 0x8000;

/// The size of a BOOTP packet (RFC 951); relays and old clients drop anything shorter.
pub const MIN_LEN: usize = 300;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Op {
    #[default]
    Request,
    Reply,
}

/// Text of a fixed header field (`sname`, `file`): shorter than the field, so that a NUL always ends it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<const FIELD: usize>(Vec<u8>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{len} bytes do not fit a field of {field} that ends in NUL")]
pub struct TextTooLong {
    pub len: usize,
    pub field: usize,
}

impl<const FIELD: usize> Text<FIELD> {
    pub fn new(text: impl AsRef<[u8]>) -> Result<Self, TextTooLong> {
        let text = text.as_ref();
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        if text.len() < FIELD { Ok(Self(text.to_vec())) } else { Err(TextTooLong { len: text.len(), field: FIELD }) }
    }

    /// What a field holds up to its first NUL. A field without NUL loses its last byte rather than the packet.
    fn from_field(field: &[u8]) -> Self {
        let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
        Self(text.get(..FIELD - 1).unwrap_or(text).to_vec())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
        out.resize(out.len() + FIELD - self.0.len(), 0);
    }
}

impl<const FIELD: usize> fmt::Debug for Text<FIELD> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// A DHCPv4 packet. Header fields carry the RFC's names; the options have typed readers and a `set_…` family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub op: Op,
    pub htype: u8,
    /// How many bytes of `chaddr` are used, at most 16.
    pub hlen: u8,
    pub hops: u8,
    pub xid: u32,
    pub secs: u16,
    pub flags: u16,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub chaddr: [u8; 16],
    pub sname: Text<SNAME_LEN>,
    pub file: Text<FILE_LEN>,
    pub options: Options,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            op: Op::Request,
            htype: 1, // Ethernet
            hlen: 6,
            hops: 0,
            xid: 0,
            secs: 0,
            flags: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: [0; 16],
            sname: Text::default(),
            file: Text::default(),
            options: Options::default(),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{len} bytes are too short for a DHCP packet (240 at least)")]
    TooShort { len: usize },
    #[error("op is {0}, neither request (1) nor reply (2)")]
    Op(u8),
    #[error("hardware address of {0} bytes (16 at most)")]
    HardwareAddress(u8),
    #[error("no DHCP magic cookie: plain BOOTP, or another protocol")]
    Cookie,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the options need {needed} bytes, the other side takes {max}")]
pub struct EncodeError {
    pub needed: usize,
    pub max: usize,
}

impl Packet {
    /// A client's packet with its Ethernet address and transaction.
    pub fn request(kind: MessageType, xid: u32, mac: [u8; 6]) -> Self {
        let mut packet = Self { xid, ..Self::default() };
        packet.set_mac(mac);
        packet.options.set_u8(code::MESSAGE_TYPE, kind.byte());
        packet
    }

    /// A server's answer. It copies what RFC 2131 table 3 says, and returns options 61
    /// (RFC 6842), 118 (RFC 3011) and 82 (RFC 3046).
    pub fn reply(&self, kind: MessageType) -> Self {
        let mut reply = Self {
            op: Op::Reply,
            htype: self.htype,
            hlen: self.hlen,
            xid: self.xid,
            flags: self.flags,
            giaddr: self.giaddr,
            chaddr: self.chaddr,
            ..Self::default()
        };
        if kind == MessageType::Ack {
            reply.ciaddr = self.ciaddr;
        }
        reply.options.set_u8(code::MESSAGE_TYPE, kind.byte());
        for echoed in [code::CLIENT_ID, code::SUBNET_SELECTION, code::RELAY_AGENT] {
            if let Some(value) = self.options.get(echoed) {
                reply.options.set(echoed, value);
            }
        }
        reply
    }

    /// Whether this is a server's answer to `request`: same transaction, same hardware address.
    pub fn answers(&self, request: &Self) -> bool {
        self.op == Op::Reply && self.xid == request.xid && self.chaddr == request.chaddr
    }

    /// The Ethernet address, if the packet carries one.
    pub fn mac(&self) -> Option<[u8; 6]> {
        if self.htype == 1 && self.hlen == 6 { self.chaddr.first_chunk().copied() } else { None }
    }

    pub fn set_mac(&mut self, mac: [u8; 6]) {
        (self.htype, self.hlen) = (1, 6);
        let [a, b, c, d, e, f] = mac;
        self.chaddr = [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    }

    /// Whether the client cannot receive unicast before it has its address.
    pub fn wants_broadcast(&self) -> bool {
        self.flags & BROADCAST_FLAG != 0
    }

    pub fn set_wants_broadcast(&mut self, wanted: bool) {
        self.flags = if wanted { self.flags | BROADCAST_FLAG } else { self.flags & !BROADCAST_FLAG };
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with_faults(bytes).map(|(packet, _)| packet)
    }

    /// Also returns what is wrong with its options. The packet has the options that are good.
    pub fn decode_with_faults(bytes: &[u8]) -> Result<(Self, Vec<Fault>), DecodeError> {
        let too_short = || DecodeError::TooShort { len: bytes.len() };
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or_else(too_short)?;
        let (cookie, area) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
        let mut read = Reader(header);
        let op = match read.u8() {
            1 => Op::Request,
            2 => Op::Reply,
            other => return Err(DecodeError::Op(other)),
        };
        if *cookie != COOKIE {
            return Err(DecodeError::Cookie);
        }
        let (htype, hlen, hops) = (read.u8(), read.u8(), read.u8());
        if hlen > 16 {
            return Err(DecodeError::HardwareAddress(hlen));
        }
        let mut packet = Self {
            op,
            htype,
            hlen,
            hops,
            xid: u32::from_be_bytes(read.array()),
            secs: u16::from_be_bytes(read.array()),
            flags: u16::from_be_bytes(read.array()),
            ciaddr: read.array().into(),
            yiaddr: read.array().into(),
            siaddr: read.array().into(),
            giaddr: read.array().into(),
            chaddr: read.array(),
            sname: Text::default(),
            file: Text::default(),
            options: Options::default(),
        };
        let (sname, file): ([u8; SNAME_LEN], [u8; FILE_LEN]) = (read.array(), read.array());
        let faults = packet.decode_options(area, &sname, &file);
        Ok((packet, faults))
    }

    /// Options may continue in `file` and then in `sname` (RFC 2131 section 4.1, RFC 3396 section 5).
    fn decode_options(&mut self, area: &[u8], sname: &[u8], file: &[u8]) -> Vec<Fault> {
        let mut values = Values::default();
        read_area(area, &mut values);
        let overload = match values.take(code::OVERLOAD).as_deref() {
            Some(&[bits @ 1..=3]) => bits,
            _ => 0,
        };
        if overload & 1 != 0 {
            read_area(file, &mut values);
        } else {
            self.file = Text::from_field(file);
        }
        if overload & 2 != 0 {
            read_area(sname, &mut values);
        } else {
            self.sname = Text::from_field(sname);
        }
        let (options, faults) = Options::of(values); // without a second OVERLOAD, which has no meaning inside the fields
        self.options = options;
        faults
    }

    /// The packet's bytes, padded to [`MIN_LEN`], however long its options are.
    pub fn encode(&self) -> Vec<u8> {
        let mut area = Vec::new();
        self.options.wire_order().for_each(|(code, value)| put(&mut area, code, value));
        let (mut sname, mut file) = (Vec::new(), Vec::new());
        self.sname.put(&mut sname);
        self.file.put(&mut file);
        self.assemble(&sname, &file, &area)
    }

    /// The packet's bytes in at most `max` (the UDP payload the other side takes). What does not fit behind the cookie moves
    /// into `file` and `sname` where those are empty (option 52). Every receiver takes [`MIN_LEN`] bytes.
    pub fn encode_within(&self, max: usize) -> Result<Vec<u8>, EncodeError> {
        let max = max.max(MIN_LEN);
        let whole = self.encode();
        if whole.len() <= max {
            return Ok(whole);
        }
        let too_big = EncodeError { needed: whole.len(), max };
        let room = max.checked_sub(HEADER_LEN + COOKIE.len()).ok_or(EncodeError { needed: whole.len(), max })?;
        self.spill(room).ok_or(too_big)
    }

    fn spill(&self, room: usize) -> Option<Vec<u8>> {
        let [kind, agent] = [code::MESSAGE_TYPE, code::RELAY_AGENT].map(|code| {
            let mut bytes = Vec::new();
            self.options.get(code).inspect(|value| put(&mut bytes, code, value));
            bytes
        });
        let overload_len = 3;
        // Every area ends with a byte of its own.
        let area_room = room.checked_sub(kind.len() + agent.len() + overload_len + 1)?;
        let file_room = if self.file.is_empty() { FILE_LEN - 1 } else { 0 };
        let sname_room = if self.sname.is_empty() { SNAME_LEN - 1 } else { 0 };
        let mut fields = [(Vec::new(), area_room), (Vec::new(), file_room), (Vec::new(), sname_room)];
        let mut options: Vec<_> =
            self.options.iter().filter(|(code, _)| !matches!(*code, code::MESSAGE_TYPE | code::RELAY_AGENT)).collect();
        options.sort_by_key(|(_, value)| std::cmp::Reverse(value.len())); // the large ones have fewer places to go
        for (code, value) in options {
            let fits = |(bytes, room): &&mut (Vec<u8>, usize)| bytes.len() + wire_len(value) <= *room;
            let (bytes, _) = fields.iter_mut().find(fits)?;
            put(bytes, code, value);
        }
        let [(area, _), (file, _), (sname, _)] = fields;
        let overload = u8::from(!file.is_empty()) | u8::from(!sname.is_empty()) << 1;
        let area = [kind, vec![code::OVERLOAD, 1, overload], area, agent].concat();
        let file = self.overloaded_or_text::<FILE_LEN>(file, &self.file);
        let sname = self.overloaded_or_text::<SNAME_LEN>(sname, &self.sname);
        Some(self.assemble(&sname, &file, &area))
    }

    fn overloaded_or_text<const FIELD: usize>(&self, mut options: Vec<u8>, text: &Text<FIELD>) -> Vec<u8> {
        if options.is_empty() {
            text.put(&mut options);
        } else {
            options.push(code::END);
            options.resize(FIELD, code::PAD);
        }
        options
    }

    fn assemble(&self, sname: &[u8], file: &[u8], area: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + COOKIE.len() + area.len() + 1);
        let op = match self.op {
            Op::Request => 1,
            Op::Reply => 2,
        };
        out.extend([op, self.htype, self.hlen.min(16), self.hops]);
        out.extend(self.xid.to_be_bytes());
        out.extend(self.secs.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        for addr in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            out.extend(addr.octets());
        }
        out.extend(self.chaddr);
        out.extend_from_slice(sname);
        out.extend_from_slice(file);
        out.extend(COOKIE);
        out.extend_from_slice(area);
        out.push(code::END);
        out.resize(out.len().max(MIN_LEN), code::PAD);
        out
    }
}

/// Takes fields off a header whose length is known. It cannot run out of bytes; if it did, it would read zeros.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.0 = rest;
                *chunk
            }
            None => [0; N],
        }
    }

    fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }
}
