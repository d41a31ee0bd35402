//! What the values of options look like, and which value counts if an option comes more than once.
//!
//! RFC 3396 joins the values of an option that comes several times. That is meant for values that are too long for one
//! option. Servers also send short options twice, and joined they would mean nothing. So an option of fixed length takes its
//! first good value. A broken option is left out. The packet, and a good option of the same code, remain.

use std::fmt;

use super::MessageType;
use super::options::code;
use super::typed::routes;
use crate::name;

/// The longest value of one option. A value of this length goes on in the next option of its code.
const LONGEST: usize = 255;

enum Form {
    /// Exactly this many bytes.
    Fixed(usize),
    /// Elements of this many bytes, at least one.
    List(usize),
    Text,
    Names,
    Routes,
    Anything,
}

fn form(code: u8) -> Form {
    match code {
        code::MESSAGE_TYPE | code::OVERLOAD | 19 | 20 | 23 | 27 | 29..=31 | 34 | 36 | 37 | 39 | 46 | 116 => Form::Fixed(1),
        code::INTERFACE_MTU | code::MAX_MESSAGE_SIZE | 13 | 22 => Form::Fixed(2),
        code::CLIENT_NDI => Form::Fixed(3),
        code::SUBNET_MASK | code::BROADCAST_ADDRESS | code::REQUESTED_IP | code::LEASE_TIME | code::SERVER_ID => Form::Fixed(4),
        code::RENEWAL_TIME | code::REBINDING_TIME | 2 | 16 | 24 | 32 | 35 | 38 | 108 => Form::Fixed(4),
        code::SUBNET_SELECTION | code::LAST_TRANSACTION => Form::Fixed(4),
        code::CLIENT_UUID => Form::Fixed(17),
        code::ASSOCIATED_IP => Form::List(4),
        code::ROUTERS | code::DNS_SERVERS | code::LOG_SERVERS | code::NTP_SERVERS => Form::List(4),
        code::CLIENT_ARCH => Form::List(2),
        code::HOSTNAME | code::DOMAIN_NAME | code::ROOT_PATH | code::MESSAGE => Form::Text,
        code::TFTP_SERVER_NAME | code::BOOT_FILE_NAME => Form::Text,
        code::DOMAIN_SEARCH => Form::Names,
        code::CLASSLESS_ROUTES => Form::Routes,
        _ => Form::Anything,
    }
}

/// The name of an option that this crate reads.
fn meaning(code: u8) -> Option<&'static str> {
    Some(match code {
        code::SUBNET_MASK => "subnet mask",
        code::ROUTERS => "routers",
        code::DNS_SERVERS => "name servers",
        code::HOSTNAME => "host name",
        code::DOMAIN_NAME => "domain name",
        code::INTERFACE_MTU => "MTU",
        code::BROADCAST_ADDRESS => "broadcast address",
        code::NTP_SERVERS => "time servers",
        code::VENDOR_SPECIFIC => "vendor options",
        code::REQUESTED_IP => "requested address",
        code::LEASE_TIME => "lease time",
        code::OVERLOAD => "overload",
        code::MESSAGE_TYPE => "message type",
        code::SERVER_ID => "server identifier",
        code::RENEWAL_TIME => "renewal time",
        code::REBINDING_TIME => "rebinding time",
        code::CLIENT_ID => "client identifier",
        code::BOOT_FILE_NAME => "boot file",
        code::RELAY_AGENT => "relay agent",
        code::CLIENT_ARCH => "client architecture",
        code::CLIENT_UUID => "client UUID",
        code::DOMAIN_SEARCH => "domain search list",
        code::CLASSLESS_ROUTES => "classless routes",
        _ => return None,
    })
}

/// What is wrong with an option. The packet's other options remain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: u8,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// It runs past the end of its area: `there` of its `announced` bytes are left. `None`: not even its length.
    CutOff { announced: Option<u8>, there: usize },
    /// One of several values of a fixed length counts.
    Surplus { times: usize },
    /// The same value again.
    Repeated { times: usize },
    /// Not a value of its kind. With `kept`, another value or a part of this one counts.
    Broken { len: usize, kept: bool },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option {}", self.code)?;
        meaning(self.code).map_or(Ok(()), |meaning| write!(f, " ({meaning})"))?;
        match self.kind {
            FaultKind::CutOff { announced: None, .. } => f.write_str(" is cut off before its length: left out"),
            FaultKind::CutOff { announced: Some(announced), there } => {
                write!(f, " is cut off, {there} of its {announced} bytes are there: left out")
            }
            FaultKind::Surplus { times } => write!(f, " came {times} times: its first good value counts"),
            FaultKind::Repeated { times } => write!(f, " came {times} times with the same value: it counts once"),
            FaultKind::Broken { len, kept } => {
                let rest = if kept { "the rest counts" } else { "left out" };
                match form(self.code) {
                    _ if len == 0 => f.write_str(" is empty: left out"),
                    Form::Fixed(wanted) if len != wanted => write!(f, " has {len} bytes instead of {wanted}: {rest}"),
                    Form::List(size) => write!(f, " has {len} bytes, which are not elements of {size}: {rest}"),
                    _ => write!(f, " has a broken value of {len} bytes: {rest}"),
                }
            }
        }
    }
}

/// The values of one packet in the order in which they came.
#[derive(Default)]
pub(crate) struct Values {
    values: Vec<Value>,
    pub faults: Vec<Fault>,
}

struct Value {
    code: u8,
    bytes: Vec<u8>,
    /// The last piece had the greatest length, so the next piece of this code belongs to the same value.
    goes_on: bool,
}

impl Values {
    pub fn add(&mut self, code: u8, piece: &[u8]) {
        let goes_on = piece.len() == LONGEST;
        match self.values.iter_mut().rfind(|value| value.code == code) {
            Some(value) if value.goes_on => {
                value.bytes.extend_from_slice(piece);
                value.goes_on = goes_on;
            }
            _ => self.values.push(Value { code, bytes: piece.to_vec(), goes_on }),
        }
    }

    /// Takes the values of one code out, and returns the one that counts.
    pub fn take(&mut self, code: u8) -> Option<Vec<u8>> {
        let all: Vec<Vec<u8>> = self.values.extract_if(.., |value| value.code == code).map(|value| value.bytes).collect();
        if all.is_empty() { None } else { Some(settle(code, all, &mut self.faults)) }
    }

    /// Takes the values of one of the remaining codes.
    pub fn pop(&mut self) -> Option<(u8, Vec<u8>)> {
        let code = self.values.first()?.code;
        Some((code, self.take(code)?))
    }
}

fn settle(code: u8, all: Vec<Vec<u8>>, faults: &mut Vec<Fault>) -> Vec<u8> {
    let times = all.len();
    let value = match form(code) {
        _ if times == 1 => all.concat(),
        Form::Fixed(_) => {
            let joined = || Some(all.concat()).filter(|joined| is_good(code, joined));
            let good = all.iter().find(|value| is_good(code, value)).cloned().or_else(joined);
            faults.push(Fault { code, kind: FaultKind::Surplus { times } });
            good.or_else(|| all.first().cloned()).unwrap_or_default()
        }
        _ => joined(code, all, faults),
    };
    if !is_good(code, &value) {
        let kept = matches!(form(code), Form::List(size) if value.len() > size) || matches!(form(code), Form::Names);
        faults.push(Fault { code, kind: FaultKind::Broken { len: value.len(), kept } });
    }
    value
}

/// The values one behind the other, each once. If that makes nonsense, only those that are good by themselves.
fn joined(code: u8, all: Vec<Vec<u8>>, faults: &mut Vec<Fault>) -> Vec<u8> {
    let times = all.len();
    let mut distinct: Vec<Vec<u8>> = Vec::new();
    for value in all {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    if distinct.len() < times {
        faults.push(Fault { code, kind: FaultKind::Repeated { times } });
    }
    let joined = distinct.concat();
    if is_good(code, &joined) || !distinct.iter().any(|value| is_good(code, value)) {
        return joined;
    }
    let (good, broken): (Vec<_>, Vec<_>) = distinct.into_iter().partition(|value| is_good(code, value));
    faults.extend(broken.iter().map(|value| Fault { code, kind: FaultKind::Broken { len: value.len(), kept: true } }));
    match form(code) {
        Form::Names => good.into_iter().next().unwrap_or_default(), // pointers count from the beginning of their value
        _ => good.concat(),
    }
}

fn is_good(code: u8, value: &[u8]) -> bool {
    match form(code) {
        Form::Fixed(len) => value.len() == len && makes_sense(code, value),
        Form::List(size) => !value.is_empty() && value.len().is_multiple_of(size),
        Form::Text => std::str::from_utf8(value).is_ok_and(|text| !text.trim_end_matches('\0').is_empty()),
        Form::Names => {
            let list = name::decode(value);
            list.faults.is_empty() && !list.names.is_empty()
        }
        Form::Routes => routes(value).is_some_and(|routes| !routes.is_empty()),
        Form::Anything => true,
    }
}

fn makes_sense(code: u8, value: &[u8]) -> bool {
    let number = value.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    match (code, value) {
        (code::MESSAGE_TYPE, [kind]) => MessageType::from_byte(*kind).is_some(),
        (code::OVERLOAD, _) => (1..=3).contains(&number),
        (code::INTERFACE_MTU, _) => number >= 68,
        (code::SERVER_ID, _) => number != 0 && number != u64::from(u32::MAX),
        (code::SUBNET_MASK, [a, b, c, d]) => {
            let mask = u32::from_be_bytes([*a, *b, *c, *d]);
            mask.leading_ones() + mask.trailing_zeros() >= 32
        }
        _ => true,
    }
}
