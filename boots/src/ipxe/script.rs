//! `auto.ipxe`: the script for one machine, now. Pure: the time is an argument.

use api::packs::Pack;
use model::Mac;

use super::text::{is_sayable, path, plain, url};
use crate::environment::Environment;
use crate::kernels::{self, Pair};
use crate::packs::scan;
use crate::server_ca;
use crate::{BootInterface, BootState, Config};

/// How often a download is tried, two seconds apart.
const ATTEMPTS: u32 = 10;

/// What a script has besides the settings and the machine.
#[derive(Debug, Clone, Default)]
pub struct Packs {
    /// They lie beside the ramdisk and are loaded after it.
    pub wanted: Vec<Pack>,
    /// iPXE reports the machine's devices first. If it cannot, the machine gets `wanted`.
    pub ask: bool,
    /// The ramdisk reads the authority of its server from a segment.
    pub takes_server_ca: bool,
    /// Whether the iPXE that asks has HTTPS, by its DHCP request. `None` if nothing was said.
    pub speaks_https: Option<bool>,
    /// The kernel and ramdisk for this machine's processor. `None` without a look at the files.
    pub pair: Option<Pair>,
    pub missing: Option<kernels::NoKernel>,
}

/// What the query of a script's URL says about HTTPS: what boots saw in the DHCP request.
const HTTPS: [(&str, bool); 2] = [("https=1", true), ("https=0", false)];
/// The query that counts how often the state of a machine could not be found out.
pub const UNKNOWN: &str = "unknown=";

#[must_use]
pub fn is_https(url: &str) -> bool {
    url.trim_start().get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// The query for an iPXE that has HTTPS, or has not.
#[must_use]
pub fn https_query(speaks_https: Option<bool>) -> Option<&'static str> {
    HTTPS.iter().find(|(_, has)| Some(*has) == speaks_https).map(|(word, _)| *word)
}

/// What a query says. An iPXE with a script of its own asks without one, so nothing is known of it.
#[must_use]
pub fn https_in(query: &str) -> Option<bool> {
    query.split('&').find_map(|part| HTTPS.iter().find(|(word, _)| *word == part).map(|(_, has)| *has))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoScript {
    #[error("{name} ({mac}) may not boot from the network: its Hardware does not set netboot.allowPXE")]
    NotAllowed { name: String, mac: String },
    #[error(transparent)]
    NoKernel(#[from] kernels::NoKernel),
}

/// The folder of this machine's ramdisk, below the files. `None` if the machine does not load boots' ramdisk.
#[must_use]
pub fn ramdisk_folder(config: &Config, machine: &BootInterface) -> Option<String> {
    let elsewhere = machine.osie.base_url.is_some() || machine.ipxe.url.is_some() || machine.ipxe.contents.is_some();
    let nothing = matches!(machine.boot, BootState::Local { .. } | BootState::Hold { .. });
    if elsewhere || !machine.netboot_allowed || nothing {
        return None;
    }
    let pair = Pair::of_settings(config, machine);
    Some(pair.ramdisk.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned()))
}

/// The script, and notes about what it leaves out.
pub fn auto(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<(String, Vec<String>), NoScript> {
    if !machine.netboot_allowed {
        return Err(NoScript::NotAllowed { name: machine.name.clone(), mac: machine.mac.to_string() });
    }
    let rescue = match &machine.boot {
        BootState::Local { reason } => return Ok((local(config, machine, reason), Vec::new())),
        BootState::Hold { .. } => return Ok((held(config, machine, packs.speaks_https), Vec::new())),
        // An operator who asks for a rescue does not want the script of the Hardware.
        BootState::Rescue { .. } => true,
        BootState::Install { .. } | BootState::Wait { .. } => false,
    };
    match &machine.ipxe {
        crate::Ipxe { url: Some(url), .. } if !rescue && is_https(url) && packs.speaks_https == Some(false) => {
            Ok(without_https(config, machine, url))
        }
        crate::Ipxe { url: Some(url), .. } if !rescue => Ok((chain(config, machine, url), Vec::new())),
        crate::Ipxe { contents: Some(contents), .. } if !rescue => Ok((custom(contents), Vec::new())),
        _ => match &packs.missing {
            Some(missing) => Err(missing.clone().into()),
            None => Ok(environment(config, machine, packs, now)),
        },
    }
}

/// The script of a machine whose state cannot be found out, because the server does not answer. It asks again for some seconds.
/// Then it boots the disk: an installed machine must come up without the server.
#[must_use]
pub fn unknown(config: &Config, mac: Mac, tries: u32, speaks_https: Option<bool>) -> String {
    let next = tries.saturating_add(1);
    if next >= ATTEMPTS {
        return format!(
            "#!ipxe\necho thimble: the server does not answer, so {mac} boots from its local disk\n{}",
            disk(config, mac)
        );
    }
    let https = https_query(speaks_https).map(|word| format!("&{word}")).unwrap_or_default();
    format!(
        "#!ipxe\necho thimble: the server does not answer (attempt {next} of {ATTEMPTS}), trying again\nsleep 3\n\
         chain --replace --autofree {}?{UNKNOWN}{next}{https} ||\n{}",
        config.script_url(mac),
        disk(config, mac)
    )
}

fn title(machine: &BootInterface) -> String {
    format!("#!ipxe\necho thimble: {} {}: {}\n", plain(&machine.name), machine.mac, plain(machine.boot.reason()))
}

/// Starts the disk, and goes on to the firmware's next boot device if that fails.
///
/// BIOS: without `sanboot` the ROM waits two seconds for a key first. Exit code 0 ends its loop over its devices.
/// UEFI: only builds after 2020 start a disk with `sanboot`; GRUB can always. The firmware tries all its other network protocols
/// after a failure, which takes minutes, and opens its setup menu after a success.
fn disk(config: &Config, mac: Mac) -> String {
    let grub: String = config
        .disk_loaders
        .iter()
        .map(|loader| format!("chain --autofree {} ||\n", config.http_url(&format!("ipxe/binary/{mac}/{loader}"))))
        .collect();
    format!(
        "iseq ${{platform}} efi && goto efi_disk ||\nsanboot --no-describe --drive 0x80 ||\nexit 0\n\
         :efi_disk\nsanboot --no-describe --drive 0 ||\n{grub}exit 1\n"
    )
}

fn local(config: &Config, machine: &BootInterface, reason: &str) -> String {
    let reason = plain(reason);
    format!("{}echo thimble: booting from the local disk: {reason}\n{}", title(machine), disk(config, machine.mac))
}

/// Seconds until a held machine asks again.
const HOLD: u32 = 60;

/// The title says why. Without an answer the machine goes on asking.
fn held(config: &Config, machine: &BootInterface, speaks_https: Option<bool>) -> String {
    let https = https_query(speaks_https).map(|word| format!("?{word}")).unwrap_or_default();
    let url = config.script_url(machine.mac) + &https;
    format!(
        "{}echo thimble: held; asking again every {HOLD} seconds\n:hold\nsleep {HOLD}\n\
         chain --replace --autofree {url} || goto hold\n",
        title(machine)
    )
}

fn chain(config: &Config, machine: &BootInterface, address: &str) -> String {
    let address = url(address);
    let failed = failed(config, machine, "the script of this Hardware");
    format!("{}chain --autofree {address} || goto failed\n{}{failed}", title(machine), disk(config, machine.mac))
}

/// The machine's console and boots' log say the same. An iPXE without HTTPS would only say "Operation not supported".
fn without_https(config: &Config, machine: &BootInterface, url: &str) -> (String, Vec<String>) {
    let note = format!("{} needs HTTPS, and this iPXE lists its features without it (option 175.20)", plain(url));
    let script = format!(
        "{}echo thimble: {note}\necho thimble: use http, or an iPXE that is built with HTTPS\n{}",
        title(machine),
        failed(config, machine, "what needs HTTPS")
    );
    (script, vec![note])
}

fn custom(contents: &str) -> String {
    if contents.starts_with("#!ipxe") { contents.to_owned() } else { format!("#!ipxe\n{contents}\n") }
}

/// A command that is tried several times.
fn download(label: &str, what: &str, command: &str) -> String {
    format!(
        "set attempt:int32 0\n:{label}\n{command} && goto have_{label} ||\ninc attempt\n\
         iseq ${{attempt}} {ATTEMPTS} && goto failed ||\n\
         echo thimble: cannot load the {what} (attempt ${{attempt}} of {ATTEMPTS}), trying again\nsleep 2\ngoto {label}\n\
         :have_{label}\n"
    )
}

/// A kernel for another processor would stop without a word.
fn guard(environment: &Environment) -> String {
    let wrong = match environment.architecture {
        Some("x86_64") => "iseq ${buildarch} arm64 && goto wrong_kernel ||\n",
        Some("aarch64") => "iseq ${buildarch} arm64 || goto wrong_kernel\n",
        _ => return String::new(),
    };
    wrong.to_owned()
}

fn environment(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> (String, Vec<String>) {
    let environment = Environment::of(config, machine, packs, now);
    if let Some(base) = environment.elsewhere.as_deref().filter(|base| is_https(base) && packs.speaks_https == Some(false)) {
        return without_https(config, machine, base);
    }
    let base = environment.elsewhere.as_deref().map_or_else(|| config.http_url("files"), url);
    let at = |file: &str| format!("{base}/{}", path(file));
    let guard = guard(&environment);
    let wrong = match environment.architecture.filter(|_| !guard.is_empty()) {
        Some(arch) => {
            format!(
                ":wrong_kernel\necho thimble: {} is a kernel for {arch}, and this machine is ${{buildarch}}: \
                 its Hardware needs dhcp.arch\n",
                plain(&environment.kernel)
            )
        }
        None => String::new(),
    };
    // EFI stubs find the parts of the ramdisk by these names, and load them in this order.
    let segments = environment.segments().map(|name| cmdline::Word::new("initrd", path(name)));
    let (words, unsaid): (Vec<_>, Vec<_>) = environment.words.iter().cloned().chain(segments).partition(is_sayable);
    let mut notes = environment.notes.clone();
    notes.extend(unsaid.iter().map(|word| format!("iPXE would read {word} as a command or a variable; it is left out")));
    let line: Vec<String> = words.iter().map(cmdline::Word::render).collect();
    let authority = environment.authority.then(|| {
        download("authority", "server's certificate authority", &format!("initrd {}", config.http_url(server_ca::PATH)))
    });
    let further = environment.packs.iter().enumerate().map(|(index, (name, file))| {
        download(&format!("pack{index}"), &format!("driver pack {}", plain(name)), &format!("initrd {}", at(file)))
    });
    let script = [
        title(machine),
        guard,
        if packs.ask { scan::script(&config.script_url(machine.mac)) } else { String::new() },
        download("kernel", "kernel", &format!("kernel {} {}", at(&environment.kernel), line.join(" "))),
        download("initrd", "ramdisk", &format!("initrd {}", at(&environment.ramdisk))),
        authority.unwrap_or_default(),
        further.collect(),
        "boot || goto failed\n".to_owned(),
        wrong,
        failed(config, machine, "the installation environment"),
    ];
    (script.concat(), notes)
}

/// A machine that is to be installed goes on trying: a restart helps after a problem of a server or a cable, and its disk has
/// nothing. Any other machine boots its disk, as with smee.
fn failed(config: &Config, machine: &BootInterface, what: &str) -> String {
    match machine.boot {
        BootState::Install { .. } | BootState::Rescue { .. } => {
            format!(":failed\necho thimble: cannot start {what}; restarting in 10 seconds\nsleep 10\nreboot || exit 1\n")
        }
        _ => {
            let disk = disk(config, machine.mac).replace("efi_disk", "efi_disk_instead");
            format!(":failed\necho thimble: cannot start {what}; booting from the local disk in 10 seconds\nsleep 10\n{disk}")
        }
    }
}
