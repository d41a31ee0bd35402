//! Files by HTTP, beside nginx with sendfile.

use anyhow::{Context, Result};

use super::server::Server;
use super::{Bench, Promise, SERVER, Table};

const SECONDS: f64 = 4.0;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (folder, served) = (bench.folder.display(), bench.served());
    let ours = bench.programs.join("boots_alone").display().to_string();
    let served = served.display().to_string();
    let command = [ours.as_str(), &SERVER.to_string(), &served];
    let server = Server::start(&command, &[], 7080, &bench.folder.join("boots.log"))?;
    cells(bench, &server, &format!("http://{SERVER}:7080/files"), true, table)?;
    drop(server);
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null; user root;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t;
  scgi_temp_path {folder}/t; server {{ listen {SERVER}:8080; root {served}; }} }}"
    );
    let path = bench.folder.join("nginx.conf");
    std::fs::write(&path, config).context("cannot write nginx.conf")?;
    let command = ["nginx", "-c", &path.display().to_string()];
    let server = Server::start(&command, &[], 8080, &bench.folder.join("nginx.log"))?;
    cells(bench, &server, &format!("http://{SERVER}:8080"), false, table)
}

fn cells(bench: &Bench, server: &Server, base: &str, is_ours: bool, table: &mut Table) -> Result<()> {
    let before = server.begin()?;
    bench.client("curl", &format!("--silent --fail --output /dev/null {base}/large?[1-10]"))?;
    let spent = server.spent(&before)?;
    table.add("HTTP, curl: CPU seconds per GB", Promise::AtMost(1.0), is_ours, spent); // ten files of 100 MB
    let before = server.begin()?;
    let load = wrk(bench, 200, &format!("{base}/large"))?;
    let spent = server.spent(&before)?;
    table.add("HTTP, 200 connections: MB/s", Promise::None, is_ours, load.bytes / 1e6 / SECONDS);
    table.add("HTTP, 200 connections: CPU seconds per GB", Promise::AtMost(1.0), is_ours, spent / (load.bytes / 1e9));
    table.add("HTTP, 200 connections: MiB of memory", Promise::None, is_ours, server.peak_mib()?);
    for (connections, name) in [(1, "one connection"), (200, "200 connections")] {
        let before = server.begin()?;
        let load = wrk(bench, connections, &format!("{base}/small"))?;
        let spent = server.spent(&before)?;
        let rate = format!("HTTP, 1 KB, {name}: requests/s");
        table.add(&rate, Promise::AtLeast(0.5), is_ours, load.requests / SECONDS);
        let cost = format!("HTTP, 1 KB, {name}: CPU µs each");
        table.add(&cost, Promise::None, is_ours, spent / load.requests * 1e6);
    }
    Ok(())
}

struct Load {
    requests: f64,
    bytes: f64,
}

/// `12345 requests in 4.00s, 1.23GB read`
fn wrk(bench: &Bench, connections: u32, url: &str) -> Result<Load> {
    let text = bench.client("wrk", &format!("-t1 -c{connections} -d{SECONDS}s --timeout 30s {url}"))?;
    parse(&text).with_context(|| format!("wrk printed {text}"))
}

fn parse(text: &str) -> Option<Load> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let mut words = line.split_whitespace();
    let requests = words.next()?.parse().ok()?;
    let size = words.rev().nth(1)?;
    let (number, factor) = [("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)]
        .into_iter()
        .find_map(|(unit, bits)| Some((size.strip_suffix(unit)?, f64::from(1 << bits))))?;
    Some(Load { requests, bytes: number.parse::<f64>().ok()? * factor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_wrk_is_read() {
        let load = parse("Running 4s test\n  1234 requests in 4.00s, 1.50MB read\nRequests/sec: 308.5\n").unwrap();
        assert_eq!((load.requests, load.bytes), (1234.0, 1.5 * 1024.0 * 1024.0));
        assert!(parse("unable to connect").is_none());
    }
}
