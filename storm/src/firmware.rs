//! What the DHCP packets of a machine say at each stage of its boot. The options are those of captured packets
//! (`boots/tests/packets`). Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::v4::{MessageType, Packet, code};

/// The kinds of firmware of the simulated machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS with a PXE ROM, which loads by TFTP without a window.
    Bios,
    /// UEFI (EDK2), which loads by TFTP with a window.
    Uefi,
    /// UEFI that loads by HTTP.
    UefiHttp,
}

impl Firmware {
    /// One in four machines has a BIOS, and one in four boots by HTTP.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number % 4 {
            0 => Self::Bios,
            1 => Self::UefiHttp,
            _ => Self::Uefi,
        }
    }

    const fn arch(self) -> u16 {
        match self {
            Self::Bios => 0,
            Self::Uefi => 7,
            Self::UefiHttp => 16,
        }
    }

    const fn vendor_class(self) -> &'static [u8] {
        match self {
            Self::Bios => b"PXEClient:Arch:00000:UNDI:003000",
            Self::Uefi => b"PXEClient:Arch:00007:UNDI:003000",
            Self::UefiHttp => b"HTTPClient:Arch:00016:UNDI:003000",
        }
    }
}

/// The program that asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Firmware(Firmware),
    Ipxe(Firmware),
    /// PID 1 of the ramdisk.
    Init,
}

const EDK2: &[u8] = &[
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131,
    132, 133, 134, 135,
];
const BIOS: &[u8] = &[1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135];
const IPXE: &[u8] = &[1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203];
const INIT: &[u8] = &[1, 3, 6, 12, 15, 26, 42, 58, 59, 119, 121];
/// What a Debian build of iPXE says about itself in option 175: its card, its version, and HTTP, TFTP, EFI and so on.
const IPXE_FEATURES: &[u8] = &[
    0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x24, 1, 1, 0x13, 1, 1, 0x11, 1, 1, 0x27, 1, 1, 0x19, 1, 1,
    0x15, 1, 1, 0x10, 1, 2,
];

impl Client {
    /// How long it waits for answers, one time after the other. `None` afterwards: it gives up.
    ///
    /// EDK2 and PXE ROMs wait 4, 8, 16 and 32 s (PXE 2.1), iPXE doubles from 1 s, and PID 1 goes on for ever.
    #[must_use]
    pub fn wait(self, tries: u32) -> Option<Duration> {
        let seconds = match self {
            Self::Firmware(_) => *[4, 8, 16, 32].get(tries as usize)?,
            Self::Ipxe(_) => *[1, 2, 4, 8].get(tries as usize)?,
            Self::Init => 1 << tries.min(4),
        };
        Some(Duration::from_secs(seconds))
    }

    /// Whether it gathers offers until its time is over, and then takes the best. EDK2 does.
    #[must_use]
    pub const fn gathers(self) -> bool {
        matches!(self, Self::Firmware(Firmware::Uefi | Firmware::UefiHttp))
    }

    /// Whether an offer without a boot file is of no use.
    #[must_use]
    pub const fn boots(self) -> bool {
        !matches!(self, Self::Init)
    }

    /// A packet of this client, without what the exchange adds.
    #[must_use]
    pub fn packet(self, kind: MessageType, xid: u32, mac: [u8; 6]) -> Packet {
        let mut packet = Packet::request(kind, xid, mac);
        packet.set_wants_broadcast(matches!(self, Self::Firmware(_)));
        let options = &mut packet.options;
        match self {
            Self::Firmware(firmware) => {
                options.set_u16(code::MAX_MESSAGE_SIZE, 1472);
                let wanted = if firmware == Firmware::Bios { BIOS } else { EDK2 };
                options.set(code::PARAMETER_LIST, wanted).set(code::VENDOR_CLASS, firmware.vendor_class());
                options.set(code::CLIENT_NDI, if firmware == Firmware::Bios { [1, 2, 1] } else { [1, 3, 0] });
                options.set_u16(code::CLIENT_ARCH, firmware.arch());
            }
            Self::Ipxe(firmware) => {
                let (arch, class): (u16, &[u8]) = match firmware {
                    Firmware::Bios => (0, b"PXEClient:Arch:00000:UNDI:002001"),
                    Firmware::Uefi | Firmware::UefiHttp => (7, b"PXEClient:Arch:00007:UNDI:003010"),
                };
                options.set_u16(code::MAX_MESSAGE_SIZE, 1472).set_u16(code::CLIENT_ARCH, arch);
                options.set(code::CLIENT_NDI, [1, 3, 10]).set(code::VENDOR_CLASS, class).set(code::USER_CLASS, *b"iPXE");
                options.set(code::PARAMETER_LIST, IPXE).set(code::IPXE, IPXE_FEATURES);
                options.set(code::CLIENT_ID, [&[1][..], &mac].concat());
            }
            Self::Init => {
                options
                    .set_u16(code::MAX_MESSAGE_SIZE, 1472)
                    .set(code::VENDOR_CLASS, *b"thimble")
                    .set(code::PARAMETER_LIST, INIT);
            }
        }
        if self.boots() {
            let mut uuid = [0; 17];
            for (place, byte) in uuid.iter_mut().skip(11).zip(mac) {
                *place = byte;
            }
            options.set(code::CLIENT_UUID, uuid);
        }
        packet
    }

    /// The REQUEST for an offer.
    #[must_use]
    pub fn request(self, offer: &Packet, mac: [u8; 6]) -> Packet {
        let mut packet = self.packet(MessageType::Request, offer.xid, mac);
        packet.options.set_ip(code::REQUESTED_IP, offer.yiaddr);
        packet.options.set_ip(code::SERVER_ID, offer.server_id().unwrap_or(Ipv4Addr::UNSPECIFIED));
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same bytes as a packet that OVMF sent, but for addresses, transaction and UUID.
    #[test]
    fn the_packets_are_those_of_the_firmware() {
        let read = |name: &str| {
            let path = format!("{}/../boots/tests/packets/{name}.hex", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let text = text.trim();
            let bytes: Vec<u8> =
                (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
            Packet::decode(&bytes).unwrap()
        };
        for (name, client) in [
            ("ovmf-pxe4-discover", Client::Firmware(Firmware::Uefi)),
            ("ovmf-http4-discover", Client::Firmware(Firmware::UefiHttp)),
            ("ovmf-pxe4-ipxe-discover", Client::Ipxe(Firmware::Uefi)),
            ("made-bios-pxe-discover", Client::Firmware(Firmware::Bios)),
        ] {
            let captured = read(name);
            let made = client.packet(MessageType::Discover, captured.xid, captured.mac().unwrap());
            assert_eq!(made.wants_broadcast(), captured.wants_broadcast(), "{name}");
            for code in [53, 57, 60, 77, 93, 94, 61] {
                assert_eq!(made.options.get(code), captured.options.get(code), "{name}: option {code}");
            }
            let features = |packet: &Packet| [19, 21, 36].map(|feature| packet.ipxe(feature).map(<[u8]>::to_vec));
            assert_eq!(features(&made), features(&captured), "{name}");
        }
    }

    #[test]
    fn waits_grow_and_only_pid_1_never_gives_up() {
        let waits = |client: Client| (0..6).map_while(|tries| client.wait(tries)).map(|wait| wait.as_secs()).collect::<Vec<_>>();
        assert_eq!(waits(Client::Firmware(Firmware::Uefi)), [4, 8, 16, 32]);
        assert_eq!(waits(Client::Ipxe(Firmware::Bios)), [1, 2, 4, 8]);
        assert_eq!(waits(Client::Init), [1, 2, 4, 8, 16, 16]);
    }
}
