//! What happened as steps of a machine's boot: asked, answered, why. Pure.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ::machine::Chain;
use api::{BootStep, READ, StepKind, UNSENT};
use dhcp::v4::{MessageType, Packet};
use jiff::Timestamp;

use crate::Milestone;
use crate::dhcp::{Client, Ignored};

/// The sender of a DHCP message, and its way.
fn who(kind: Option<MessageType>, client: &Client, giaddr: Ipv4Addr, interface: &str) -> String {
    let kind = kind.map_or_else(|| "BOOTP".to_owned(), |kind| kind.to_string());
    match (giaddr.is_unspecified(), interface) {
        (false, _) => format!("{kind} of {client} via relay {giaddr}"),
        (true, "") => format!("{kind} of {client}"),
        (true, name) => format!("{kind} of {client} on {name}"),
    }
}

/// A DHCP reply.
pub(crate) fn of_reply(reply: &Packet, client: &Client, interface: &str, now: Timestamp) -> BootStep {
    let sent = reply.message_type();
    let (kind, asked) = match sent {
        Some(MessageType::Offer) => (StepKind::Offered, MessageType::Discover),
        Some(MessageType::Nak) => (StepKind::Refused, MessageType::Request),
        _ => (StepKind::Acknowledged, MessageType::Request),
    };
    let asked = who(Some(asked), client, reply.giaddr, interface);
    let name = sent.map_or_else(String::new, |kind| kind.to_string());
    match kind {
        StepKind::Refused => BootStep::new(now, kind, asked, name).because(reply.message().unwrap_or_default()),
        _ => {
            // A proxy gives no address.
            let address = reply.yiaddr.max(reply.ciaddr);
            let shown = if address.is_unspecified() { "without an address".to_owned() } else { address.to_string() };
            BootStep::new(now, kind, asked, format!("{name} {shown}")).with_file(reply.boot_file().unwrap_or_default())
        }
    }
}

/// A DHCP request of a known machine that gets no answer.
pub(crate) fn of_silence(request: &Packet, why: &Ignored, interface: &str, now: Timestamp) -> BootStep {
    let asked = who(request.message_type(), &Client::of(request), request.giaddr, interface);
    match why {
        Ignored::OtherServer(server) => {
            BootStep::new(now, StepKind::ChoseOther, asked, "").because(why.to_string()).of_server(IpAddr::V4(*server))
        }
        _ => BootStep::new(now, StepKind::Silent, asked, "").because(why.to_string()),
    }
}

/// A DHCP request of a known machine that another reason kept from an answer.
pub(crate) fn of_failure(request: &Packet, why: &str, interface: &str, now: Timestamp) -> BootStep {
    let asked = who(request.message_type(), &Client::of(request), request.giaddr, interface);
    BootStep::new(now, StepKind::Silent, asked, "").because(why)
}

/// An answer of DHCP that did not leave. Its step stands before this one.
pub(crate) fn of_unsent(asked: &str, to: IpAddr, why: &io::Error, now: Timestamp) -> BootStep {
    BootStep::new(now, StepKind::Silent, asked, "").because(format!("{UNSENT} to {to}: {}", Chain(why)))
}

/// A DHCP request of a machine without Hardware.
pub(crate) fn of_stranger(request: &Packet, interface: &str, now: Timestamp) -> BootStep {
    let asked = who(request.message_type(), &Client::of(request), request.giaddr, interface);
    BootStep::new(now, StepKind::Unknown, asked, "").because("no Hardware has this MAC")
}

/// A file that TFTP did not send, or not to its end.
pub(crate) fn of_tftp(kind: StepKind, file: &str, why: &str, now: Timestamp) -> BootStep {
    let answered = match kind {
        StepKind::NbpRefused => "an error",
        _ => "not all of it",
    };
    BootStep::new(now, kind, format!("{READ}{file}"), answered).with_file(file).because(why)
}

/// A path that HTTP refused.
pub(crate) fn of_refusal(kind: StepKind, path: &str, status: u16, why: &str, now: Timestamp) -> BootStep {
    BootStep::new(now, kind, format!("GET {path}"), format!("{status}")).with_file(path).because(why)
}

/// Milestones that are steps by themselves. DHCP's steps know more than their milestones. A file is of this kind.
pub(crate) fn of_milestone(milestone: &Milestone, kind: StepKind, now: Timestamp) -> Option<BootStep> {
    let get = |path: &str| format!("GET {path}");
    Some(match milestone {
        // A loader reads its kernel as firmware reads the loader.
        Milestone::NbpSent { file, bytes } => {
            let kind = if matches!(kind, StepKind::Kernel | StepKind::Ramdisk | StepKind::Pack) { kind } else { StepKind::Nbp };
            BootStep::new(now, kind, format!("{READ}{file}"), format!("{bytes} bytes")).with_file(file)
        }
        Milestone::ScriptSent { boot, reason } => {
            BootStep::new(now, StepKind::Script, "GET auto.ipxe", *boot).with_file(*boot).because(reason)
        }
        Milestone::Downloaded { path, .. } if is_image(path) => return None,
        Milestone::Downloaded { path, bytes } => BootStep::new(now, kind, get(path), format!("{bytes} bytes")).with_file(path),
        Milestone::Interrupted { path, .. } if is_image(path) => return None,
        Milestone::Interrupted { path, sent, total } => BootStep::new(now, StepKind::BrokenOff, get(path), "not all of it")
            .with_file(path)
            .because(format!("the connection ended after {sent} of {total} bytes")),
        Milestone::Syslog { tag, text, .. } => {
            let text: String = text.chars().take(120).collect();
            BootStep::new(now, StepKind::Log, format!("{tag}: {text}"), "taken")
        }
        Milestone::Unknown
        | Milestone::Silent { .. }
        | Milestone::OtherServer { .. }
        | Milestone::Discover { .. }
        | Milestone::Offered { .. }
        | Milestone::Acknowledged { .. }
        | Milestone::Download { .. } => return None,
    })
}

/// Action images are work, not boot.
fn is_image(path: &str) -> bool {
    path.contains("/blobs/") || path.contains("/manifests/") || path.starts_with("v2/") || path.starts_with("/v2/")
}

#[cfg(test)]
mod tests {
    use dhcp::v4::code;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_dhcp_step_names_the_client_its_way_and_the_answer() {
        let mut request = Packet::request(MessageType::Discover, 1, MAC);
        request.options.set(code::VENDOR_CLASS, *b"PXEClient:Arch:00007:UNDI:003016");
        let mut offer = request.reply(MessageType::Offer);
        offer.yiaddr = Ipv4Addr::new(10, 0, 0, 7);
        offer.file = dhcp::v4::Text::new("ipxe.efi").unwrap();
        let client = Client::of(&request);
        let shown = of_reply(&offer, &client, "eth1", NOW).to_string();
        assert_eq!(shown, "DHCP: DISCOVER of UEFI PXE firmware arch 7 on eth1 -> OFFER 10.0.0.7, boot file ipxe.efi");
        offer.giaddr = Ipv4Addr::new(10, 9, 0, 1);
        let shown = of_reply(&offer, &client, "eth1", NOW).to_string();
        assert!(shown.contains("DISCOVER of UEFI PXE firmware arch 7 via relay 10.9.0.1 ->"), "{shown}");
        let other = Ignored::OtherServer(Ipv4Addr::new(10, 0, 0, 9));
        let step = of_silence(&Packet::request(MessageType::Request, 1, MAC), &other, "", NOW);
        assert_eq!((step.kind, step.server), (StepKind::ChoseOther, Some(IpAddr::from([10, 0, 0, 9]))));
        assert_eq!(step.to_string(), "DHCP: REQUEST of DHCP client -> no answer (it chose another server, 10.0.0.9)");
    }

    #[test]
    fn a_file_is_a_step_of_its_kind_and_an_image_of_an_action_is_none() {
        let kernel = Milestone::Downloaded { path: "kernel".to_owned(), bytes: 1 };
        assert_eq!(of_milestone(&kernel, StepKind::Kernel, NOW).unwrap().kind, StepKind::Kernel);
        let blob = Milestone::Downloaded { path: "v2/actions/blobs/sha256:00".to_owned(), bytes: 1 };
        assert_eq!(of_milestone(&blob, StepKind::File, NOW), None);
    }
}
