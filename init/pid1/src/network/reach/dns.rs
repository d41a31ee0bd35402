//! One question to a name server, and its answer (RFC 1035).

use std::net::IpAddr;

use domain::base::iana::Rcode;
use domain::base::name::Name;
use domain::base::{Message, MessageBuilder, ParseRecordData, Rtype};
use domain::rdata::{A, Aaaa};

pub const PORT: u16 = 53;
/// The answer to a question without EDNS has at most 512 bytes (RFC 1035, 4.2.1). Some servers send more.
pub const LONGEST: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("it answers another question")]
    NotOurs,
    #[error("does not know")]
    NoSuchName,
    #[error("has no usable address for")]
    NoAddress,
    #[error("fails with {0} for")]
    Failed(Rcode),
}

/// The encoded message, and the kind of address it asks for.
#[derive(Debug)]
pub struct Question {
    message: Message<Vec<u8>>,
    family: Family,
}

impl Question {
    /// `None` if `name` is not a valid name.
    pub fn new(id: u16, name: &str, family: Family) -> Option<Self> {
        let name: Name<Vec<u8>> = name.parse().ok()?;
        let kind = if family == Family::V4 { Rtype::A } else { Rtype::AAAA };
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_id(id);
        message.header_mut().set_rd(true);
        let mut message = message.question();
        message.push((name, kind)).ok()?;
        Some(Self { message: message.into_message(), family })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.message.as_slice()
    }

    /// The answer did not fit into its packet. The complete one comes over TCP (RFC 7766, 5).
    pub fn is_cut_short(&self, packet: &[u8]) -> bool {
        let answer = Message::from_octets(packet).ok().filter(|answer| answer.is_answer(&self.message));
        answer.is_some_and(|answer| answer.header().tc() && answer.header().rcode() == Rcode::NOERROR)
    }

    /// The first address of the answer, through any aliases.
    pub fn read(&self, packet: &[u8]) -> Result<IpAddr, Rejected> {
        let answer = Message::from_octets(packet).map_err(|_| Rejected::NotOurs)?;
        let header = answer.header();
        // Some servers leave the question out where they refuse it.
        let is_bare = answer.header_counts().qdcount() == 0 && header.rcode() != Rcode::NOERROR;
        if is_bare && header.qr() && header.id() == self.message.header().id() {
            return Err(Rejected::Failed(header.rcode()));
        }
        if !answer.is_answer(&self.message) {
            return Err(Rejected::NotOurs);
        }
        match answer.header().rcode() {
            Rcode::NOERROR => {}
            Rcode::NXDOMAIN => return Err(Rejected::NoSuchName),
            code => return Err(Rejected::Failed(code)),
        }
        match self.family {
            Family::V4 => first(&answer, |data: A| data.addr().into()),
            Family::V6 => first(&answer, |data: Aaaa| data.addr().into()),
        }
        .ok_or(Rejected::NoAddress)
    }
}

fn first<'a, T: ParseRecordData<'a, [u8]>>(answer: &'a Message<&'a [u8]>, address: impl Fn(T) -> IpAddr) -> Option<IpAddr> {
    let records = answer.for_slice().answer().ok()?.limit_to_in::<T>();
    records.flatten().map(|record| address(record.into_data())).find(is_usable)
}

/// Some name servers answer with such an address for a name that does not exist. It would lead back to this machine.
fn is_usable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::Ttl;
    use domain::rdata::Cname;

    const NAME: &str = "tink.lab";

    fn answer(question: &Question, code: Rcode, addresses: &[&str]) -> Vec<u8> {
        let name = |text: &str| -> Name<Vec<u8>> { text.parse().unwrap() };
        let mut message = MessageBuilder::new_vec().start_answer(&question.message, code).unwrap();
        message.push((name(NAME), Ttl::HOUR, Cname::new(name("box.lab")))).unwrap();
        for address in addresses {
            match address.parse().unwrap() {
                IpAddr::V4(address) => message.push((name("box.lab"), Ttl::HOUR, A::new(address))).unwrap(),
                IpAddr::V6(address) => message.push((name("box.lab"), Ttl::HOUR, Aaaa::new(address))).unwrap(),
            }
        }
        message.finish()
    }

    #[test]
    fn a_question_is_what_the_specification_draws() {
        let question = Question::new(0x1234, NAME, Family::V6).unwrap();
        assert_eq!(question.as_bytes(), b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04tink\x03lab\0\0\x1c\0\x01");
        assert!(Question::new(1, "a..b", Family::V4).is_none());
    }

    #[test]
    fn the_first_usable_address_of_the_wanted_kind_counts() {
        let both = ["fd00::1", "0.0.0.0", "10.0.0.1", "10.0.0.2"];
        for (family, addresses, expected) in [
            (Family::V4, &both[..], Ok("10.0.0.1")),
            (Family::V6, &both[..], Ok("fd00::1")),
            (Family::V4, &both[..2], Err(Rejected::NoAddress)),
            (Family::V4, &["127.0.0.1"], Err(Rejected::NoAddress)),
            (Family::V6, &[], Err(Rejected::NoAddress)),
        ] {
            let question = Question::new(7, NAME, family).unwrap();
            let packet = answer(&question, Rcode::NOERROR, addresses);
            assert_eq!(question.read(&packet), expected.map(|address| address.parse().unwrap()), "{family:?} of {addresses:?}");
        }
    }

    #[test]
    fn refusals_are_distinguished_and_answers_to_other_questions_ignored() {
        let question = Question::new(7, NAME, Family::V4).unwrap();
        for (code, expected) in [(Rcode::NXDOMAIN, Rejected::NoSuchName), (Rcode::SERVFAIL, Rejected::Failed(Rcode::SERVFAIL))] {
            assert_eq!(question.read(&answer(&question, code, &["10.0.0.1"])), Err(expected));
        }
        let others =
            [Question::new(8, NAME, Family::V4), Question::new(7, "lab", Family::V4), Question::new(7, NAME, Family::V6)];
        for other in others.into_iter().flatten() {
            assert_eq!(question.read(&answer(&other, Rcode::NOERROR, &["10.0.0.1"])), Err(Rejected::NotOurs));
        }
        assert_eq!(question.read(question.as_bytes()), Err(Rejected::NotOurs), "an echo is not an answer");
        for (case, bare, expected) in [
            ("refused", b"\x00\x07\x80\x05\0\0\0\0\0\0\0\0", Rejected::Failed(Rcode::REFUSED)),
            ("a form error", b"\x00\x07\x80\x01\0\0\0\0\0\0\0\0", Rejected::Failed(Rcode::FORMERR)),
            ("of another question", b"\x00\x08\x80\x05\0\0\0\0\0\0\0\0", Rejected::NotOurs),
            ("without an error", b"\x00\x07\x80\x00\0\0\0\0\0\0\0\0", Rejected::NotOurs),
            ("not an answer", b"\x00\x07\x00\x05\0\0\0\0\0\0\0\0", Rejected::NotOurs),
        ] {
            assert_eq!(question.read(bare), Err(expected), "without a question: {case}");
        }
        let whole = answer(&question, Rcode::NOERROR, &["10.0.0.1"]);
        let mut cut_short = whole.clone();
        cut_short[2] |= 2;
        assert!(question.is_cut_short(&cut_short) && !question.is_cut_short(&whole));
        for length in 0..whole.len() {
            assert!(question.read(&whole[..length]).is_err(), "{length} bytes of {}", whole.len());
        }
    }
}
