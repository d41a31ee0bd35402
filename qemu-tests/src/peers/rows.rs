//! The rows: which peer, in which mode, beside which other DHCP server. What a row expects follows from these three.

use std::ops::RangeInclusive;
use std::path::Path;

/// What DHCP of boots does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Reservation,
    Pool,
    Proxy,
    AutoProxy,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Dnsmasq,
    Kea,
}

/// DHCP clients of operating systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Udhcpc,
    Dhclient,
    Dhcpcd,
    Networkd,
}

/// The same by IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client6 {
    Dhclient,
    /// With two messages in place of four.
    DhclientRapid,
    Dhcpcd,
    /// It asks for a rapid commit by itself.
    Networkd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// ISC's dhcrelay.
    Dhcrelay,
    /// Kea has no relay. Its perfdhcp sends what one would send.
    Perfdhcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetcher {
    TftpHpa,
    Atftp,
    BusyboxTftp,
    CurlTftp,
    CurlHttp,
    BusyboxWget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// SeaBIOS with iPXE in the ROM of the card.
    SeaBios,
    /// Debian's iPXE without a ROM.
    IpxeLkrn,
    OvmfIpxe,
    OvmfSnponly,
    OvmfHttp,
    OvmfPxe6,
    OvmfHttp6,
    AavmfPxe,
    AavmfHttp,
    /// To a GRUB that is made from Debian's modules and names this host.
    AavmfGrub,
    UBoot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Client(Client),
    Client6(Client6),
    Relay(Relay),
    Fetcher(Fetcher),
    Firmware(Machine),
}

#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub peer: Peer,
    pub mode: Mode,
    pub beside: Option<Server>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What the suite runs.
    Quick,
    All,
}

const CLIENTS: [Client; 4] = [Client::Udhcpc, Client::Dhclient, Client::Dhcpcd, Client::Networkd];
const CLIENTS6: [Client6; 4] = [Client6::Dhclient, Client6::DhclientRapid, Client6::Dhcpcd, Client6::Networkd];
const RELAYS: [Relay; 2] = [Relay::Dhcrelay, Relay::Perfdhcp];
const FETCHERS: [Fetcher; 6] =
    [Fetcher::TftpHpa, Fetcher::Atftp, Fetcher::BusyboxTftp, Fetcher::CurlTftp, Fetcher::CurlHttp, Fetcher::BusyboxWget];
const MACHINES: [Machine; 9] = [
    Machine::SeaBios,
    Machine::IpxeLkrn,
    Machine::OvmfIpxe,
    Machine::OvmfSnponly,
    Machine::OvmfHttp,
    Machine::AavmfPxe,
    Machine::AavmfHttp,
    Machine::AavmfGrub,
    Machine::UBoot,
];
/// On a network with IPv6 only.
const MACHINES6: [Machine; 2] = [Machine::OvmfPxe6, Machine::OvmfHttp6];
const MODES: [Mode; 5] = [Mode::Reservation, Mode::Pool, Mode::Proxy, Mode::AutoProxy, Mode::Off];
const SERVERS: [Server; 2] = [Server::Dnsmasq, Server::Kea];

impl Mode {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reservation => "reservation",
            Self::Pool => "pool",
            Self::Proxy => "proxy",
            Self::AutoProxy => "auto-proxy",
            Self::Off => "off",
        }
    }

    pub const fn gives_addresses(self) -> bool {
        matches!(self, Self::Reservation | Self::Pool)
    }
}

impl Server {
    pub const fn program(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea-dhcp4",
        }
    }

    /// The last numbers of the addresses that it gives.
    pub const fn range(self) -> RangeInclusive<u8> {
        match self {
            Self::Dnsmasq => 50..=60,
            Self::Kea => 70..=80,
        }
    }
}

impl Peer {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client(Client::Udhcpc) => "udhcpc",
            Self::Client(Client::Dhclient) => "dhclient",
            Self::Client(Client::Dhcpcd) => "dhcpcd",
            Self::Client(Client::Networkd) => "systemd-networkd",
            Self::Client6(Client6::Dhclient) => "dhclient by IPv6",
            Self::Client6(Client6::DhclientRapid) => "dhclient by IPv6 with a rapid commit",
            Self::Client6(Client6::Dhcpcd) => "dhcpcd by IPv6",
            Self::Client6(Client6::Networkd) => "systemd-networkd by IPv6",
            Self::Relay(Relay::Dhcrelay) => "udhcpc through ISC's relay",
            Self::Relay(Relay::Perfdhcp) => "Kea's perfdhcp as a relay",
            Self::Fetcher(Fetcher::TftpHpa) => "tftp-hpa",
            Self::Fetcher(Fetcher::Atftp) => "atftp",
            Self::Fetcher(Fetcher::BusyboxTftp) => "busybox tftp",
            Self::Fetcher(Fetcher::CurlTftp) => "curl by TFTP",
            Self::Fetcher(Fetcher::CurlHttp) => "curl by HTTP",
            Self::Fetcher(Fetcher::BusyboxWget) => "busybox wget",
            Self::Firmware(Machine::SeaBios) => "SeaBIOS with iPXE in ROM",
            Self::Firmware(Machine::IpxeLkrn) => "Debian's ipxe.lkrn",
            Self::Firmware(Machine::OvmfIpxe) => "OVMF PXE to Debian's ipxe.efi",
            Self::Firmware(Machine::OvmfSnponly) => "OVMF PXE to Debian's snponly.efi",
            Self::Firmware(Machine::OvmfHttp) => "OVMF HTTP boot",
            Self::Firmware(Machine::OvmfPxe6) => "OVMF PXE by IPv6",
            Self::Firmware(Machine::OvmfHttp6) => "OVMF HTTP boot by IPv6",
            Self::Firmware(Machine::AavmfPxe) => "AAVMF (arm64) PXE",
            Self::Firmware(Machine::AavmfHttp) => "AAVMF (arm64) HTTP boot",
            Self::Firmware(Machine::AavmfGrub) => "AAVMF (arm64) HTTP boot to GRUB",
            Self::Firmware(Machine::UBoot) => "U-Boot (arm64)",
        }
    }

    /// Programs and files that it wants.
    const fn wants(self) -> &'static [&'static str] {
        match self {
            Self::Client(Client::Udhcpc) | Self::Fetcher(Fetcher::BusyboxTftp | Fetcher::BusyboxWget) => &["/bin/busybox"],
            Self::Client(Client::Dhclient) | Self::Client6(Client6::Dhclient | Client6::DhclientRapid) => &["/sbin/dhclient"],
            Self::Client(Client::Dhcpcd) | Self::Client6(Client6::Dhcpcd) => &["/sbin/dhcpcd"],
            Self::Client(Client::Networkd) | Self::Client6(Client6::Networkd) => &["/lib/systemd/systemd-networkd"],
            Self::Relay(Relay::Dhcrelay) => &["/usr/sbin/dhcrelay", "/bin/busybox"],
            Self::Relay(Relay::Perfdhcp) => &["/usr/sbin/perfdhcp"],
            Self::Fetcher(Fetcher::TftpHpa) => &["/usr/bin/tftp"],
            Self::Fetcher(Fetcher::Atftp) => &["/usr/bin/atftp"],
            Self::Fetcher(Fetcher::CurlTftp | Fetcher::CurlHttp) => &["/usr/bin/curl"],
            Self::Firmware(Machine::SeaBios) => &["/usr/bin/qemu-system-x86_64"],
            Self::Firmware(Machine::IpxeLkrn) => &["/usr/bin/qemu-system-x86_64", "/usr/lib/ipxe/ipxe.lkrn"],
            Self::Firmware(Machine::OvmfIpxe | Machine::OvmfHttp | Machine::OvmfPxe6 | Machine::OvmfHttp6) => {
                &["/usr/bin/qemu-system-x86_64", super::firmware::OVMF, "/usr/lib/ipxe/ipxe.efi"]
            }
            Self::Firmware(Machine::OvmfSnponly) => {
                &["/usr/bin/qemu-system-x86_64", super::firmware::OVMF, "/usr/lib/ipxe/snponly.efi"]
            }
            Self::Firmware(Machine::AavmfPxe | Machine::AavmfHttp) => &["/usr/bin/qemu-system-aarch64", super::firmware::AAVMF],
            Self::Firmware(Machine::AavmfGrub) => &[
                "/usr/bin/qemu-system-aarch64",
                super::firmware::AAVMF,
                "/usr/lib/grub/arm64-efi/http.mod",
                "/usr/bin/grub-mkimage",
            ],
            Self::Firmware(Machine::UBoot) => &["/usr/bin/qemu-system-aarch64", super::firmware::U_BOOT],
        }
    }
}

impl Row {
    pub fn name(&self) -> String {
        let beside = self.beside.map(|server| format!(" beside {}", server.program())).unwrap_or_default();
        format!("{}, {}{beside}", self.peer.name(), self.mode.word())
    }

    /// What this host does not have of it.
    pub fn lacks(&self) -> Option<&'static str> {
        let server: &[&str] = match self.beside {
            Some(Server::Dnsmasq) => &["/usr/sbin/dnsmasq"],
            Some(Server::Kea) => &["/usr/sbin/kea-dhcp4"],
            None => &[],
        };
        self.peer.wants().iter().chain(server).find(|path| !Path::new(path).exists()).copied()
    }

    /// Whether the other server has to name boots. Debian's U-Boot reads no offer of a proxy.
    pub const fn wants_next_server(&self) -> bool {
        matches!((self.peer, self.mode), (Peer::Firmware(Machine::UBoot), Mode::Proxy | Mode::AutoProxy))
    }

    /// Whether its network has IPv6 only.
    pub const fn is_six(&self) -> bool {
        matches!(self.peer, Peer::Client6(_) | Peer::Firmware(Machine::OvmfPxe6 | Machine::OvmfHttp6))
    }

    /// Whether the machine has Hardware: not where the mode is about machines without.
    pub const fn is_known(&self) -> bool {
        !matches!((self.peer, self.mode), (Peer::Client(_) | Peer::Client6(_), Mode::Pool) | (_, Mode::AutoProxy))
    }
}

pub fn rows(form: Form) -> Vec<Row> {
    let alone = |peer, mode| Row { peer, mode, beside: None };
    let beside = |peer, mode| SERVERS.map(|server| Row { peer, mode, beside: Some(server) });
    let mut rows: Vec<Row> = FETCHERS.map(|one| alone(Peer::Fetcher(one), Mode::Off)).into();
    rows.extend(RELAYS.map(|one| alone(Peer::Relay(one), Mode::Pool)));
    let giving = || MODES.into_iter().filter(|mode| mode.gives_addresses());
    if form == Form::Quick {
        rows.extend(CLIENTS.map(|one| alone(Peer::Client(one), Mode::Reservation)));
        rows.extend(CLIENTS.map(|one| alone(Peer::Client(one), Mode::Pool)));
        rows.extend(MODES.into_iter().flat_map(|mode| beside(Peer::Client(Client::Udhcpc), mode)));
        rows.push(alone(Peer::Firmware(Machine::SeaBios), Mode::Pool));
        return rows;
    }
    for peer in CLIENTS.map(Peer::Client).into_iter().chain(MACHINES.map(Peer::Firmware)) {
        rows.extend(giving().map(|mode| alone(peer, mode)));
        rows.extend(MODES.into_iter().flat_map(|mode| beside(peer, mode)));
    }
    // Its configuration by HTTP is for a machine with Hardware, which is known by its address.
    rows.retain(|row| !matches!((row.peer, row.mode), (Peer::Firmware(Machine::AavmfGrub), Mode::AutoProxy)));
    rows.extend(CLIENTS6.into_iter().flat_map(|one| giving().map(move |mode| alone(Peer::Client6(one), mode))));
    rows.extend(MACHINES6.map(Peer::Firmware).into_iter().flat_map(|peer| giving().map(move |mode| alone(peer, mode))));
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_peer_meets_every_mode_and_both_other_servers() {
        let names: BTreeSet<String> = rows(Form::All).iter().map(Row::name).collect();
        assert_eq!(names.len(), rows(Form::All).len(), "names differ");
        for wanted in [
            "U-Boot (arm64), proxy beside kea-dhcp4",
            "systemd-networkd, off beside dnsmasq",
            "OVMF HTTP boot, auto-proxy beside dnsmasq",
            "dhcpcd, pool",
            "atftp, off",
            "OVMF HTTP boot by IPv6, pool",
        ] {
            assert!(names.contains(wanted), "{wanted} in {names:#?}");
        }
    }

    #[test]
    fn the_suite_has_rows_of_every_mode_and_both_other_servers() {
        let quick = rows(Form::Quick);
        for (mode, server) in MODES.into_iter().flat_map(|mode| SERVERS.map(|server| (mode, server))) {
            assert!(quick.iter().any(|row| row.mode == mode && row.beside == Some(server)), "{mode:?} {server:?}");
        }
    }
}
