//! Which DHCP servers a machine gets, and in which order.

use super::faulty::{FAULTS, Fault};

#[derive(Debug, Clone, Copy)]
pub enum Server {
    Dnsmasq(Manner),
    Kea(Manner),
    /// ISC's server.
    Dhcpd(Manner),
    /// BusyBox's server.
    Udhcpd,
    /// The lab's server, with one fault.
    Faulty(&'static Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It refuses unknown leases.
    Authoritative,
    /// It ignores unknown leases, because another server may have them.
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Two machines that walk through all servers.
    Walks,
    /// In addition a machine for each server.
    Full,
}

pub struct Row {
    pub stops: Vec<Server>,
}

impl Server {
    pub fn name(&self) -> String {
        let manner = |name: &str, manner: &Manner| match manner {
            Manner::Authoritative => name.to_owned(),
            Manner::Shared => format!("{name} that refuses nothing"),
        };
        match self {
            Self::Dnsmasq(how) => manner("dnsmasq", how),
            Self::Kea(how) => manner("Kea", how),
            Self::Dhcpd(how) => manner("ISC dhcpd", how),
            Self::Udhcpd => "udhcpd".to_owned(),
            Self::Faulty(fault) => format!("a server that {}", fault.name),
        }
    }

    /// What the console shows besides the address.
    pub fn says(&self) -> &'static [&'static str] {
        if let Self::Faulty(fault) = self { fault.says } else { &[] }
    }
}

impl Row {
    pub fn name(&self) -> String {
        match &self.stops[..] {
            [one] => one.name(),
            [first, .., last] => format!("from {} to {}, {} networks", first.name(), last.name(), self.stops.len()),
            [] => "nothing".to_owned(),
        }
    }
}

pub fn rows(form: Form) -> Vec<Row> {
    use Manner::{Authoritative, Shared};
    use Server::{Dhcpd, Dnsmasq, Faulty, Kea, Udhcpd};
    let real = vec![
        Dnsmasq(Shared),
        Kea(Authoritative),
        Dhcpd(Shared),
        Udhcpd,
        Dnsmasq(Authoritative),
        Kea(Shared),
        Dhcpd(Authoritative),
    ];
    let faulty: Vec<Server> = FAULTS.iter().map(Faulty).collect();
    let alone = real.iter().chain(&faulty).map(|server| Row { stops: vec![*server] });
    let alone: Vec<Row> = if form == Form::Full { alone.collect() } else { Vec::new() };
    [Row { stops: real.clone() }, Row { stops: faulty.clone() }].into_iter().chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walks_meet_every_server_and_every_fault() {
        let met: Vec<String> = rows(Form::Walks).iter().flat_map(|row| row.stops.iter().map(Server::name)).collect();
        for name in ["dnsmasq", "Kea", "ISC dhcpd", "udhcpd"] {
            assert!(met.iter().any(|one| one == name), "{name}");
        }
        assert!(FAULTS.iter().all(|fault| met.iter().any(|one| one.ends_with(fault.name))));
        assert_eq!(rows(Form::Full).len(), met.len() + 2);
    }
}
