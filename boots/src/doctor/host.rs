//! Reads what the checks look at.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use ::machine::Chain;
use nix::net::if_::InterfaceFlags;

use super::firewall::{Family, Rules, of_iptables, of_nft};
use super::sockets::{Holder, Transport, holders};
use super::{Facts, Interface, PortRule, Question, probe};
use crate::dhcp::firmware::{self, Wants};
use crate::{Config, ipxe, vrf};

/// The ports of DHCP, PXE's boot server and TFTP.
const BOOT_PORTS: [(Transport, u16); 3] = [(Transport::Udp, 67), (Transport::Udp, 4011), (Transport::Udp, 69)];
const DHCP6: (Transport, u16) = (Transport::Udp, 547);

/// Other programs of this host that hold a port of DHCP, PXE or TFTP.
#[must_use]
pub fn other_servers() -> Vec<Holder> {
    holders(&BOOT_PORTS)
}

/// All ports that machines use by a family.
fn ports_of(question: &Question, family: Family) -> Vec<(Transport, u16)> {
    let mut ports = ports(question);
    match family {
        Family::V4 => ports.retain(|port| *port != DHCP6),
        Family::V6 => ports.retain(|(_, port)| ![67, 4011].contains(port)),
    }
    ports
}

/// All ports that machines use.
pub(super) fn ports(question: &Question) -> Vec<(Transport, u16)> {
    let tcp = [question.http, question.grpc, question.api].map(|port| (Transport::Tcp, port));
    let syslog = [Transport::Udp, Transport::Tcp].map(|transport| (transport, ::machine::syslog::PORT));
    let metadata = question.metadata.iter().map(|address| (Transport::Tcp, address.port()));
    let six = question.has_dhcp6.then_some(DHCP6);
    let mut ports: Vec<_> = BOOT_PORTS.into_iter().chain(six).chain(syslog).chain(tcp).collect();
    for one in metadata {
        // Metadata may share a port with HTTP, at another address.
        if !ports.contains(&one) {
            ports.push(one);
        }
    }
    ports
}

/// Reads everything. It takes about three seconds, and wants root.
pub async fn examine(question: &Question) -> Facts {
    let interfaces = interfaces();
    let asked = asked(question, &interfaces);
    let answers = probed(&asked).await;
    Facts {
        holders: holders(&ports(question)),
        kernel: vrf::Kernel::read(),
        answers,
        firewall: firewall(question, asked.first().map(String::as_str)),
        missing: question.files.iter().filter(|file| !file.is_file()).cloned().collect(),
        programs: programs(&question.nbp),
        interfaces,
    }
}

/// The programs that are not there, each with the first firmware that wants it.
fn programs(folder: &Path) -> Vec<(&'static str, &'static str)> {
    let config = Config::new(Ipv4Addr::UNSPECIFIED, folder.to_owned(), folder.to_owned());
    let mut missing: Vec<(&str, &str)> = Vec::new();
    for row in firmware::table() {
        if let Wants::Program(name) | Wants::Url(name) = row.wants
            && missing.iter().all(|(_, known)| *known != name)
            && ipxe::open_asked(&config, name).is_err()
        {
            missing.push((row.name, name));
        }
    }
    missing
}

/// The interfaces by which to ask: the named one, or those with the address, or all that are up.
fn asked(question: &Question, interfaces: &[Interface]) -> Vec<String> {
    if let Some(name) = &question.interface {
        return vec![name.clone()];
    }
    let up = || interfaces.iter().filter(|one| one.is_up && one.name != "lo");
    let has = |one: &&Interface| one.addresses.iter().any(|(address, _)| Some(*address) == question.address);
    let own: Vec<String> = up().filter(has).map(|one| one.name.clone()).collect();
    if own.is_empty() { up().filter(|one| !one.addresses.is_empty()).map(|one| one.name.clone()).collect() } else { own }
}

async fn probed(interfaces: &[String]) -> Result<Vec<probe::Answer>, String> {
    let all = interfaces.iter().map(async |name| probe::ask(name).await.map_err(|error| format!("{name}: {}", Chain(&error))));
    let mut found = Vec::new();
    for answers in futures_util::future::join_all(all).await {
        found.extend(answers?);
    }
    Ok(found)
}

/// The interfaces of this host.
#[must_use]
pub fn interfaces() -> Vec<Interface> {
    let (mut found, vrfs): (BTreeMap<String, Interface>, _) = (BTreeMap::new(), vrf::members());
    for one in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let mtu = std::fs::read_to_string(format!("/sys/class/net/{}/mtu", one.interface_name)).unwrap_or_default();
        let name = one.interface_name.clone();
        let entry = found.entry(name.clone()).or_insert_with(|| Interface {
            vrf: vrfs.get(&name).cloned(),
            name,
            addresses: Vec::new(),
            mtu: mtu.trim().parse().ok(),
            is_up: one.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
        });
        let v4 = |address: Option<nix::sys::socket::SockaddrStorage>| address?.as_sockaddr_in().map(|v4| v4.ip());
        if let Some(address) = v4(one.address) {
            entry.addresses.push((address, v4(one.netmask).unwrap_or(Ipv4Addr::BROADCAST)));
        }
    }
    found.into_values().collect()
}

/// Both tools show the rules of the kernel, and the newer one shows all of them.
fn firewall(question: &Question, interface: Option<&str>) -> Result<Vec<PortRule>, String> {
    let run = |program: &str, arguments: &[&str]| -> Result<String, String> {
        let path = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"].iter().map(|folder| Path::new(folder).join(program));
        let program = path.into_iter().find(|path| path.exists()).ok_or_else(|| format!("{program} is not installed"))?;
        let ran = Command::new(&program).args(arguments).stdin(Stdio::null()).output();
        let output = ran.map_err(|error| format!("{}: {}", program.display(), Chain(&error)))?;
        let said = ::machine::said(&String::from_utf8_lossy(&output.stderr), 200);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            .ok_or(format!("{}: {said}", program.display()))
    };
    let nft = run("nft", &["-j", "list", "ruleset"]);
    let mut each = Vec::new();
    let families = [(Family::V4, "iptables-save", true), (Family::V6, "ip6tables-save", question.has_dhcp6)];
    for (family, program, _) in families.into_iter().filter(|(_, _, is_used)| *is_used) {
        let of_nft = nft.clone().and_then(|text| of_nft(&text, family).ok_or_else(|| "nft prints something else".to_owned()));
        let rules: Vec<Rules> = match (of_nft, run(program, &[])) {
            (Ok(nft), iptables) => std::iter::once(nft).chain(iptables.ok().map(|text| of_iptables(&text))).collect(),
            (Err(_), Ok(text)) => vec![of_iptables(&text)],
            (Err(nft), Err(iptables)) => return Err(format!("{nft}; {iptables}")),
        };
        each.extend(ports_of(question, family).into_iter().flat_map(|(transport, port)| {
            let passage = |rules: &Rules| PortRule { family, transport, port, passage: rules.of(transport, port, interface) };
            rules.iter().map(passage).collect::<Vec<_>>()
        }));
    }
    Ok(each)
}
