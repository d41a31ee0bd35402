//! Boot programs by TFTP, beside atftpd.

use anyhow::{Context, Result};

use super::server::Server;
use super::{Bench, Promise, SERVER, Table};

struct Case {
    name: &'static str,
    clients: u32,
    window: u32,
    /// Of the data, in percent.
    loss: u32,
    rate: Promise,
    cost: Promise,
}

const fn case(name: &'static str, clients: u32, window: u32, loss: u32, rate: Promise, cost: Promise) -> Case {
    Case { name, clients, window, loss, rate, cost }
}

/// 64 is atftpd's best window.
const CASES: &[Case] = &[
    case("one client", 1, 64, 0, Promise::AtLeast(1.5), Promise::AtMost(1.0)),
    case("20 clients", 20, 64, 0, Promise::AtLeast(1.5), Promise::AtMost(1.0)),
    case("one client without windows", 1, 1, 0, Promise::None, Promise::AtMost(1.0)),
    case("5 % loss", 1, 64, 5, Promise::AtLeast(1.5), Promise::None),
    case("5 % loss without windows", 1, 1, 5, Promise::AtLeast(1.5), Promise::None),
];
const SECONDS: u32 = 4;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (served, address) = (bench.served().display().to_string(), SERVER.to_string());
    let ours = bench.programs.join("boots_alone").display().to_string();
    let server = Server::start(&[&ours, &address, &served], &[], 69, &bench.folder.join("boots.log"))?;
    cells(bench, &server, true, table)?;
    drop(server);
    let words =
        format!("--daemon --no-fork --user root --group root --bind-address {SERVER} --port 69 --maxthread 300 --verbose=3");
    let command: Vec<&str> = ["atftpd"].into_iter().chain(words.split(' ')).chain(["--logfile", "/dev/null", &served]).collect();
    let server = Server::start(&command, &[], 69, &bench.folder.join("atftpd.log"))?;
    cells(bench, &server, false, table)
}

fn cells(bench: &Bench, server: &Server, is_ours: bool, table: &mut Table) -> Result<()> {
    let load = bench.programs.join("tftp_load").display().to_string();
    for Case { name, clients, window, loss, rate, cost } in CASES {
        let before = server.begin()?;
        let text = bench.client(&load, &format!("{SERVER}:69 nbp {clients} {window} {SECONDS} {loss}"))?;
        let spent = server.spent(&before)?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [bytes, seconds, _] = numbers.as_slice() else { anyhow::bail!("tftp_load printed {text}") };
        let rate_name = format!("TFTP, {name}: MB/s");
        table.add(&rate_name, *rate, is_ours, bytes / 1e6 / seconds);
        let per_100_mb = Some(spent / (bytes / 1e8)).filter(|cost| cost.is_finite()).context("no byte came")?;
        let cost_name = format!("TFTP, {name}: CPU seconds per 100 MB");
        table.add(&cost_name, *cost, is_ours, per_100_mb);
    }
    Ok(())
}
