//! The table of kernel arguments. Each name stands here and nowhere else: parsing, rendering, the variables and flags of the agent
//! and `docs/kernel-arguments.md` follow from it.

use crate::read::{add, authority, boolean, embedded, interface, list, mirror, number, on_failure, one, parsed, text};
use crate::{Arguments, Problem, Proxy, Secret};

type Names = &'static [&'static str];

/// One kernel argument.
pub struct Argument {
    pub name: &'static str,
    /// A value that it may have.
    pub example: &'static str,
    pub meaning: &'static str,
    /// How the agent takes it; `None` if PID 1 alone reads it.
    pub setting: Option<Setting>,
    pub(crate) field: Field,
}

/// A setting of the agent.
pub struct Setting {
    pub flag: &'static str,
    /// Further names of the flag.
    pub aliases: Names,
    /// The last one that is set wins. PID 1 sets the last one.
    pub variables: Names,
    /// The flag alone means `true`.
    pub switch: bool,
}

/// How the value of a word reaches its field, and with which values it is written, one for each word.
pub(crate) struct Field {
    pub set: fn(&mut Arguments, &str) -> Result<(), Problem>,
    pub get: fn(&Arguments) -> Vec<String>,
}

impl Setting {
    pub const fn new(flag: &'static str, aliases: Names, variables: Names) -> Self {
        Self { flag, aliases, variables, switch: false }
    }

    pub const fn switch(self) -> Self {
        Self { switch: true, ..self }
    }

    /// Whether the flag goes by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.flag == name || self.aliases.contains(&name)
    }
}

impl Argument {
    const fn new(name: &'static str, example: &'static str, field: Field) -> Self {
        Self { name, example, meaning: "", setting: None, field }
    }

    const fn means(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    const fn agent(self, flag: &'static str, aliases: Names, variables: Names) -> Self {
        Self { setting: Some(Setting::new(flag, aliases, variables)), ..self }
    }

    const fn switch(self, flag: &'static str, aliases: Names, variables: Names) -> Self {
        Self { setting: Some(Setting::new(flag, aliases, variables).switch()), ..self }
    }

    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        ARGUMENTS.iter().find(|argument| argument.name == name)
    }
}

/// A field with one value: the last word wins.
macro_rules! one {
    ($field:ident, $read:expr) => {
        one!($field, $read, ToString::to_string)
    };
    ($field:ident, $read:expr, $write:expr) => {
        Field { set: |a, v| one(&mut a.$field, v, $read), get: |a| a.$field.iter().map($write).collect() }
    };
}

/// A field with a list of values in one word, separated by commas: the last word wins.
macro_rules! list {
    ($field:ident, $read:expr) => {
        Field { set: |a, v| list(&mut a.$field, v, $read), get: |a| joined(&a.$field) }
    };
}

/// A field to which each word adds a value.
macro_rules! each {
    ($field:ident, $read:expr) => {
        Field { set: |a, v| add(&mut a.$field, v, $read), get: |a| a.$field.iter().map(ToString::to_string).collect() }
    };
}

fn joined(items: &[String]) -> Vec<String> {
    if items.is_empty() { Vec::new() } else { vec![items.join(",")] }
}

/// The only argument that may stand without a value.
pub(crate) const RESCUE: &str = "rescue";

/// In the order in which they are rendered.
pub const ARGUMENTS: &[Argument] = &[
    Argument::new("vlan_id", "100", one!(vlan_id, |v| number(v, 1, 4094))).means("PID 1 uses only this VLAN."),
    Argument::new("facility", "onprem", one!(facility, text))
        .means("Tinkerbell's name of the site. Nothing in the ramdisk reads it."),
    Argument::new("syslog_host", "10.0.0.1", one!(syslog_host, text))
        .means("PID 1 and the agent send their log to this server.")
        .agent("syslog-host", &[], &["SYSLOG_HOST"]),
    Argument::new("syslog_port", "1514", one!(syslog_port, |v| number(v, 1, u16::MAX)))
        .means("The UDP port of the syslog server. Default: 514.")
        .agent("syslog-port", &[], &["SYSLOG_PORT"]),
    Argument::new("grpc_authority", "10.0.0.1:42113", one!(grpc_authority, authority))
        .means("The workflow service, `HOST:PORT`. PID 1 uses the network that reaches it.")
        .agent(
            "grpc-server",
            &["tinkerbell-grpc-authority"],
            &["AGENT_GRPC_SERVER", "AGENT_TINKERBELL_GRPC_AUTHORITY", "TINKERBELL_GRPC_AUTHORITY"],
        ),
    Argument::new("thimble.servers", "10.0.0.2:42113,10.0.0.3:42113", list!(servers, authority))
        .means("Further servers of the site, each `HOST:PORT`. PID 1 and the agent use one that answers.")
        .agent("servers", &[], &["THIMBLE_SERVERS"]),
    Argument::new("tinkerbell_tls", "true", one!(tinkerbell_tls, boolean))
        .means("The agent speaks TLS with the workflow service. Default: false.")
        .switch("grpc-tls", &["tinkerbell-tls"], &["AGENT_GRPC_TLS", "AGENT_TINKERBELL_TLS", "TINKERBELL_TLS"]),
    Argument::new("tinkerbell_insecure_tls", "true", one!(tinkerbell_insecure_tls, boolean))
        .means("TLS without a check of the server's certificate. Default: false.")
        .switch(
            "grpc-insecure-tls",
            &["tinkerbell-insecure-tls"],
            &["AGENT_GRPC_INSECURE_TLS", "AGENT_TINKERBELL_INSECURE_TLS", "TINKERBELL_INSECURE_TLS"],
        ),
    Argument::new("worker_id", "02:00:00:00:00:01", one!(worker_id, text))
        .means("The machine's name at the server. Default: `hw_addr`, else the MAC address of the link that got an address.")
        .agent("id", &["i"], &["AGENT_ID", "ID", "WORKER_ID"]),
    Argument::new("hw_addr", "02:00:00:00:00:01", one!(hw_addr, parsed))
        .means("The link that network-booted. PID 1 prefers it if several links reach the server."),
    Argument::new("docker_registry", "registry.example:5000", one!(docker_registry, text))
        .means("The registry that the login below is for.")
        .agent("registry-name", &["docker-registry", "r"], &["AGENT_REGISTRY_NAME", "AGENT_DOCKER_REGISTRY", "DOCKER_REGISTRY"]),
    Argument::new("registry_username", "user", one!(registry_username, text))
        .means("The user name with which the agent logs in at `docker_registry`.")
        .agent(
            "registry-user",
            &["registry-username", "u"],
            &["AGENT_REGISTRY_USER", "AGENT_REGISTRY_USERNAME", "REGISTRY_USERNAME"],
        ),
    Argument::new("registry_password", "word", one!(registry_password, |v| Ok(Secret::new(v)), |v| v.expose().to_owned()))
        .means("The password at `docker_registry`. Logs show `***`.")
        .agent(
            "registry-pass",
            &["registry-password", "p"],
            &["AGENT_REGISTRY_PASS", "AGENT_REGISTRY_PASSWORD", "REGISTRY_PASSWORD"],
        ),
    Argument::new("insecure_registries", "10.0.0.1:5000,registry.example", list!(insecure_registries, text))
        .means("Registries and networks for HTTPS without a check of the certificate, else plain HTTP.")
        .agent("insecure-registries", &[], &["INSECURE_REGISTRIES"]),
    Argument::new("HTTP_PROXY", "http://10.0.0.1:3128", one!(http_proxy, |v| Ok(Proxy::new(v)), |v| v.expose().to_owned()))
        .means("The proxy for `http://` URLs of registries. Logs hide its credentials.")
        .agent("http-proxy", &[], &["http_proxy", "HTTP_PROXY"]),
    Argument::new("HTTPS_PROXY", "http://10.0.0.1:3128", one!(https_proxy, |v| Ok(Proxy::new(v)), |v| v.expose().to_owned()))
        .means("The proxy for `https://` URLs of registries. Logs hide its credentials.")
        .agent("https-proxy", &[], &["https_proxy", "HTTPS_PROXY"]),
    Argument::new("NO_PROXY", "10.0.0.0/8,.example", one!(no_proxy, text))
        .means("Hosts that the agent reaches without a proxy.")
        .agent("no-proxy", &[], &["no_proxy", "NO_PROXY"]),
    Argument::new("interface", "eth0,eth1", list!(interfaces, interface)).means("PID 1 uses only these links. Default: all."),
    Argument::new("ipam", "02-00-00-00-00-01::10.0.0.5:255.255.255.0:10.0.0.1::10.0.0.1::", one!(ipam, parsed))
        .means("A static address: `MAC:VLAN:IP:NETMASK:GATEWAY:HOSTNAME:DNS,..:SEARCH,..:NTP,..`, the MAC address with dashes."),
    Argument::new("ip", "10.0.0.5::10.0.0.1:24:node1:eth0:none:::", one!(ip, parsed))
        .means("A static address or the only link to ask on, in the kernel's and dracut's forms."),
    Argument::new("vlan", "vlan5:eth0", one!(vlan, parsed)).means("A VLAN, in dracut's form. `ipam` and `vlan_id` win over it."),
    Argument::new("bond", "bond0:eth0,eth1:mode=802.3ad,miimon=100", one!(bond, parsed))
        .means("Links to use as one: `NAME:MEMBER,..[:OPTION=VALUE,..[:MTU]]`. A member is a name or a MAC address with dashes."),
    Argument::new("ntp", "10.0.0.1,time.example", list!(ntp, text))
        .means("Time servers that PID 1 asks before those of DHCP option 42."),
    Argument::new("panic", "30", one!(panic, |v| number(v, i32::MIN, i32::MAX)))
        .means("Seconds until a machine that cannot go on reboots. 0: never. Negative: at once."),
    Argument::new("thimble.time", "1700000000", one!(time, |v| number(v, 0, i64::MAX).map(i64::unsigned_abs)))
        .means("The boot server's Unix time. The clock is never set earlier. The server's certificate may be valid by it.")
        .agent("time", &[], &["THIMBLE_TIME"]),
    Argument::new("thimble.run", "50", one!(run_percent, |v| number(v, 1, 95)))
        .means("Percent of memory that `/run`, and so the images, may take. Default: 70."),
    Argument::new(
        RESCUE,
        "true",
        Field {
            set: |a, v| boolean(v).map(|on| a.rescue = on),
            get: |a| a.rescue.then(|| "true".to_owned()).into_iter().collect(),
        },
    )
    .means("Starts the SSH server of a ramdisk that was built with `--rescue`. The word alone means `true`."),
    Argument::new("ssh_key", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl", each!(ssh_keys, parsed))
        .means("A public key that may log in by `rescue`: a line as OpenSSH writes it, or its base64 part. May repeat."),
    Argument::new("thimble.countdown", "10", one!(countdown, |v| number(v, 0, 60)))
        .means("Seconds on the console before a workflow restarts the machine or switches it off. Default: 3."),
    Argument::new("thimble.on_failure", "reboot", one!(on_failure, on_failure))
        .means("What follows when the agent has failed ten times in a row: `hold` (default), `reboot` or `poweroff`."),
    Argument::new("thimble.embedded", "fallback", one!(embedded, embedded))
        .means("When images that came with the machine are used: `first` (default), `fallback` or `never`.")
        .agent("embedded", &[], &["THIMBLE_EMBEDDED"]),
    Argument::new("thimble.pull_ahead", "false", one!(pull_ahead, boolean))
        .means("Whether the agent pulls the image of the next action while one runs. Default: true.")
        .switch("pull-ahead", &[], &["THIMBLE_PULL_AHEAD"]),
    Argument::new("thimble.image_disk", "true", one!(image_disk, boolean))
        .means("Images may also come from a disk with the label `THIMBLE`, by digest or signed. Default: false.")
        .switch("image-disk", &[], &["THIMBLE_IMAGE_DISK"]),
    Argument::new("thimble.packs", "raid,filesystems", list!(packs, text))
        .means("Driver packs that the machine fetches whatever its devices are, if its ISO image names them.")
        .agent("packs", &[], &["THIMBLE_PACKS"]),
    Argument::new("thimble.mirror", "docker.io=http://10.0.0.1:5000", each!(mirrors, mirror))
        .means("Mirrors of a registry: `REGISTRY=URL[,URL]`. May repeat. The variable has all of them, with spaces between.")
        .agent("mirrors", &[], &["THIMBLE_MIRRORS"]),
    Argument::new("console", "ttyS0,115200", each!(consoles, text))
        .means("A console. May repeat. The kernel makes the last one `/dev/console`."),
];

/// Words that name modules to load: Alpine's, which smee writes, and dracut's. They stay in `Arguments::other`.
pub const MODULES: [&str; 2] = ["modules", "modules_load"];
/// Words that name modules never to load for a device: modprobe's, the kernel's, then Alpine's.
pub const BLACKLISTS: [&str; 3] = ["modprobe.blacklist", "module_blacklist", "blacklist"];
