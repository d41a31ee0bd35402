//! Everything as variables of a shell, also what DHCP will say again, for an action that writes something of its own.

use super::{Learned, joined};

pub fn render(learned: &Learned) -> String {
    let lease = &learned.lease;
    let method = match (learned.is_dynamic(), learned.is_ipv4(), lease.by_kernel) {
        (false, ..) => "static",
        (true, true, _) => "dhcp",
        (true, false, true) => "auto6",
        (true, false, false) => "dhcp6",
    };
    let nics: Vec<&str> = learned.nics.iter().map(|nic| nic.name.as_str()).collect();
    let macs: Vec<_> = learned.nics.iter().map(|nic| nic.mac).collect();
    let text = |value: Option<u16>| value.map(|value| value.to_string()).unwrap_or_default();
    let routes = learned.other_routes().map(|route| {
        let via = route.gateway.map(|gateway| format!(",{gateway}")).unwrap_or_default();
        format!("{}/{}{via}", route.destination, route.prefix)
    });
    [
        ("METHOD", method.to_owned()),
        ("LINKS", nics.join(" ")),
        ("MACS", joined(&macs, " ")),
        ("BOND", learned.bond.as_ref().map(|bond| bond.name.clone()).unwrap_or_default()),
        ("VLAN", text(learned.vlan)),
        ("ADDRESS", lease.address.to_string()),
        ("PREFIX", lease.prefix.to_string()),
        ("GATEWAY", learned.gateway().map(|gateway| gateway.to_string()).unwrap_or_default()),
        ("ROUTES", routes.collect::<Vec<_>>().join(" ")),
        ("MTU", text(learned.mtu())),
        ("DNS", learned.dns(" ")),
        ("SEARCH", learned.search(" ")),
        ("NTP", joined(&lease.ntp, " ")),
        ("HOSTNAME", lease.hostname.clone().unwrap_or_default()),
    ]
    .map(|(name, value)| format!("{name}=\"{value}\"\n"))
    .concat()
}
