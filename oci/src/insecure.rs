//! Registries without a valid certificate, like dockerd's `insecure-registries`: first HTTPS without checking the
//! certificate, then plain HTTP. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use machine::network::covers;

use crate::reference::canonical;

/// The networks that dockerd has in the list by default.
const LOOPBACK: [(IpAddr, u8); 2] =
    [(IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128)];

#[derive(Debug, Default)]
pub struct Insecure {
    /// `host` or `host:port`, exactly as in the names of images.
    names: BTreeSet<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl Insecure {
    /// The list, and the entries that are neither a registry nor a network.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a String>) -> (Self, Vec<&'a String>) {
        let (mut list, mut wrong) = (Self::default(), Vec::new());
        for entry in entries {
            let text = entry.trim();
            let text =
                ["http://", "https://"].iter().find_map(|scheme| after(text, scheme)).unwrap_or(text).trim_end_matches('/');
            if let Some(network) = network(text) {
                list.networks.push(network);
            } else if is_authority(text) {
                list.names.insert(canonical(&bracketed(text)));
            } else if !text.is_empty() {
                wrong.push(entry);
            }
        }
        (list, wrong)
    }

    /// Whether the list names this registry, or a network that contains its address.
    pub fn lists(&self, registry: &str) -> bool {
        self.names.contains(registry) || address(registry).is_some_and(|address| self.has(address))
    }

    pub fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, length)| covers(*network, *length, address))
    }

    /// The name to resolve, if only its addresses decide whether a network in the list contains it.
    pub fn must_resolve<'r>(&self, registry: &'r str) -> Option<&'r str> {
        let undecided = !self.networks.is_empty() && !self.lists(registry) && address(registry).is_none();
        undecided.then(|| host(registry))
    }
}

/// Registries on the machine itself are never checked.
pub fn is_loopback(registry: &str) -> bool {
    let name = host(registry);
    let named = name == "localhost" || name.ends_with(".localhost");
    let address = address(registry);
    named || address.is_some_and(|address| LOOPBACK.iter().any(|(network, length)| covers(*network, *length, address)))
}

/// The host without the port. An IPv6 address keeps its brackets.
fn host(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if !registry.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    }
}

fn address(registry: &str) -> Option<IpAddr> {
    host(registry).trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn after<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    let start = text.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| text.get(scheme.len()..)).flatten()
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    length.parse().ok().filter(|length| *length <= most).map(|length| (address, length))
}

/// Adds brackets to an IPv6 address that was written without them.
fn bracketed(text: &str) -> String {
    if text.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.to_owned() }
}

fn is_authority(text: &str) -> bool {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return true;
    }
    let (name, port) = text.rsplit_once(':').filter(|_| !text.ends_with(']')).unwrap_or((text, "1"));
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    port.parse::<u16>().is_ok() && (named || bracketed.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> (Insecure, Vec<String>) {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let (list, wrong) = Insecure::parse(&entries);
        (list, wrong.into_iter().cloned().collect())
    }

    #[test]
    fn an_entry_has_the_same_meaning_as_in_dockerd() {
        for (entry, registry, want) in [
            ("registry.example", "registry.example", true),
            ("registry.example", "registry.example:5000", false), // the port is a part of the name
            ("registry.example:5000", "registry.example:5000", true),
            ("registry.example:5000", "registry.example", false),
            ("Registry.Example:5000", "registry.example:5000", true),
            ("registry.example", "evil.registry.example", false),
            ("http://10.0.0.1:5000", "10.0.0.1:5000", true), // dockerd warns and accepts it
            ("HTTPS://10.0.0.1:5000/", "10.0.0.1:5000", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.1:5000", false),
            ("10.0.0.1/32", "10.0.0.1:5000", true), // a network includes every port
            ("10.0.0.0/8", "10.200.0.1:5000", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.200.0.1", true), // the host bits do not count
            ("0.0.0.0/0", "192.0.2.1:1", true),
            ("0.0.0.0/0", "[fd00::1]:1", false),
            ("fd00::/16", "[fd00::1]:5000", true),
            ("::1", "[::1]", true),
            ("[fd00::1]:5000", "[fd00::1]:5000", true),
            (" registry.example ", "registry.example", true),
            ("index.docker.io", "docker.io", true),
        ] {
            let (list, wrong) = list(&[entry]);
            assert!(wrong.is_empty(), "{entry}: {wrong:?}");
            assert_eq!(list.lists(registry), want, "{entry} {registry}");
        }
    }

    #[test]
    fn an_entry_that_is_not_a_registry_is_returned() {
        for entry in ["ftp://x", "a/b", "10.0.0.0/33", "x:port", "a b", "[zz]:1", "*.example"] {
            assert_eq!(list(&[entry]).1, [entry]);
        }
        assert!(list(&["", " "]).1.is_empty());
    }

    #[test]
    fn a_name_is_looked_up_only_if_its_addresses_can_decide() {
        assert_eq!(list(&["registry.example"]).0.must_resolve("other.example:5000"), None);
        let (networks, _) = list(&["10.0.0.0/8", "registry.example"]);
        assert_eq!(networks.must_resolve("other.example:5000"), Some("other.example"));
        assert_eq!(networks.must_resolve("registry.example"), None);
        assert_eq!(networks.must_resolve("192.0.2.1:5000"), None);
        assert!(networks.has("10.3.2.1".parse().unwrap()));
    }

    #[test]
    fn registries_on_the_machine_itself_are_never_checked() {
        for (registry, want) in [
            ("localhost:5000", true),
            ("a.localhost", true),
            ("127.0.0.1", true),
            ("127.9.8.7:5000", true),
            ("[::1]:5000", true),
            ("notlocalhost:5000", false),
            ("localhost.example", false),
            ("128.0.0.1", false),
        ] {
            assert_eq!(is_loopback(registry), want, "{registry}");
        }
    }
}
