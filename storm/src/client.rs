//! A DHCP client: DISCOVER, the best OFFER, REQUEST, ACK. Pure.

use std::time::Duration;

use dhcp::v4::{MessageType, Op, Packet};

use crate::dice::Dice;
use crate::firmware::Client;

/// How long iPXE waits for a better offer than one without a boot file.
const BETTER: Duration = Duration::from_secs(2);

/// One exchange of one program.
#[derive(Debug, Clone)]
pub struct Exchange {
    client: Client,
    mac: [u8; 6],
    xid: u32,
    tries: u32,
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    Selecting { best: Option<Box<Packet>> },
    Requesting { offer: Box<Packet> },
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Send(Box<Packet>, Duration),
    /// Another timer than the one that runs.
    Wait(Duration),
    Bound(Box<Packet>),
    Nothing,
    /// No server has answered in time.
    GivenUp,
}

impl Exchange {
    /// Returns the exchange with its first DISCOVER.
    #[must_use]
    pub fn begin(client: Client, mac: [u8; 6], dice: &mut Dice) -> (Self, Next) {
        let mut exchange = Self { client, mac, xid: dice.xid(), tries: 0, phase: Phase::Selecting { best: None } };
        let next = exchange.send(dice);
        (exchange, next)
    }

    #[must_use]
    pub const fn client(&self) -> Client {
        self.client
    }

    fn send(&mut self, dice: &mut Dice) -> Next {
        let Some(wait) = self.client.wait(self.tries) else { return Next::GivenUp };
        self.tries += 1;
        let packet = match &self.phase {
            Phase::Selecting { .. } => self.client.packet(MessageType::Discover, self.xid, self.mac),
            Phase::Requesting { offer } => self.client.request(offer, self.mac),
        };
        Next::Send(Box::new(packet), dice.about(wait))
    }

    fn request(&mut self, offer: Box<Packet>, dice: &mut Dice) -> Next {
        (self.phase, self.tries) = (Phase::Requesting { offer }, 0);
        self.send(dice)
    }

    pub fn receive(&mut self, packet: &Packet, dice: &mut Dice) -> Next {
        if packet.op != Op::Reply || packet.xid != self.xid || packet.mac() != Some(self.mac) {
            return Next::Nothing;
        }
        let is_useful = !self.client.boots() || packet.boot_file().is_some();
        match (&mut self.phase, packet.message_type()) {
            (Phase::Selecting { best }, Some(MessageType::Offer)) => {
                let is_first = best.is_none();
                if is_first || is_useful && best.as_ref().is_some_and(|best| best.boot_file().is_none()) {
                    *best = Some(Box::new(packet.clone()));
                }
                match is_useful && !self.client.gathers() {
                    true => self.request(Box::new(packet.clone()), dice),
                    false if is_first && !self.client.gathers() => Next::Wait(BETTER),
                    false => Next::Nothing,
                }
            }
            (Phase::Requesting { offer }, Some(MessageType::Ack)) if packet.server_id() == offer.server_id() => {
                // Firmware reads the boot file of the ACK, or else that of the offer.
                let mut bound = packet.clone();
                if bound.boot_file().is_none() {
                    (bound.file, bound.siaddr) = (offer.file.clone(), offer.siaddr);
                }
                Next::Bound(Box::new(bound))
            }
            (Phase::Requesting { .. }, Some(MessageType::Nak)) => {
                (self.phase, self.tries, self.xid) = (Phase::Selecting { best: None }, 0, dice.xid());
                self.send(dice)
            }
            _ => Next::Nothing,
        }
    }

    /// The time for answers is over.
    pub fn timeout(&mut self, dice: &mut Dice) -> Next {
        match &mut self.phase {
            Phase::Selecting { best } => match best.take() {
                Some(offer) => self.request(offer, dice),
                None => self.send(dice),
            },
            Phase::Requesting { .. } if self.client == Client::Init && self.tries >= 4 => {
                (self.phase, self.tries, self.xid) = (Phase::Selecting { best: None }, 0, dice.xid());
                self.send(dice)
            }
            Phase::Requesting { .. } => self.send(dice),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dhcp::v4::{Text, code};

    use super::*;
    use crate::firmware::Firmware;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const UEFI: Client = Client::Firmware(Firmware::Uefi);
    const IPXE: Client = Client::Ipxe(Firmware::Uefi);

    fn begin(client: Client) -> (Exchange, Packet, Dice) {
        let mut dice = Dice::new(1);
        let (exchange, next) = Exchange::begin(client, MAC, &mut dice);
        (exchange, sent(next), dice)
    }

    fn sent(next: Next) -> Packet {
        match next {
            Next::Send(packet, _) => *packet,
            other => panic!("no packet: {other:?}"),
        }
    }

    fn answer(packet: &Packet, kind: MessageType, server: u8, file: &str) -> Packet {
        let mut answer = packet.reply(kind);
        answer.yiaddr = Ipv4Addr::new(10, 76, 0, server);
        answer.options.set_ip(code::SERVER_ID, Ipv4Addr::new(10, 77, 0, server));
        answer.file = Text::new(file).unwrap();
        answer
    }

    #[test]
    fn uefi_gathers_offers_and_takes_the_one_with_a_boot_file() {
        let (mut exchange, discover, mut dice) = begin(UEFI);
        for (server, file) in [(3, ""), (1, "ipxe.efi"), (4, "")] {
            assert_eq!(exchange.receive(&answer(&discover, MessageType::Offer, server, file), &mut dice), Next::Nothing);
        }
        let request = sent(exchange.timeout(&mut dice));
        assert_eq!(request.server_id(), Some(Ipv4Addr::new(10, 77, 0, 1)));
        assert_eq!(request.requested_ip(), Some(Ipv4Addr::new(10, 76, 0, 1)));
        let ack = answer(&request, MessageType::Ack, 1, "ipxe.efi");
        assert_eq!(exchange.receive(&ack, &mut dice), Next::Bound(Box::new(ack)));
    }

    #[test]
    fn ipxe_takes_the_first_offer_with_a_script_and_waits_a_moment_after_another() {
        let (mut exchange, discover, mut dice) = begin(IPXE);
        assert_eq!(exchange.receive(&answer(&discover, MessageType::Offer, 3, ""), &mut dice), Next::Wait(BETTER));
        let request = sent(exchange.receive(&answer(&discover, MessageType::Offer, 1, "http://h/auto.ipxe"), &mut dice));
        assert_eq!(request.message_type(), Some(MessageType::Request));
    }

    #[test]
    fn answers_to_other_questions_are_ignored() {
        let (mut exchange, discover, mut dice) = begin(IPXE);
        let mut other = answer(&discover, MessageType::Offer, 1, "x");
        other.xid ^= 1;
        assert_eq!(exchange.receive(&other, &mut dice), Next::Nothing);
        let ack = answer(&discover, MessageType::Ack, 1, "x");
        assert_eq!(exchange.receive(&ack, &mut dice), Next::Nothing, "no offer came before");
        assert_eq!(exchange.receive(&discover, &mut dice), Next::Nothing, "a request");
    }

    #[test]
    fn firmware_gives_up_after_its_fourth_question_and_pid_1_never_does() {
        let (mut exchange, _, mut dice) = begin(UEFI);
        (0..3).for_each(|_| drop(sent(exchange.timeout(&mut dice))));
        assert_eq!(exchange.timeout(&mut dice), Next::GivenUp);
        let (mut exchange, _, mut dice) = begin(Client::Init);
        (0..50).for_each(|_| drop(sent(exchange.timeout(&mut dice))));
    }

    #[test]
    fn a_nak_begins_a_new_question() {
        let (mut exchange, discover, mut dice) = begin(IPXE);
        let request = sent(exchange.receive(&answer(&discover, MessageType::Offer, 1, "s"), &mut dice));
        let again = sent(exchange.receive(&answer(&request, MessageType::Nak, 1, ""), &mut dice));
        assert_eq!(again.message_type(), Some(MessageType::Discover));
        assert_ne!(again.xid, discover.xid);
    }
}
