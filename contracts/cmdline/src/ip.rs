//! `ip=` as the kernel and dracut take it, and `vlan=`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// `ADDRESS:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:METHOD:DNS:DNS:NTP`, `DEVICE:METHOD` or `METHOD`; IPv6 in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ip {
    /// Address and prefix length. `None`: the network gives one.
    pub address: Option<(IpAddr, u8)>,
    pub gateway: Option<IpAddr>,
    pub hostname: Option<String>,
    pub device: Option<String>,
    pub dns: Vec<IpAddr>,
    pub ntp: Option<IpAddr>,
    pub mtu: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    #[error("a machine without network cannot be installed")]
    Off,
    #[error("{0:?} is neither an address nor a way to get one (dhcp, on, any, dhcp6, auto6, none)")]
    Method(String),
    #[error("{0:?} is not an address")]
    Address(String),
    #[error("{0:?} is neither a netmask nor a prefix length")]
    Netmask(String),
    #[error("{0:?} is neither vlanID, DEVICE.ID nor a number from 1 to 4094")]
    Vlan(String),
}

const AUTOMATIC: [&str; 11] =
    ["dhcp", "on", "any", "both", "dhcp4", "dhcp6", "auto6", "either6", "link6", "single-dhcp", "default"];

impl FromStr for Ip {
    type Err = IpError;

    fn from_str(text: &str) -> Result<Self, IpError> {
        let fields = fields(text);
        let field = |index: usize| fields.get(index).map(String::as_str).unwrap_or_default();
        match (fields.len(), is_method(field(0))) {
            (1, Some(true)) => return Ok(Self::default()),
            (1, Some(false)) => return Err(IpError::Off),
            (2..=4, _) if is_method(field(1)).is_some() => return by_device(field(0), field(1), field(2)),
            _ => {}
        }
        let mut ip = Self { gateway: optional(field(2))?, hostname: name(field(4)), device: name(field(5)), ..Self::default() };
        if is_method(field(6)).is_none() && !field(6).is_empty() {
            return Err(IpError::Method(field(6).to_owned()));
        }
        if let Some(address) = optional(field(0)).map_err(|_| IpError::Method(field(0).to_owned()))? {
            ip.address = Some((address, prefix(address, field(3))?));
        } else if is_method(field(6)) != Some(true) {
            return Err(IpError::Off);
        }
        match field(7).parse::<u16>() {
            Ok(mtu) => ip.mtu = Some(mtu), // dracut's other form: MTU and MAC instead of name servers
            Err(_) => {
                ip.dns = [optional(field(7))?, optional(field(8))?].into_iter().flatten().collect();
                ip.ntp = optional(field(9))?;
            }
        }
        Ok(ip)
    }
}

fn by_device(device: &str, method: &str, mtu: &str) -> Result<Ip, IpError> {
    if is_method(method) == Some(false) {
        return Err(IpError::Off);
    }
    Ok(Ip { device: name(device), mtu: mtu.parse().ok(), ..Ip::default() })
}

/// `true` if the word asks for an address, `false` if it asks for none, `None` if it is something else.
fn is_method(word: &str) -> Option<bool> {
    match word {
        "none" | "off" | "static" => Some(false),
        _ => AUTOMATIC.contains(&word).then_some(true),
    }
}

/// Colons inside brackets belong to an IPv6 address.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut inside = false;
    for c in text.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => fields.push(String::new()),
            c => fields.iter_mut().last().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

fn name(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn optional(text: &str) -> Result<Option<IpAddr>, IpError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| IpError::Address(text.to_owned())) }
}

/// The prefix length without a mask: that of the IPv4 class, as the kernel does it, or 64.
fn prefix(address: IpAddr, text: &str) -> Result<u8, IpError> {
    let wrong = || IpError::Netmask(text.to_owned());
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(length) = text.parse::<u8>() {
        return if length <= longest { Ok(length) } else { Err(wrong()) };
    }
    match address {
        IpAddr::V6(_) if text.is_empty() => Ok(64),
        IpAddr::V6(_) => Err(wrong()),
        IpAddr::V4(address) if text.is_empty() => Ok(match address.octets() {
            [0..128, ..] => 8,
            [128..192, ..] => 16,
            _ => 24,
        }),
        IpAddr::V4(_) => {
            let mask = text.parse::<Ipv4Addr>().map_err(|_| wrong())?.to_bits();
            let ones = mask.leading_ones();
            if mask.count_ones() == ones { u8::try_from(ones).map_err(|_| wrong()) } else { Err(wrong()) }
        }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |address: Option<&IpAddr>| match address {
            None => String::new(),
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let address = text(self.address.as_ref().map(|(address, _)| address));
        let prefix = self.address.map(|(_, prefix)| prefix.to_string()).unwrap_or_default();
        let [hostname, device] = [&self.hostname, &self.device].map(|name| name.as_deref().unwrap_or_default());
        let method = if self.address.is_some() { "none" } else { "dhcp" };
        write!(f, "{address}::{}:{prefix}:{hostname}:{device}:{method}", text(self.gateway.as_ref()))?;
        match self.mtu {
            Some(mtu) => write!(f, ":{mtu}"),
            None => write!(f, ":{}:{}:{}", text(self.dns.first()), text(self.dns.get(1)), text(self.ntp.as_ref())),
        }
    }
}

/// `vlan=ID`, or dracut's `vlan=NAME:DEVICE` where the name ends in the ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    pub id: u16,
    /// The link below, a NIC or a bond. `None`: any link.
    pub device: Option<String>,
}

impl FromStr for Vlan {
    type Err = IpError;

    fn from_str(text: &str) -> Result<Self, IpError> {
        let (vlan, device) = text.split_once(':').map_or((text, None), |(vlan, device)| (vlan, name(device)));
        let start = vlan.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
        let id = vlan.get(start..).and_then(|digits| digits.parse().ok()).filter(|id| (1..=4094).contains(id));
        let prefix = vlan.get(..start).unwrap_or_default();
        let named = prefix.is_empty() || prefix == "vlan" || prefix.ends_with('.');
        let device = device.or_else(|| prefix.strip_suffix('.').and_then(name));
        match id {
            Some(id) if named => Ok(Self { id, device }),
            _ => Err(IpError::Vlan(text.to_owned())),
        }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(device) => write!(f, "vlan{}:{device}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_forms_are_understood() {
        for (text, written) in [
            ("dhcp", "::::::dhcp:::"),
            ("eth1:dhcp", ":::::eth1:dhcp:::"),
            ("eth1:auto6:1400", ":::::eth1:dhcp:1400"),
            (":::::eth0:dhcp", ":::::eth0:dhcp:::"),
            ("10.0.0.5::10.0.0.1:255.255.255.0:node1:eth0:none", "10.0.0.5::10.0.0.1:24:node1:eth0:none:::"),
            (
                "10.0.0.5::10.0.0.1:24::eth0:off:10.0.0.2:10.0.0.3:10.0.0.4",
                "10.0.0.5::10.0.0.1:24::eth0:none:10.0.0.2:10.0.0.3:10.0.0.4",
            ),
            ("10.0.0.5:10.0.0.1:10.0.0.1", "10.0.0.5::10.0.0.1:8:::none:::"),
            ("[fd00::5]::[fd00::1]:64:n:eth0:none", "[fd00::5]::[fd00::1]:64:n:eth0:none:::"),
            ("10.0.0.5:::24::bond0:none:9000:02-00-00-00-00-01", "10.0.0.5:::24::bond0:none:9000"),
        ] {
            let ip: Ip = text.parse().unwrap();
            assert_eq!(ip.to_string(), written, "{text}");
            assert_eq!(written.parse::<Ip>().unwrap(), ip, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_reported() {
        for (text, error) in [
            ("off", "a machine without network cannot be installed"),
            ("eth0:off", "a machine without network cannot be installed"),
            ("::::::none", "a machine without network cannot be installed"),
            ("fast", "\"fast\" is neither an address nor a way to get one (dhcp, on, any, dhcp6, auto6, none)"),
            ("10.0.0.5:::255.0.255.0:::none", "\"255.0.255.0\" is neither a netmask nor a prefix length"),
            ("10.0.0.5::gw:24:::none", "\"gw\" is not an address"),
            (
                "10.0.0.5:::24::eth0:maybe",
                "\"maybe\" is neither an address nor a way to get one (dhcp, on, any, dhcp6, auto6, none)",
            ),
        ] {
            assert_eq!(text.parse::<Ip>().unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn vlans_have_an_id_and_maybe_a_device() {
        for (text, written) in [
            ("100", Some("100")),
            ("vlan0005:bond0", Some("vlan5:bond0")),
            ("eth0.7:eth0", Some("vlan7:eth0")),
            ("eth0.7", Some("vlan7:eth0")),
            ("vlan5", Some("5")),
            ("4095", None),
            ("lan", None),
            ("eth5", None),
        ] {
            assert_eq!(text.parse::<Vlan>().ok().map(|vlan| vlan.to_string()).as_deref(), written, "{text}");
        }
    }
}
