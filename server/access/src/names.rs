//! The names and addresses under which clients reach this host: what its certificate is for, and which `Host` is meant.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LOCALHOST: &str = "localhost";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    dns: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor the name of a host")]
pub struct NotAName(String);

impl Names {
    /// Loopback alone.
    #[must_use]
    pub fn local() -> Self {
        let dns = BTreeSet::from([LOCALHOST.to_owned()]);
        Self { dns, addresses: BTreeSet::from([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]) }
    }

    /// Adds a name or an address.
    ///
    /// # Errors
    /// If it is neither.
    pub fn add(&mut self, text: &str) -> Result<(), NotAName> {
        let refused = || NotAName(text.chars().take(80).collect());
        if let Ok(address) = text.parse() {
            self.addresses.insert(address);
            return Ok(());
        }
        let name = plain(text);
        let is_label = |label: &str| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(inside) && !label.starts_with('-')
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(refused());
        }
        self.dns.insert(name);
        Ok(())
    }

    /// For the certificate.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.dns.iter().cloned().chain(self.addresses.iter().map(ToString::to_string)).collect()
    }

    /// Whether a `Host` header means this host. An address always does: only a name can be made to lead elsewhere.
    #[must_use]
    pub fn is_host(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => return rest.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok()),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<Ipv4Addr>().is_ok() || self.dns.contains(&plain(name))
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Names {
        let mut names = Names::local();
        texts.iter().for_each(|text| names.add(text).unwrap());
        names
    }

    #[test]
    fn a_host_is_an_address_or_one_of_the_names() {
        let names = names(&["10.0.0.1", "prov.example", "Prov2"]);
        for (host, is) in [
            ("10.0.0.1:7080", true),
            ("192.0.2.9", true), // behind NAT
            ("[fd00::1]:6443", true),
            ("[::1]", true),
            ("localhost:6443", true),
            ("PROV.example.", true),
            ("prov2:1", true),
            ("evil.example", false),
            ("evil.example:7080", false),
            ("prov.example.evil.example", false),
            ("10.0.0.1.evil.example", false),
            ("[evil]", false),
            ("[::1", false),
            ("", false),
            (":7080", false),
        ] {
            assert_eq!(names.is_host(host), is, "{host:?}");
        }
    }

    #[test]
    fn only_names_and_addresses_are_added() {
        let mut names = Names::local();
        for text in ["", "a b", "a..b", "-a", "*.example", "a/b", "https://a", "a:1", "\u{e9}.example", &"a".repeat(64)] {
            assert!(names.add(text).is_err(), "{text:?}");
        }
        assert_eq!(names, Names::local());
        assert_eq!(Names::local().texts(), ["localhost", "127.0.0.1", "::1"]);
    }
}
