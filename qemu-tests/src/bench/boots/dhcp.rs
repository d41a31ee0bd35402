//! Exchanges of DHCP, beside Kea with its leases in memory.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::server::Server;
use super::{Bench, Promise, SERVER, Table};

/// The first machine's, as in `boots_alone`.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
const SECONDS: u32 = 4;
/// Exchanges a second between which the highest rate is searched, and steps of the search.
const RANGE: (f64, f64) = (500.0, 100_000.0);
const STEPS: usize = 7;
/// What a busy host spoils once is no limit of the server.
const TRIES: usize = 2;
/// A rate at which both are at ease.
const COMMON: f64 = 1000.0;
/// Of exchanges, in percent.
const TOLERATED: f64 = 0.1;

pub(super) fn measure(bench: &Bench, machines: u32, table: &mut Table) -> Result<()> {
    let (served, address) = (bench.served().display().to_string(), SERVER.to_string());
    let ours = bench.programs.join("boots_alone").display().to_string();
    let command = [ours.as_str(), &address, &served, &machines.to_string()];
    let server = Server::start(&command, &[], 67, &bench.folder.join("boots.log"))?;
    cells(bench, &server, machines, true, table)?;
    drop(server);
    let config = bench.folder.join("kea.json");
    std::fs::write(&config, kea(machines).to_string()).context("cannot write Kea's configuration")?;
    let folder = bench.folder.display().to_string();
    let environment = [("KEA_LOCKFILE_DIR", folder.as_str()), ("KEA_PIDFILE_DIR", &folder)];
    let command = ["kea-dhcp4", "-c", &config.display().to_string()];
    let server = Server::start(&command, &environment, 67, &bench.folder.join("kea.log"))?;
    cells(bench, &server, machines, false, table)
}

fn cells(bench: &Bench, server: &Server, machines: u32, is_ours: bool, table: &mut Table) -> Result<()> {
    let probe = |rate: f64| -> Result<(bool, f64)> {
        let before = server.begin()?;
        let report = perfdhcp(bench, rate, machines)?;
        let spent = server.spent(&before)? / report.exchanges.max(1.0) * 1000.0;
        Ok((report.holds(rate), spent))
    };
    let (mut low, mut high) = RANGE;
    for _ in 0..STEPS {
        let middle = (low * high).sqrt();
        let mut holds = false;
        for _ in 0..TRIES {
            holds = holds || probe(middle)?.0;
        }
        if holds { low = middle } else { high = middle }
    }
    table.add(&format!("DHCP, {machines} reservations: exchanges/s"), Promise::AtLeast(1.5), is_ours, low);
    let cost = format!("DHCP, {machines} reservations: CPU s per 1,000");
    table.add(&cost, Promise::AtMost(0.5), is_ours, probe(COMMON)?.1);
    table.add(&format!("DHCP, {machines} reservations: MiB of memory"), Promise::None, is_ours, server.peak_mib()?);
    Ok(())
}

/// Of one run of perfdhcp.
#[derive(Debug, Default, PartialEq)]
struct Report {
    discovers: f64,
    exchanges: f64,
}

impl Report {
    fn holds(&self, rate: f64) -> bool {
        let lost = 100.0 * (1.0 - self.exchanges / self.discovers.max(1.0));
        lost < TOLERATED && self.discovers >= 0.97 * rate * f64::from(SECONDS)
    }
}

fn perfdhcp(bench: &Bench, rate: f64, machines: u32) -> Result<Report> {
    let mut command = Command::new("nsenter");
    command.args([&format!("--net={}", bench.namespace()), "taskset", "--cpu-list", "1", "perfdhcp"]);
    command.args(["-4", "-g", "single", "-r", &format!("{rate:.0}"), "-p", &SECONDS.to_string()]);
    command.args(["-R", &machines.to_string(), "-b", "mac=02:00:00:00:00:00", "-W", "1000000", &SERVER.to_string()]);
    let output = command.output().context("cannot start perfdhcp")?; // it fails if a single packet got lost
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// The statistics of DISCOVER and OFFER, then those of REQUEST and ACK.
fn parse(text: &str) -> Report {
    let (mut report, mut is_first) = (Report::default(), true);
    for line in text.lines() {
        let number = || line.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
        if line.contains("Statistics for") {
            is_first = line.contains("DISCOVER");
        } else if line.starts_with("sent packets") && is_first {
            report.discovers = number();
        } else if line.starts_with("received packets") && !is_first {
            report.exchanges = number();
        }
    }
    report
}

fn machine(number: u32) -> (String, Ipv4Addr) {
    let [_, a, b, c] = number.to_be_bytes();
    (format!("02:00:00:{a:02x}:{b:02x}:{c:02x}"), Ipv4Addr::from(u32::from(FIRST) + number))
}

fn kea(machines: u32) -> serde_json::Value {
    let reservations: Vec<_> =
        (0..machines).map(machine).map(|(mac, address)| json!({"hw-address": mac, "ip-address": address})).collect();
    json!({"Dhcp4": {
        "interfaces-config": {"interfaces": ["bench0"], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "persist": false, "lfc-interval": 0},
        "valid-lifetime": 3600, "host-reservation-identifiers": ["hw-address"],
        "reservations-global": false, "reservations-in-subnet": true, "reservations-out-of-pool": true,
        "subnet4": [{"subnet": "10.0.0.0/8", "pools": [], "reservations": reservations,
            "option-data": [{"name": "routers", "data": SERVER}],
            "next-server": SERVER, "boot-file-name": "undionly.kpxe"}],
        "loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stderr"}]}],
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_perfdhcp_is_read() {
        let text = "***Rate statistics***\nRate: 990 4-way exchanges/second, expected rate: 1000\n\n***Statistics for: DISCOVER-OFFER***\n\
                    sent packets: 4000\nreceived packets: 4000\ndrops: 0\n\n***Statistics for: REQUEST-ACK***\nsent packets: 4000\n\
                    received packets: 3999\ndrops: 1\n";
        let report = parse(text);
        assert_eq!(report, Report { discovers: 4000.0, exchanges: 3999.0 });
        assert!(report.holds(1000.0) && !report.holds(2000.0), "the rate was not reached");
        assert!(!Report { exchanges: 3990.0, ..report }.holds(1000.0), "too many got lost");
    }

    #[test]
    fn machines_have_addresses_of_the_network() {
        assert_eq!(machine(0), ("02:00:00:00:00:00".to_owned(), FIRST));
        assert_eq!(machine(65_536), ("02:00:00:01:00:00".to_owned(), Ipv4Addr::new(10, 65, 0, 0)));
    }
}
