//! A DHCP server with one fault of a kind that real servers have.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result};
use dhcp::v4::{CLIENT_PORT, MessageType, Packet, SERVER_PORT, code};
use nix::sys::socket::{setsockopt, sockopt};

use crate::command::effect;

const LAN: &str = "lan";

pub struct Fault {
    /// What the server does.
    pub name: &'static str,
    /// What the console shows besides the address.
    pub says: &'static [&'static str],
    /// The bytes of the answer. `count` is the number of earlier requests.
    answer: fn(answer: &Packet, count: u32) -> Vec<u8>,
    /// The destination of the answer. The argument is the offered address.
    to: fn(address: Ipv4Addr) -> Ipv4Addr,
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn fault(name: &'static str, says: &'static [&'static str], answer: fn(&Packet, u32) -> Vec<u8>) -> Fault {
    Fault { name, says, answer, to: everyone }
}

pub const FAULTS: &[Fault] = &[
    Fault { name: "answers to the offered address", says: &[], answer: whole, to: itself },
    Fault { name: "answers to the subnet's broadcast address", says: &[], answer: whole, to: subnet },
    fault("names itself twice", &[r"option 54 \(server identifier\) came 2 times"], |answer, _| {
        let server = answer.server_id().unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
        behind(answer, &[&[54, 4][..], &server].concat())
    }),
    fault("cuts its last option off", &[r"option 43 \(vendor options\) is cut off"], |answer, _| {
        behind(answer, &[43, 64, 1, 2, 3])
    }),
    fault("sends a broken option in front of each good one", &["option 1 .*its first good value counts"], |answer, _| {
        let whole = answer.encode();
        let (header, options) = whole.split_at(whole.len().min(240));
        [header, &[1, 2, 9, 9, 3, 3, 9, 9, 9, 51, 0, 54, 1, 9], options].concat()
    }),
    fault("sends every option twice", &[r"option 51 \(lease time\) came 2 times"], |answer, _| {
        let whole = answer.encode();
        let end = whole.iter().rposition(|byte| *byte == code::END).unwrap_or(whole.len());
        behind(answer, whole.get(240..end).unwrap_or_default())
    }),
    fault("gives two domains and one that is too long", &["has a label of more than 63 bytes: left out"], |answer, _| {
        let mut answer = answer.clone();
        answer.options.set_text(code::DOMAIN_NAME, &format!("corp.example {}.example lab.example", "x".repeat(64)));
        answer.encode()
    }),
    fault("grants 0 seconds", &[r"its lease time \(option 51\) is 0: 3600 s are used"], |answer, _| {
        let mut answer = answer.clone();
        answer.options.set_u32(code::LEASE_TIME, 0);
        answer.encode()
    }),
    fault("does not name itself at first", &[r"an offer from .* has no server identifier"], |answer, count| {
        let mut answer = answer.clone();
        if count < 2 {
            answer.options.remove(code::SERVER_ID);
        }
        answer.encode()
    }),
    fault("begins with an invalid packet", &["cannot be read: no DHCP magic cookie"], |answer, count| {
        let mut bytes = answer.encode();
        if let Some(cookie) = bytes.get_mut(236).filter(|_| count < 1) {
            *cookie = 0;
        }
        bytes
    }),
];

fn whole(answer: &Packet, _: u32) -> Vec<u8> {
    answer.encode()
}

fn itself(address: Ipv4Addr) -> Ipv4Addr {
    address
}

fn everyone(_: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::BROADCAST
}

fn subnet(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 255)
}

/// The answer with further bytes after its last option, and without an end.
fn behind(answer: &Packet, more: &[u8]) -> Vec<u8> {
    let whole = answer.encode();
    let end = whole.iter().rposition(|byte| *byte == code::END).unwrap_or(whole.len());
    [whole.get(..end).unwrap_or_default(), more].concat()
}

/// `lab dhcp-server NETWORK MAC FAULT`, in the namespace of its network. Ends with the lab.
pub fn serve(network: &str, mac: &str, name: &str) -> Result<()> {
    let fault = FAULTS.iter().find(|fault| fault.name == name).with_context(|| format!("{name:?} is not a known fault"))?;
    let [server, address] = [1, 50].map(|host| format!("{network}.{host}").parse::<Ipv4Addr>());
    let (server, address) = (server.context("the network")?, address.context("the network")?);
    // The machine does not answer for the address yet.
    effect(Command::new("ip").args([
        "neighbour",
        "replace",
        &address.to_string(),
        "lladdr",
        mac,
        "nud",
        "permanent",
        "dev",
        LAN,
    ]))?;
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT)).context("cannot open the DHCP port")?;
    socket.set_broadcast(true).context("cannot broadcast")?;
    setsockopt(&socket, sockopt::BindToDevice, &LAN.into()).context("cannot use the network")?;
    let mut buffer = [0; 1500];
    for count in 0.. {
        let request = loop {
            let length = socket.recv(&mut buffer).context("cannot receive")?;
            let request = buffer.get(..length).map(Packet::decode).and_then(Result::ok);
            // It refuses nothing, and only accepts leases that it has given.
            if let Some(request) = request.filter(|request| {
                request.message_type() == Some(MessageType::Discover) || request.requested_ip() == Some(address)
            }) {
                break request;
            }
        };
        let answer = (fault.answer)(&grant(&request, server, address), count);
        socket.send_to(&answer, SocketAddrV4::new((fault.to)(address), CLIENT_PORT)).context("cannot answer")?;
    }
    Ok(())
}

fn grant(request: &Packet, server: Ipv4Addr, address: Ipv4Addr) -> Packet {
    let is_question = request.message_type() == Some(MessageType::Discover);
    let mut answer = request.reply(if is_question { MessageType::Offer } else { MessageType::Ack });
    answer.yiaddr = address;
    answer.options.set_ip(code::SERVER_ID, server).set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
    answer.options.set_u32(code::LEASE_TIME, 3600).set_ips(code::ROUTERS, &[server]);
    answer
}
