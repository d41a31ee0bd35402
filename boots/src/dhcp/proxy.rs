//! Beside another DHCP server: what to boot, and never an address (PXE 2.1, "ProxyDHCP"). Pure.

use dhcp::v4::{MessageType, Op, Packet, code};

use super::boot::{BOOT_DIRECTLY, Boot};
use super::firmware::Wants;
use super::{Client, Ignored};
use crate::{BootInterface, Config};

/// The port of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// 67, where all DHCP servers of the network hear the machine.
    Dhcp,
    /// 4011, where a machine that has an address asks boots only.
    Pxe,
}

/// An OFFER without an address on port 67, or an ACK on port 4011.
///
/// A REQUEST on port 67 is for the server of the address. smee acknowledges it, too, and firmware ignores that.
pub fn respond(config: &Config, machine: &BootInterface, request: &Packet, port: Port) -> Result<Packet, Ignored> {
    if request.op != Op::Request {
        return Err(Ignored::Reply);
    }
    let kind = match (port, request.message_type().ok_or(Ignored::Bootp)?) {
        (Port::Dhcp, MessageType::Discover) => MessageType::Offer,
        (Port::Pxe, MessageType::Request | MessageType::Inform) => MessageType::Ack,
        (_, other) => return Err(Ignored::AddressServer(other)),
    };
    if machine.dhcp_disabled {
        return Err(Ignored::NoReservation);
    }
    let client = Client::of(request);
    if client.wants_address() {
        return Err(Ignored::WantsAddress);
    }
    let is_named = machine.ipxe.binary.is_some() || machine.custom_boot.is_some();
    if client.firmware.wants == Wants::Unknown && !is_named {
        return Err(Ignored::NoProgram);
    }
    let boot = Boot::of(config, machine, &client, request).ok_or(Ignored::WantsAddress)?;
    let mut reply = request.reply(kind);
    reply.options.set_ip(code::SERVER_ID, config.address);
    boot.write(&mut reply);
    reply.options.remove(code::IPXE); // it speaks of proxies other than this one
    set_class(request, &mut reply);
    if port == Port::Pxe {
        answer_menu(request, &mut reply);
    }
    Ok(reply)
}

/// Firmware takes a proxy's answer by option 60 only, and asks port 4011 if option 43 does not say that the file is here.
fn set_class(request: &Packet, reply: &mut Packet) {
    let asked = request.vendor_class();
    let Some(class) = [&b"PXEClient"[..], b"HTTPClient"].into_iter().find(|class| asked.starts_with(class)) else { return };
    reply.options.set(code::VENDOR_CLASS, class);
    if class == b"PXEClient" && !reply.options.contains(code::VENDOR_SPECIFIC) {
        reply.options.set(code::VENDOR_SPECIFIC, BOOT_DIRECTLY);
    }
    if !reply.file.is_empty() && !reply.options.contains(code::BOOT_FILE_NAME) {
        reply.options.set(code::BOOT_FILE_NAME, [reply.file.as_bytes(), &[0]].concat());
    }
}

/// The number of a boot server's item that a machine chose from another server's menu (PXE 2.1).
const BOOT_ITEM: u8 = 71;

/// The item returns with the answer.
fn answer_menu(request: &Packet, reply: &mut Packet) {
    let mut asked = request.options.get(code::VENDOR_SPECIFIC).unwrap_or_default();
    while let [tag, len, after @ ..] = asked {
        let Some((value, after)) = after.split_at_checked(usize::from(*len)) else { return };
        if *tag == BOOT_ITEM && value.len() == 4 {
            let own = reply.options.get(code::VENDOR_SPECIFIC).unwrap_or(&[code::END]);
            reply.options.set(code::VENDOR_SPECIFIC, [&[BOOT_ITEM, 4], value, own].concat());
            return;
        }
        asked = after;
    }
}
