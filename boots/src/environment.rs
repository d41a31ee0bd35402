//! The installation environment of one machine: where kernel and ramdisk are, and the kernel arguments. The script of iPXE and
//! the configurations of other boot loaders are made from it. Pure.

use cmdline::{Arguments, HwAddr, Word};

use crate::ipxe::Packs;
use crate::{BootInterface, BootState, Config, kernels, server_ca};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Another server's URL without a slash at its end. `None` if this host has the files.
    pub elsewhere: Option<String>,
    /// Paths below that URL, or below the files folder.
    pub kernel: String,
    pub ramdisk: String,
    /// What the kernel is for, if its file says so.
    pub architecture: Option<&'static str>,
    /// Whether the ramdisk gets the authority of its server.
    pub authority: bool,
    /// Name and path of each driver pack.
    pub packs: Vec<(String, String)>,
    pub words: Vec<Word>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Environment {
    #[must_use]
    pub fn of(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Self {
        let elsewhere = machine.osie.base_url.as_deref().map(|base| base.trim_end_matches('/').to_owned());
        let pair = match (&packs.pair, &elsewhere) {
            (Some(pair), None) => pair.clone(),
            (_, None) => kernels::Pair::of_settings(config, machine),
            (_, Some(_)) => kernels::Pair::of_smee(machine),
        };
        let authority = packs.takes_server_ca && config.server_ca.is_some();
        let folder = pair.ramdisk.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = |file: &str| [folder, file].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let further = packs.wanted.iter().map(|pack| (pack.name.clone(), beside(&pack.file))).collect();
        let (words, notes) = arguments(config, machine, authority, now);
        Self {
            elsewhere,
            kernel: pair.kernel,
            ramdisk: pair.ramdisk,
            architecture: pair.architecture,
            authority,
            packs: further,
            words,
            notes,
        }
    }

    /// The names of the ramdisk and of what is loaded after it.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let ramdisk = std::iter::once(self.ramdisk.as_str());
        let authority = self.authority.then_some(server_ca::FILE);
        let all = ramdisk.chain(authority).chain(self.packs.iter().map(|(_, path)| path.as_str()));
        all.map(|path| path.rsplit('/').next().unwrap_or(path))
    }
}

/// The kernel arguments: those of all machines, of this machine, then of its Hardware. The last one wins.
///
/// `speaks_tls` is for the server that boots belongs to. An operator who names another one has the last word.
fn arguments(config: &Config, machine: &BootInterface, speaks_tls: bool, now: u64) -> (Vec<Word>, Vec<String>) {
    let (arguments, mut notes) = of_machine(config, machine, speaks_tls, Some(now));
    notes.extend(arguments.check().iter().map(|note| format!("{note}")));
    (cmdline::words(&arguments.render()), notes)
}

/// The same before they are rendered.
pub fn of_machine(config: &Config, machine: &BootInterface, speaks_tls: bool, time: Option<u64>) -> (Arguments, Vec<String>) {
    let mut arguments = Arguments {
        worker_id: Some(machine.agent_id.clone()),
        hw_addr: Some(HwAddr(machine.mac.bytes())),
        vlan_id: machine.vlan_id.filter(|id| (1..=4094).contains(id)),
        facility: machine.facility.clone().or_else(|| config.arguments.facility.clone()),
        time,
        tinkerbell_tls: config.arguments.tinkerbell_tls.or(speaks_tls.then_some(true)),
        rescue: config.arguments.rescue || matches!(machine.boot, BootState::Rescue { .. }),
        ..config.arguments.clone()
    };
    let notes: Vec<String> =
        arguments.extend(&machine.osie.kernel_params.join(" ")).iter().map(|note| format!("{note}")).collect();
    if arguments.grpc_authority != config.arguments.grpc_authority
        && config.arguments.tinkerbell_tls.is_none()
        && !machine.osie.kernel_params.iter().any(|word| word.contains("tinkerbell_tls"))
    {
        arguments.tinkerbell_tls = None;
    }
    (arguments, notes)
}
