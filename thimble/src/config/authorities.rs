//! Where agents find the workflow service: one server, or each of a site.

use std::net::IpAddr;

use machine::ports;

use super::{Settings, list};

/// The first one, and the others.
pub fn check(text: &str, mistakes: &mut Vec<String>) -> (String, Vec<String>) {
    let all = list(Some(text));
    for authority in &all {
        if !authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            mistakes.push(format!("grpc-authority: {authority:?} is not HOST:PORT"));
        }
    }
    if all.is_empty() {
        mistakes.push("grpc-authority: it names no server".to_owned());
    }
    let mut all = all.into_iter();
    (all.next().unwrap_or_default(), all.collect())
}

impl Settings {
    /// What a boots on another host knows by the URLs of its servers: agents find the workflow service there.
    #[must_use]
    pub fn of_servers(urls: &[String]) -> Self {
        let authorities: Vec<String> = urls.iter().filter_map(|url| of_server(url)).collect();
        let grpc_authority = (!authorities.is_empty()).then(|| authorities.join(","));
        Self { grpc_authority, ..Self::default() }
    }
}

fn of_server(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let is_here = |host: &&str| *host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.host_str().filter(|host| !is_here(host)).map(|host| format!("{host}:{}", ports::GRPC))
}
