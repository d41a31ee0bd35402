//! SIGHUP: the settings are read again. What a running daemon can follow holds for the next request; calls and transfers under
//! way go on.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use boots::Place;
use machine::Chain;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, Metadata, Mistakes, Settings, StoreFiles};
use crate::sandbox::Folders;

/// Where settings come from.
pub struct Sources {
    /// Flags and variables. They win over the file.
    pub given: Settings,
    pub file: Option<PathBuf>,
    /// What holds where neither has a setting.
    pub otherwise: Settings,
    pub check: fn(Settings) -> Result<Config, Mistakes>,
}

impl Sources {
    /// # Errors
    /// If the file cannot be read, or a setting is wrong.
    pub fn read(&self) -> anyhow::Result<Config> {
        let file = self.file.as_deref().map(Settings::read).transpose()?;
        Ok((self.check)(self.given.clone().or(file.unwrap_or_default()).or(self.otherwise.clone()))?)
    }
}

impl Sources {
    /// What boots reads and writes, these files among them.
    #[must_use]
    pub fn folders(&self, config: &Config, hardware: Option<&Place>) -> Folders {
        let mut folders = config.folders();
        folders.read.extend(self.file.iter().cloned().chain(hardware.into_iter().flat_map(Place::paths)));
        folders
    }
}

type Shown = fn(&Config) -> String;

/// What a running daemon can follow, by the names of the settings.
const FOLLOWED: &[(&str, Shown)] = &[
    ("kernel", |config| config.kernel.clone()),
    ("initrd", |config| config.initrd.clone()),
    ("kernel-args", |config| config.kernel_args.clone()),
    ("insecure-registries", |config| config.insecure_registries.join(",")),
    ("plain-grpc", |config| config.plain_grpc.to_string()),
    ("api-allow", |config| format!("{:?}", config.api_allow)),
    ("new-machines", |config| config.hold_new_machines.to_string()),
    ("discovery", |config| format!("{:?}", config.discovery)),
    ("iso-source", |config| format!("{:?}", config.iso_source)),
    ("tftp-block", |config| config.tftp_block.to_string()),
    ("metadata-proof", |config| format!("{:?}", config.metadata.as_ref().map(|metadata| metadata.proof))),
    ("trusted-proxies", |config| format!("{:?}", config.metadata.as_ref().map(|metadata| &metadata.proxies))),
];

/// What is opened at the start: sockets, folders, certificates, logs.
const FIXED: &[(&str, Shown)] = &[
    ("address", |config| config.address.to_string()),
    ("address6", |config| format!("{:?}", config.address6)),
    ("interface", |config| format!("{:?}", config.interface)),
    ("data", |config| format!("{:?}", config.data)),
    ("site-key", |config| format!("{:?}", config.site_key)),
    ("store", |config| format!("{:?}", config.etcd.as_ref().map(|etcd| &etcd.address))),
    ("store-ca", |config| format!("{:?}", store_files(config).map(|files| &files.authority))),
    ("store-certificate", |config| format!("{:?}", store_files(config).and_then(|files| Some(&files.identity.as_ref()?.0)))),
    ("store-key", |config| format!("{:?}", store_files(config).and_then(|files| Some(&files.identity.as_ref()?.1)))),
    ("nbp", |config| format!("{:?}", config.nbp)),
    ("files", |config| format!("{:?}", config.files)),
    ("grpc-authority", |config| format!("{} {}", config.grpc_authority, config.servers.join(" "))),
    ("http", |config| config.http.to_string()),
    ("https", |config| format!("{:?}", config.https.as_ref().map(|https| https.listen))),
    ("https-certificate", |config| format!("{:?}", config.https.as_ref().map(|https| &https.files.certificate))),
    ("https-key", |config| format!("{:?}", config.https.as_ref().map(|https| &https.files.key))),
    ("metadata", |config| format!("{:?}", config.metadata.as_ref().map(|metadata| &metadata.listen))),
    ("grpc", |config| config.grpc.to_string()),
    ("api", |config| config.api.to_string()),
    ("socket", |config| format!("{:?}", config.socket)),
    ("tls-name", |config| {
        // Addresses of interfaces come and go by themselves.
        let is_address = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
        config
            .names
            .texts()
            .into_iter()
            .map(|name| name.to_string())
            .filter(|name| !is_address(name))
            .collect::<Vec<_>>()
            .join(",")
    }),
    ("router-advertisements", |config| config.router_advertisements.to_string()),
    ("dhcp-mode", |config| format!("{:?}", config.dhcp)),
    ("dhcp6-mode", |config| format!("{:?}", config.dhcp6)),
    ("log-size", |config| config.logs.total.to_string()),
    ("log-days", |config| format!("{:?}", config.logs.age)),
    ("log-format", |config| format!("{:?}", config.log_format)),
    ("apply", |config| format!("{:?}", config.apply)),
];

fn store_files(config: &Config) -> Option<&StoreFiles> {
    config.etcd.as_ref()?.tls.as_ref()
}

fn differences(table: &[(&'static str, Shown)], old: &Config, new: &Config) -> Vec<&'static str> {
    table.iter().filter(|(_, shown)| shown(old) != shown(new)).map(|(name, _)| *name).collect()
}

/// The running settings with those of the new ones that can be followed.
fn followed(running: &Config, new: Config) -> Config {
    Config {
        kernel: new.kernel,
        initrd: new.initrd,
        kernel_args: new.kernel_args,
        insecure_registries: new.insecure_registries,
        plain_grpc: new.plain_grpc,
        api_allow: new.api_allow,
        hold_new_machines: new.hold_new_machines,
        discovery: new.discovery,
        iso_source: new.iso_source,
        tftp_block: new.tftp_block,
        metadata: running.metadata.clone().map(|metadata| match new.metadata {
            Some(new) => Metadata { listen: metadata.listen, ..new },
            None => metadata, // its sockets are open
        }),
        ..running.clone()
    }
}

/// From now on SIGHUP does not end the process.
///
/// # Errors
/// If the system refuses to deliver it.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Gives new settings to `take` at each SIGHUP. Settings with a mistake change nothing.
pub async fn follow(mut hangups: Signal, sources: Sources, mut running: Config, take: impl Fn(&Config) -> anyhow::Result<()>) {
    while hangups.recv().await.is_some() {
        let new = match sources.read() {
            Ok(new) => new,
            Err(error) => {
                // Several mistakes have a line each.
                let text: Vec<String> = Chain(error.as_ref()).to_string().lines().map(|line| line.trim().to_owned()).collect();
                log::error!("SIGHUP: all settings stay as they are: {}", text.join(" "));
                continue;
            }
        };
        let fixed = differences(FIXED, &running, &new);
        if !fixed.is_empty() {
            log::warn!("SIGHUP: {} changed, which needs a restart", fixed.join(", "));
        }
        let changed = differences(FOLLOWED, &running, &new);
        if changed.is_empty() {
            let from = sources.file.as_ref().map_or_else(
                || "there is no settings file (--config)".to_owned(),
                |file| format!("{} has nothing new to follow", file.display()),
            );
            log::info!("SIGHUP: {from}");
            continue;
        }
        let next = followed(&running, new);
        match take(&next).context("SIGHUP: the new settings cannot be used") {
            Ok(()) => {
                log::info!("SIGHUP: new settings for {}", changed.join(", "));
                running = next;
            }
            Err(error) => log::error!("{}", Chain(error.as_ref())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Args, Command};

    use super::*;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("thimble.yaml");
        std::fs::write(&file, format!("address: 192.0.2.1\n{text}")).unwrap();
        let given = Settings { data: Some("/nowhere".into()), ..Settings::default() };
        Sources { given, file: Some(file), otherwise: Settings::default(), check: Settings::check }.read().unwrap()
    }

    #[test]
    fn each_setting_is_followed_or_needs_a_restart() {
        let command = Settings::augment_args(Command::new("thimble"));
        let settings: BTreeSet<String> =
            command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
        let tables = FOLLOWED.iter().chain(FIXED).map(|(name, _)| (*name).to_owned());
        assert_eq!(tables.collect::<BTreeSet<String>>(), settings);
    }

    #[test]
    fn the_example_names_what_is_followed() {
        let example = include_str!("../../examples/settings/thimble.yaml");
        let (_, after) = example.split_once("followed at once:").unwrap();
        let (named, _) = after.split_once('.').unwrap();
        let named: Vec<String> = named.replace('#', "").split(',').map(|name| name.trim().to_owned()).collect();
        assert_eq!(named, FOLLOWED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn what_can_be_followed_is_taken_and_the_rest_stays() {
        let running = config("");
        let new = config(
            "kernel: k\ninitrd: i\nkernel-args: a=b\ninsecure-registries: r:1\nplain-grpc: none\napi-allow: 10.0.0.0/8\n\
             new-machines: hold\ndiscovery: 10.0.0.0/8\niso-source: http://a/b.iso\ntftp-block: 1024\nmetadata-proof: secret\ntrusted-proxies: 10.0.0.1/32\nnbp: /n\ninterface: eth9\n\
             http: 0.0.0.0:1\nlog-days: 3\n",
        );
        assert_eq!(differences(FOLLOWED, &running, &new).len(), FOLLOWED.len(), "the text above has all of them");
        assert_eq!(differences(FIXED, &running, &new), ["interface", "nbp", "http", "log-days"]);
        let next = followed(&running, new.clone());
        assert_eq!((differences(FOLLOWED, &new, &next), differences(FIXED, &running, &next)), (vec![], vec![]));
    }
}
