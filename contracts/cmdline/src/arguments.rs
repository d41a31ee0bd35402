//! `Arguments` has one field for each kernel argument. The table says what each means.

use crate::table::Setting;
use crate::{ARGUMENTS, Bond, EmbeddedImages, HwAddr, Ip, Ipam, Note, OnFailure, Proxy, Secret, SshKey, Vlan, Word};

/// The kernel arguments, checked. `Debug` and `Display` mask secrets; only [`Arguments::render`] writes them out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    pub worker_id: Option<String>,
    pub grpc_authority: Option<String>,
    pub servers: Vec<String>,
    pub tinkerbell_tls: Option<bool>,
    pub tinkerbell_insecure_tls: Option<bool>,
    pub syslog_host: Option<String>,
    pub syslog_port: Option<u16>,
    pub hw_addr: Option<HwAddr>,
    pub vlan_id: Option<u16>,
    pub facility: Option<String>,
    pub docker_registry: Option<String>,
    pub registry_username: Option<String>,
    pub registry_password: Option<Secret>,
    pub insecure_registries: Vec<String>,
    pub http_proxy: Option<Proxy>,
    pub https_proxy: Option<Proxy>,
    pub no_proxy: Option<String>,
    pub interfaces: Vec<String>,
    pub ipam: Option<Ipam>,
    pub ip: Option<Ip>,
    pub vlan: Option<Vlan>,
    pub bond: Option<Bond>,
    pub ntp: Vec<String>,
    pub panic: Option<i32>,
    pub consoles: Vec<String>,
    pub time: Option<u64>,
    pub run_percent: Option<u8>,
    pub on_failure: Option<OnFailure>,
    pub rescue: bool,
    pub ssh_keys: Vec<SshKey>,
    pub countdown: Option<u8>,
    pub mirrors: Vec<String>,
    pub embedded: Option<EmbeddedImages>,
    pub pull_ahead: Option<bool>,
    pub image_disk: Option<bool>,
    pub packs: Vec<String>,
    /// All other words, in order: the kernel's, a driver's, or another environment's.
    pub other: Vec<Word>,
}

/// What [`Arguments::parse`] made of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    pub arguments: Arguments,
    /// What was left out and why, one line each.
    pub notes: Vec<Note>,
}

impl Arguments {
    /// Reads a kernel command line. Later words win; an empty value means "not set".
    pub fn parse(line: &str) -> Parsed {
        let mut arguments = Self::default();
        let notes = arguments.extend(line);
        Parsed { arguments, notes }
    }

    /// Reads more words as if they stood behind the others, such as the extra arguments of one machine.
    pub fn extend(&mut self, line: &str) -> Vec<Note> {
        let mut notes = Vec::new();
        for word in crate::words(line) {
            // The same word may come twice, from the ramdisk and from the boot loader.
            if let Err(note) = self.accept(word)
                && !notes.contains(&note)
            {
                notes.push(note);
            }
        }
        notes
    }

    /// What the server calls this machine: `worker_id`, else the address of the link that booted, else `mac`.
    pub fn machine_id(&self, mac: Option<HwAddr>) -> Option<String> {
        self.worker_id.clone().or_else(|| Some(self.hw_addr.or(mac)?.to_string()))
    }

    /// The settings of the agent that are set here, with their values.
    pub fn for_agent(&self, mac: Option<HwAddr>) -> impl Iterator<Item = (&'static Setting, String)> {
        let known = Self { worker_id: self.machine_id(mac), ..self.clone() };
        ARGUMENTS.iter().filter_map(move |argument| {
            let values = (argument.field.get)(&known);
            let setting = argument.setting.as_ref().filter(|_| !values.is_empty())?;
            Some((setting, values.join(" ")))
        })
    }

    /// The last word called `name` among those that are not in the table.
    pub fn other(&self, name: &str) -> Option<&Word> {
        self.other.iter().rev().find(|word| word.name == name)
    }
}
