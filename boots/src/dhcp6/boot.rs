//! What a client gets to boot with: a URL (RFC 5970). Pure.

use std::net::Ipv6Addr;

use crate::dhcp::firmware::Wants;
use crate::dhcp::{BOOT_SCRIPT, Client, LOCAL_DISK, full_ipxe, script_url};
use crate::machine::CustomBoot;
use crate::{BootInterface, BootState, Config};

/// The vendor class of UEFI's HTTP boot, under Intel's number as the firmware sends it. Without it the firmware does not take
/// the URL.
pub const HTTP_CLIENT: &[u8] = b"\0\0\x01\x57\0\x0aHTTPClient";
/// No server has this file. The firmware goes on to its next device when it learns that.
const NOT_ALLOWED: &str = "netboot-not-allowed";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub url: String,
    /// Whether the answer has `HTTP_CLIENT`.
    pub is_http_boot: bool,
}

impl Boot {
    /// `config` has the address at which the machine reaches this host. `None` for a client that does not boot from the network,
    /// or whose firmware does not boot by IPv6.
    #[must_use]
    pub fn of(config: &Config, machine: &BootInterface, client: &Client) -> Option<Self> {
        let wants = client.firmware.wants;
        if let Some(custom) = &machine.custom_boot {
            return Some(Self { url: custom_url(custom)?, is_http_boot: matches!(wants, Wants::Url(_)) });
        }
        let is_local = matches!(machine.boot, BootState::Local { .. });
        let named = machine.ipxe.binary.as_deref();
        let tftp = |file: &str| config.tftp_url(machine.mac, file);
        let http = |file: &str| config.http_url(&format!("ipxe/binary/{}/{file}", machine.mac));
        // Firmware that gets no file waits for a minute. A missing file sends it on at once.
        let instead = match () {
            () if !machine.netboot_allowed => Some(NOT_ALLOWED),
            () if is_local => Some(LOCAL_DISK),
            () => None,
        };
        let url = match wants {
            Wants::Program(program) => tftp(instead.or(named).unwrap_or(program)),
            Wants::Url(program) => http(instead.or(named).unwrap_or(program)),
            _ if !machine.netboot_allowed => return None,
            Wants::Script if config.chainload_own_ipxe && client.firmware.name == "iPXE" => tftp(full_ipxe(machine, client)?),
            Wants::Script => script_url(config, machine, client),
            Wants::FullIpxe => tftp(full_ipxe(machine, client)?),
            Wants::Installer if !is_local => config.http_url("onie-installer"),
            Wants::Unknown => tftp(named?),
            Wants::BootScript if !is_local => tftp(named.unwrap_or(BOOT_SCRIPT)),
            // A Raspberry Pi takes the server out of it, and asks for files of its own.
            Wants::Menu(_) if !is_local => format!("tftp://{}/", config.host()),
            Wants::Address | Wants::Menu(_) | Wants::BootScript | Wants::Configuration | Wants::Installer => return None,
        };
        Some(Self { url, is_http_boot: matches!(wants, Wants::Url(_)) })
    }
}

/// Options 66 and 67 of the Hardware as a URL. A server with an IPv4 address is not reachable here.
fn custom_url(custom: &CustomBoot) -> Option<String> {
    let CustomBoot { tftp_server_name: server, boot_file_name: file } = custom;
    if file.contains("://") {
        return Some(file.clone());
    }
    let server = match (server.parse::<Ipv6Addr>(), server.parse::<std::net::Ipv4Addr>()) {
        (Ok(address), _) => format!("[{address}]"),
        (_, Ok(_)) => return None,
        _ => server.clone(),
    };
    Some(format!("tftp://{server}/{}", file.trim_start_matches('/')))
}
