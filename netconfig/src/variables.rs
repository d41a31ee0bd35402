//! Everything as shell variables, for an action that writes its own files. They also have what DHCP will answer again.

use machine::network::{Learned, Method};

use super::joined;

pub fn render(learned: &Learned) -> String {
    let method = match learned.method {
        Method::Static => "static",
        Method::Dhcp => "dhcp",
        Method::Auto6 => "auto6",
        Method::Dhcp6 => "dhcp6",
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
        ("ADDRESS", learned.address.to_string()),
        ("PREFIX", learned.prefix.to_string()),
        ("GATEWAY", learned.gateway().map(|gateway| gateway.to_string()).unwrap_or_default()),
        ("ROUTES", routes.collect::<Vec<_>>().join(" ")),
        ("MTU", text(learned.mtu())),
        ("DNS", joined(&learned.dns, " ")),
        ("SEARCH", joined(&learned.search, " ")),
        ("NTP", joined(&learned.ntp, " ")),
        ("HOSTNAME", learned.hostname.clone().unwrap_or_default()),
    ]
    .map(|(name, value)| format!("{name}=\"{value}\"\n"))
    .concat()
}
