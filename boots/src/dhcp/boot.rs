//! What a client gets to boot with: the next server, the boot file and the options of its firmware. Pure.

use std::net::Ipv4Addr;

use dhcp::v4::{Packet, Text, code};

use super::Client;
use super::firmware::{self, Wants};
use crate::machine::CustomBoot;
use crate::{BootInterface, BootState, Config};

/// smee's boot file for a machine that must not boot from the network. No server has this file.
const NOT_ALLOWED: &str = "/netboot-not-allowed";
/// What HTTP boot firmware gets instead of a program if its machine boots its disk. No server has this file, and the firmware
/// goes on to its next device at the answer 404.
pub const LOCAL_DISK: &str = "boot-the-local-disk.efi";
/// The script that U-Boot asks for.
pub(crate) const BOOT_SCRIPT: &str = "boot.scr.uimg";

/// The default URL of RFC 3679, which ONIE takes for its installer's.
const DEFAULT_URL: u8 = 114;
/// PXELINUX's configuration file (RFC 5071).
const CONFIG_FILE: u8 = 209;
/// iPXE's `no-pxedhcp`: it does not wait for an answer of another server, which takes three seconds.
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];

/// PXE discovery control 8: take the boot file, and look for no boot server.
pub(super) const BOOT_DIRECTLY: [u8; 4] = [6, 1, 8, 255];
/// A menu whose only entry has type 0, which is the local disk, chosen after no seconds. The firmware goes on to its next
/// boot device at once.
const LOCAL_MENU: [u8; 20] = *b"\x06\x01\x07\x09\x08\x00\x00\x05Local\x0a\x04\x00PXE\xff";

/// The boot part of an answer. An answer without a next server says that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub next_server: Ipv4Addr,
    pub file: Option<String>,
    /// Whether the boot file is in option 67 as well, where some firmware looks first.
    pub also_as_option: bool,
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Boot {
    /// `None` for a client that does not boot from the network.
    #[must_use]
    pub fn of(config: &Config, machine: &BootInterface, client: &Client, request: &Packet) -> Option<Self> {
        if let Some(custom) = &machine.custom_boot {
            return Some(Self::custom(config, custom));
        }
        if client.firmware.wants == Wants::Address {
            return None;
        }
        let mut boot = match machine.netboot_allowed {
            true => Self::allowed(config, machine, client)?,
            false => Self::to(Ipv4Addr::UNSPECIFIED, Some(NOT_ALLOWED.to_owned())),
        };
        // RFC 4578 section 2.3; firmware that sent none is not to get one.
        if let Some(uuid) = request.options.get(code::CLIENT_UUID) {
            boot.options.push((code::CLIENT_UUID, uuid.to_vec()));
        }
        Some(boot)
    }

    fn to(next_server: Ipv4Addr, file: Option<String>) -> Self {
        Self { next_server, file, also_as_option: false, options: Vec::new() }
    }

    fn with(mut self, code: u8, value: impl Into<Vec<u8>>) -> Self {
        self.options.push((code, value.into()));
        self
    }

    /// As firmware of PCs reads it: both header and option 67 have the file.
    fn pxe(self) -> Self {
        let boot = self.with(code::VENDOR_CLASS, *b"PXEClient").with(code::VENDOR_SPECIFIC, BOOT_DIRECTLY);
        Self { also_as_option: true, ..boot }
    }

    /// Options 66 and 67 of the Hardware replace everything.
    fn custom(config: &Config, custom: &CustomBoot) -> Self {
        let server = custom.tftp_server_name.parse().unwrap_or(config.address);
        let boot = Self::to(server, Some(custom.boot_file_name.clone()));
        Self { also_as_option: true, ..boot.with(code::TFTP_SERVER_NAME, custom.tftp_server_name.as_bytes()) }
    }

    fn allowed(config: &Config, machine: &BootInterface, client: &Client) -> Option<Self> {
        let own = config.address;
        let is_local = matches!(machine.boot, BootState::Local { .. });
        let named = machine.ipxe.binary.as_deref();
        let from = |file: String| Self::to(own, Some(file));
        let url = |program: &str| config.http_url(&format!("ipxe/binary/{}/{program}", machine.mac));
        Some(match client.firmware.wants {
            Wants::Address => return None,
            Wants::Program(program) if is_local => match crate::ipxe::disk_loader(config, program) {
                Some(loader) => from(loader.to_owned()).pxe(),
                None => Self::local(),
            },
            Wants::Program(program) => from(named.unwrap_or(program).to_owned()).pxe(),
            // EDK2 ignores an offer without the vendor class.
            Wants::Url(program) => {
                let program = if is_local { LOCAL_DISK } else { named.unwrap_or(program) };
                let boot = from(url(program)).with(code::VENDOR_CLASS, *b"HTTPClient");
                Self { also_as_option: true, ..boot }
            }
            Wants::Script if config.chainload_own_ipxe && client.firmware.name == "iPXE" => {
                Self::full_ipxe(config, machine, client)
            }
            Wants::Script => from(script_url(config, machine, client)).pxe().with(code::IPXE, IPXE_NO_PROXY),
            Wants::FullIpxe => Self::full_ipxe(config, machine, client),
            Wants::Menu(entry) => {
                let boot = from(named.unwrap_or("snp-arm64.efi").to_owned()).with(code::VENDOR_CLASS, *b"PXEClient");
                boot.with(code::VENDOR_SPECIFIC, menu(entry)).with(code::TFTP_SERVER_NAME, own.to_string())
            }
            Wants::BootScript if is_local => Self::to(own, None),
            Wants::BootScript => from(named.unwrap_or(BOOT_SCRIPT).to_owned()),
            Wants::Configuration | Wants::Installer if is_local => Self::to(own, None),
            Wants::Configuration => {
                let file = format!("pxelinux.cfg/01-{}", machine.mac.to_string().replace(':', "-"));
                Self::to(own, None).with(CONFIG_FILE, config.http_url(&file))
            }
            Wants::Installer => Self::to(own, None).with(DEFAULT_URL, config.http_url("onie-installer")),
            Wants::Unknown => match named {
                Some(program) => from(program.to_owned()).pxe(),
                None => Self::local(),
            },
        })
    }

    /// Firmware that gets no file waits for a minute. This entry sends it on at once.
    fn local() -> Self {
        let boot = Self::to(Ipv4Addr::UNSPECIFIED, None);
        boot.with(code::VENDOR_CLASS, *b"PXEClient").with(code::VENDOR_SPECIFIC, LOCAL_MENU)
    }

    fn full_ipxe(config: &Config, machine: &BootInterface, client: &Client) -> Self {
        match full_ipxe(machine, client) {
            Some(program) => Self::to(config.address, Some(config.tftp_url(machine.mac, program))).pxe(),
            None => Self::local(),
        }
        .with(code::IPXE, IPXE_NO_PROXY)
    }

    /// Puts it into an answer. All firmware looks into the header. A URL that does not fit there is in option 67 only.
    pub fn write(&self, reply: &mut Packet) {
        reply.siaddr = self.next_server;
        for (code, value) in &self.options {
            reply.options.set(*code, value.clone());
        }
        let Some(file) = &self.file else { return };
        let header = Text::new(file).ok();
        if header.is_none() || self.also_as_option {
            // Old ROMs read on to the next NUL.
            reply.options.set(code::BOOT_FILE_NAME, [file.as_bytes(), &[0]].concat());
        }
        reply.file = header.unwrap_or_default();
    }
}

/// The program for an iPXE that is not to go on by itself.
pub(crate) fn full_ipxe<'m>(machine: &'m BootInterface, client: &Client) -> Option<&'m str> {
    machine.ipxe.binary.as_deref().or_else(|| firmware::program(&client.archs))
}

/// The URL of a Hardware's own script goes out directly. If the machine shall boot from its disk, boots' script says so.
///
/// boots' script cannot see what iPXE can do. If the Hardware needs HTTPS, the URL says whether this one has it.
pub(crate) fn script_url(config: &Config, machine: &BootInterface, client: &Client) -> String {
    let is_https = |url: &Option<String>| url.as_deref().is_some_and(crate::ipxe::is_https);
    let installs = matches!(machine.boot, BootState::Install { .. } | BootState::Wait { .. });
    match &machine.ipxe.url {
        Some(url) if installs && (client.speaks_https == Some(true) || !crate::ipxe::is_https(url)) => url.clone(),
        // The script names HTTPS for what follows, because it was fetched by HTTPS.
        _ if client.speaks_https == Some(true) && config.https_port.is_some() => config.over_https().script_url(machine.mac),
        _ => {
            let needs_it = is_https(&machine.ipxe.url) || is_https(&machine.osie.base_url);
            let query = crate::ipxe::https_query(client.speaks_https).filter(|_| needs_it).map(|word| format!("?{word}"));
            config.script_url(machine.mac) + &query.unwrap_or_default()
        }
    }
}

/// The entry of PXE's menu by which a Raspberry Pi knows its server, as dnsmasq and smee send it.
fn menu(entry: &str) -> Vec<u8> {
    let length = u8::try_from(entry.len()).unwrap_or(u8::MAX);
    let mut bytes = b"\x06\x01\x03\x0a\x04\x00PXE\x09".to_vec();
    bytes.extend([length.saturating_add(3), 0, 0, length]);
    bytes.extend(entry.bytes());
    bytes.push(255);
    bytes
}
