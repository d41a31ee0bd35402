//! What is wrong with what was read, and what to do. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::firewall::{Family, Passage};
use super::host::ports;
use super::probe::Answer;
use super::sockets::{Holder, Transport};
use super::{Facts, Finding, Interface, Kernel, Level, Question};
use crate::vrf::unheard;

/// Ethernet's. With less, some firmware cannot boot by HTTP, and images are slow.
const USUAL_MTU: u32 = 1500;
/// What every link of IPv4 carries; blocks of TFTP need it.
const LEAST_MTU: u32 = 576;
/// The programs of Debian's package ipxe.
const PACKAGED: [&str; 2] = ["undionly.kpxe", "ipxe.efi"];
/// This program, under which its own ports are found.
const OWN: &str = "thimble";

fn finding(check: &'static str, level: Level, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, level, found: found.into(), remedy: remedy.into() }
}

/// All findings in the order in which a boot meets them.
#[must_use]
pub fn check(question: &Question, facts: &Facts) -> Vec<Finding> {
    let mut found = address(question, &facts.interfaces);
    found.extend(vrfs(question, &facts.interfaces, &facts.kernel));
    found.extend(metadata(question, &facts.interfaces));
    found.extend(mtu(question, &facts.interfaces));
    found.extend(holders(question, &facts.holders));
    found.extend(answers(question, facts));
    found.extend(firewall(question, facts));
    found.extend(files(question, facts));
    found
}

fn has(interface: &Interface, address: Ipv4Addr) -> bool {
    interface.addresses.iter().any(|(own, _)| *own == address)
}

/// The advertised address is on this host, and on the interface that is served.
fn address(question: &Question, interfaces: &[Interface]) -> Vec<Finding> {
    let mut found = Vec::new();
    let named = question.interface.as_ref().map(|name| (name, interfaces.iter().find(|one| one.name == *name)));
    match named {
        Some((name, None)) => found.push(finding(
            "interface",
            Level::Error,
            format!("this host has no interface {name}"),
            "`ip link` lists the interfaces; correct `interface`",
        )),
        Some((name, Some(one))) if !one.is_up => found.push(finding(
            "interface",
            Level::Error,
            format!("interface {name} is down, or its cable is not plugged in"),
            format!("`ip link set {name} up`, and look at its cable"),
        )),
        _ => {}
    }
    let Some(address) = question.address else {
        found.push(finding(
            "address",
            Level::Unknown,
            "no address is configured",
            "give --address or --config FILE, and it is looked at, too",
        ));
        return found;
    };
    let Some(owner) = interfaces.iter().find(|one| has(one, address)) else {
        found.push(finding(
            "address",
            Level::Error,
            format!("no interface of this host has {address}, at which machines look for it"),
            "correct `address`. It is right only if another host forwards all ports of this one (NAT)",
        ));
        return found;
    };
    found.push(match named {
        Some((name, Some(_))) if owner.name != *name => finding(
            "address",
            Level::Error,
            format!("{address} is on interface {}, and boots serves {name} only", owner.name),
            format!("give `interface: {}`, or an `address` of {name}", owner.name),
        ),
        _ => finding("address", Level::Ok, format!("{address} is on interface {}", owner.name), ""),
    });
    found
}

/// Interfaces of boots in a VRF whose machines are not heard.
#[must_use]
pub fn vrfs(question: &Question, interfaces: &[Interface], kernel: &Kernel) -> Vec<Finding> {
    let is_bound = question.interface.is_some();
    let is_meant = |one: &&Interface| question.interface.as_ref().map_or(!one.addresses.is_empty(), |name| one.name == *name);
    let each = interfaces.iter().filter(is_meant).filter_map(|one| {
        let vrf = one.vrf.as_deref()?;
        let what = unheard(vrf, is_bound, kernel)?;
        Some(finding(
            "vrf",
            Level::Error,
            format!("machines of interface {} in the VRF {vrf} do not reach {what}", one.name),
            format!(
                "`sysctl net.ipv4.tcp_l3mdev_accept=1 net.ipv4.udp_l3mdev_accept=1`, or start thimble by `ip vrf exec {vrf}`"
            ),
        ))
    });
    each.collect()
}

/// The addresses of metadata that are not on this host. Clients have 169.254.169.254 built in, and no interface has it by itself.
fn metadata(question: &Question, interfaces: &[Interface]) -> Vec<Finding> {
    let lacks = |address: &&SocketAddr| match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !interfaces.iter().any(|one| has(one, ip)),
        IpAddr::V6(_) => false, // only IPv4 addresses were read
    };
    let interface = question.interface.as_deref().unwrap_or("INTERFACE");
    let lacking = question.metadata.iter().filter(lacks).map(|address| {
        let ip = address.ip();
        finding(
            "metadata",
            Level::Error,
            format!("no interface of this host has {ip}, at which metadata shall be served"),
            format!("`ip address add {ip}/32 dev {interface}`, or take {address} out of `metadata`"),
        )
    });
    lacking.collect()
}

fn mtu(question: &Question, interfaces: &[Interface]) -> Vec<Finding> {
    let is_meant = |one: &&Interface| match (&question.interface, question.address) {
        (Some(name), _) => one.name == *name,
        (None, Some(address)) => has(one, address),
        (None, None) => false,
    };
    let each = interfaces.iter().filter(is_meant).filter_map(|one| {
        let (name, mtu) = (&one.name, one.mtu?);
        Some(if mtu < LEAST_MTU {
            let found = format!("interface {name} carries packets of {mtu} bytes only");
            finding("mtu", Level::Error, found, format!("`ip link set {name} mtu {USUAL_MTU}`"))
        } else if mtu < USUAL_MTU {
            let found = format!("interface {name} carries packets of {mtu} bytes; TFTP sends blocks that fit");
            finding("mtu", Level::Ok, found, "")
        } else if mtu > USUAL_MTU {
            finding(
                "mtu",
                Level::Warning,
                format!("interface {name} carries packets of {mtu} bytes. Firmware carries {USUAL_MTU}, and so may the switch"),
                "if machines stop while they load files, give the interface the MTU of the machines' network",
            )
        } else {
            finding("mtu", Level::Ok, format!("interface {name} carries packets of {mtu} bytes"), "")
        })
    });
    each.collect()
}

fn name(transport: Transport, port: u16) -> String {
    let transport = match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    format!("{transport} port {port}")
}

/// Other programs on the ports. Two of them may hold one, and then each gets some of the packets.
fn holders(question: &Question, holders: &[Holder]) -> Vec<Finding> {
    let wanted = ports(question);
    // Port 80 of another address is a web server's own affair.
    let meets = |one: &&Holder| {
        let is_free = |address: &SocketAddr| !address.ip().is_unspecified() && address.ip() != one.address;
        let mut metadata = question.metadata.iter().filter(|address| address.port() == one.port).peekable();
        one.transport == Transport::Udp
            || one.address.is_unspecified()
            || [question.http, question.grpc, question.api].contains(&one.port)
            || metadata.peek().is_none()
            || !metadata.all(is_free)
    };
    let is_wanted = |one: &&Holder| wanted.contains(&(one.transport, one.port));
    let others = holders.iter().filter(|one| one.program != OWN).filter(is_wanted).filter(meets);
    let mut found: Vec<Finding> = others
        .map(|one| {
            let who = match one.program.as_str() {
                "" => "another program".to_owned(),
                program => format!("{program} (process {})", one.pid),
            };
            let said = format!("{who} holds {} of this host, at {}", name(one.transport, one.port), one.address);
            let stop = format!("stop it (`systemctl disable --now {}`), or let it serve another interface", unit(&one.program));
            // A program on loopback, such as a resolver's, takes no packet of a machine.
            if one.address.is_loopback() {
                finding("ports", Level::Ok, said, "")
            } else if one.transport == Transport::Udp && one.port == 67 {
                finding("ports", Level::Error, format!("{said}: it is a DHCP server, and answers machines, too"), stop)
            } else {
                finding("ports", Level::Error, said, stop)
            }
        })
        .collect();
    if found.is_empty() {
        let own = holders.iter().filter(|one| one.program == OWN).count();
        let running = if own > 0 { "thimble has its ports, and no other program holds one" } else { "the ports are free" };
        found.push(finding("ports", Level::Ok, running, ""));
    }
    found
}

fn unit(program: &str) -> &str {
    if program.is_empty() { "UNIT" } else { program }
}

/// Other DHCP and PXE servers on the wire.
fn answers(question: &Question, facts: &Facts) -> Vec<Finding> {
    let answers = match &facts.answers {
        Ok(answers) => answers,
        Err(why) => {
            return vec![finding("dhcp", Level::Unknown, format!("the network cannot be asked: {why}"), "run it as root")];
        }
    };
    let own: Vec<Ipv4Addr> =
        facts.interfaces.iter().flat_map(|one| &one.addresses).map(|(address, _)| *address).chain(question.address).collect();
    let others: Vec<&Answer> = answers.iter().filter(|answer| !own.contains(&answer.server)).collect();
    let is_meant =
        |answer: &Answer| question.is_proxy && answer.address.is_some() && !answer.is_pxe && answer.boot_file.is_empty();
    let mut found: Vec<Finding> = others
        .iter()
        .map(|answer| match is_meant(answer) {
            true => {
                let found = format!("DHCP server {} on {} gives the addresses beside the proxy", answer.server, answer.interface);
                finding("dhcp", Level::Ok, found, "")
            }
            false => foreign(answer),
        })
        .collect();
    if question.is_proxy && others.iter().all(|answer| answer.address.is_none()) {
        found.push(finding(
            "dhcp",
            Level::Warning,
            "no DHCP server gave an address within 3 s, and boots as a proxy gives none",
            "start the DHCP server of this network, or set `dhcp-mode: reservation` for it",
        ));
    } else if found.is_empty() {
        found.push(finding("dhcp", Level::Ok, "no other DHCP server answered within 3 s", ""));
    }
    let relays: Vec<String> = answers.iter().filter_map(|answer| answer.relay).map(|relay| relay.to_string()).collect();
    if !relays.is_empty() {
        found.push(finding(
            "relays",
            Level::Warning,
            format!("a relay hands DHCP of this network to another server: {}", relays.join(", ")),
            "take this network out of the relay, or that server out of its list",
        ));
    }
    found
}

fn foreign(answer: &Answer) -> Finding {
    let Answer { server, interface, address, is_pxe, boot_file, next_server, .. } = answer;
    let boot = match (boot_file.as_str(), next_server) {
        ("", _) => String::new(),
        (file, Some(next)) => format!(" with the boot file {file} of {next}"),
        (file, None) => format!(" with the boot file {file}"),
    };
    match (address, *is_pxe || !boot_file.is_empty()) {
        (None, _) => finding(
            "pxe",
            Level::Error,
            format!("PXE server {server} on {interface} answers firmware beside the DHCP server{boot}"),
            format!("stop it on {server}, or let it ignore the machines of boots. Firmware takes either answer"),
        ),
        (Some(address), true) => finding(
            "pxe",
            Level::Error,
            format!("DHCP server {server} on {interface} offers {address}{boot}, so machines boot from it"),
            format!("take the boot options out of {server}, or stop it for the machines of boots"),
        ),
        (Some(address), false) => finding(
            "dhcp",
            Level::Error,
            format!("DHCP server {server} on {interface} offers {address} to every machine"),
            format!(
                "let {server} ignore the MACs of the Hardware, or stop it. A machine that takes its offer does not boot. If it has \
                 to stay, docs/dhcp.md says how boots works beside it"
            ),
        ),
    }
}

fn firewall(question: &Question, facts: &Facts) -> Vec<Finding> {
    let rules = match &facts.firewall {
        Ok(rules) => rules,
        Err(why) => {
            let remedy = "as root, with nft or iptables-save; or look at the rules for the ports in docs/install.md";
            return vec![finding("firewall", Level::Unknown, format!("the rules of the firewall cannot be read: {why}"), remedy)];
        }
    };
    let mut found = Vec::new();
    for rule in rules {
        let family = if rule.family == Family::V6 { " for IPv6" } else { "" };
        let port = format!("{}{family}", name(rule.transport, rule.port));
        match &rule.passage {
            // Nothing of boots needs it unless it is a proxy.
            Passage::Closed(_) | Passage::Unclear(_) if rule.port == 4011 && !question.is_proxy => {}
            Passage::Open => {}
            Passage::Closed(chain) => found.push(finding(
                "firewall",
                Level::Error,
                format!("the firewall closes {port}, in the chain {chain}"),
                format!(
                    "open it for the machines' network, such as `nft add rule {chain} {} dport {} accept`",
                    word(rule.transport),
                    rule.port
                ),
            )),
            Passage::Unclear(chain) => found.push(finding(
                "firewall",
                Level::Warning,
                format!("the firewall opens {port} under conditions only, in the chain {chain}"),
                "look whether the machines' network meets them",
            )),
        }
    }
    found.dedup();
    if found.is_empty() {
        found.push(finding("firewall", Level::Ok, "no rule closes a port of boots", ""));
    }
    found
}

const fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

fn files(question: &Question, facts: &Facts) -> Vec<Finding> {
    let missing = facts.missing.iter().map(|file| {
        let found = format!("{} does not exist, and scripts name it", file.display());
        finding("files", Level::Error, found, "`thimble image build` makes kernel and ramdisk")
    });
    // Few sites have the others, and no package has their programs.
    let (usual, others): (Vec<_>, Vec<_>) = facts.programs.iter().partition(|(_, name)| PACKAGED.contains(name));
    let programs = usual.into_iter().map(|(firmware, name)| {
        let found = format!("{firmware} cannot boot: {} has no {name}", question.nbp.display());
        finding("programs", Level::Warning, found, "`apt-get install ipxe`, or give the folder that has it as `nbp`")
    });
    let others: Vec<String> = others.into_iter().map(|(firmware, name)| format!("{firmware} ({name})")).collect();
    let rare = (!others.is_empty()).then(|| {
        let found = format!("{} has no program for {}", question.nbp.display(), others.join(", "));
        finding("programs", Level::Ok, found, "")
    });
    let mut found: Vec<Finding> = missing.chain(programs).chain(rare).collect();
    if found.iter().all(|one| one.level == Level::Ok) {
        found.push(finding("files", Level::Ok, "kernel, ramdisk and the boot programs of PCs are there", ""));
    }
    found
}

#[cfg(test)]
mod tests;
