//! `Arguments`: one field for each kernel argument that `/init` or the agent acts on.

use crate::{Bond, EmbeddedImages, HwAddr, Ip, Ipam, Note, OnFailure, Proxy, Secret, SshKey, Vlan, Word};

/// The kernel arguments, checked. `Debug` and `Display` mask secrets; only [`Arguments::render`] writes them out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `worker_id`: the agent's name at the server, usually the MAC address.
    pub worker_id: Option<String>,
    /// `grpc_authority`: `HOST:PORT` of the workflow service.
    pub grpc_authority: Option<String>,
    /// `tinkerbell_tls`
    pub tinkerbell_tls: Option<bool>,
    /// `tinkerbell_insecure_tls`: TLS without checking the server's certificate.
    pub tinkerbell_insecure_tls: Option<bool>,
    /// `syslog_host`
    pub syslog_host: Option<String>,
    /// `syslog_port`: 514 when absent.
    pub syslog_port: Option<u16>,
    /// `hw_addr`: the NIC that network-booted; preferred when several could be used.
    pub hw_addr: Option<HwAddr>,
    /// `vlan_id`: 1 to 4094.
    pub vlan_id: Option<u16>,
    /// `facility`
    pub facility: Option<String>,
    /// `docker_registry`
    pub docker_registry: Option<String>,
    /// `registry_username`
    pub registry_username: Option<String>,
    /// `registry_password`
    pub registry_password: Option<Secret>,
    /// `insecure_registries`: registries spoken to in plain HTTP.
    pub insecure_registries: Vec<String>,
    /// `HTTP_PROXY` (upper case only, as in HookOS)
    pub http_proxy: Option<Proxy>,
    /// `HTTPS_PROXY`
    pub https_proxy: Option<Proxy>,
    /// `NO_PROXY`
    pub no_proxy: Option<String>,
    /// `interface`: the only NICs to use; empty means all.
    pub interfaces: Vec<String>,
    /// `ipam`: a static address instead of DHCP.
    pub ipam: Option<Ipam>,
    /// `ip`: a static address in the kernel's or dracut's form, or the only device to ask on.
    pub ip: Option<Ip>,
    /// `vlan`: as dracut takes it; `vlan_id` and `ipam` go before it.
    pub vlan: Option<Vlan>,
    /// `bond`: links to use as one.
    pub bond: Option<Bond>,
    /// `ntp`: time servers, before those that the network names.
    pub ntp: Vec<String>,
    /// `panic`: seconds until a machine that cannot go on reboots; 0 never, negative at once.
    pub panic: Option<i32>,
    /// `console`: every one named, in order; the kernel makes the last one `/dev/console`.
    pub consoles: Vec<String>,
    /// `thimble.time`: Unix time at which the arguments were rendered; the machine's clock is never older.
    pub time: Option<u64>,
    /// `thimble.run`: percent of RAM that `/run`, and so the images, may take.
    pub run_percent: Option<u8>,
    /// `thimble.on_failure`: `hold` (also when absent), `reboot` or `poweroff` once the agent has failed for good.
    pub on_failure: Option<OnFailure>,
    /// `rescue`: an SSH server for whoever has one of the keys, if the ramdisk was built with it.
    pub rescue: bool,
    /// `ssh_key`: who may log in then; every one named.
    pub ssh_keys: Vec<SshKey>,
    /// `thimble.countdown`: seconds on the console before the machine restarts or switches off at a workflow's end.
    pub countdown: Option<u8>,
    /// `thimble.mirror`: `REGISTRY=URL[,URL]`, every one named, in order.
    pub mirrors: Vec<String>,
    /// `thimble.embedded`: `first` (also when absent), `fallback` or `never`: images that came with the machine.
    pub embedded: Option<EmbeddedImages>,
    /// Everything else, in order: for the kernel, for drivers, or for nobody.
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
        let notes = arguments.apply(line);
        Parsed { arguments, notes }
    }

    /// Reads more words on top of what is there, as if they stood behind it: extra arguments of one machine.
    pub fn apply(&mut self, line: &str) -> Vec<Note> {
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

    /// The value of the last word called `name` among those that are not ours.
    pub fn other(&self, name: &str) -> Option<&Word> {
        self.other.iter().rev().find(|word| word.name == name)
    }
}
