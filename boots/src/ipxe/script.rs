//! `auto.ipxe`: the script for one machine, now. Pure: the time is an argument.

use api::packs::Pack;
use cmdline::{Arguments, HwAddr, Word};

use crate::packs::scan;
use crate::server_ca;
use crate::{BootInterface, BootState, Config};

/// How often a download is tried, two seconds apart. Then the machine restarts.
const ATTEMPTS: u32 = 10;

/// Driver packs in a script.
#[derive(Debug, Default)]
pub struct Packs {
    /// They lie beside the ramdisk and are loaded after it.
    pub wanted: Vec<Pack>,
    /// iPXE reports the machine's devices first. If it cannot, the machine gets `wanted`.
    pub ask: bool,
    /// The ramdisk reads the authority of its server from a segment.
    pub takes_server_ca: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoScript {
    #[error("{name} ({mac}) may not boot from the network: its Hardware does not set netboot.allowPXE")]
    NotAllowed { name: String, mac: String },
}

/// The folder of this machine's ramdisk, below the files. `None` if the machine does not load boots' ramdisk.
#[must_use]
pub fn ramdisk_folder(config: &Config, machine: &BootInterface) -> Option<String> {
    let elsewhere = machine.osie.base_url.is_some() || machine.ipxe.url.is_some() || machine.ipxe.contents.is_some();
    let nothing = matches!(machine.boot, BootState::Local { .. } | BootState::Hold { .. });
    if elsewhere || !machine.netboot_allowed || nothing {
        return None;
    }
    let initrd = ramdisk(config, machine);
    Some(initrd.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned()))
}

/// This machine's ramdisk, below the files.
#[must_use]
pub fn ramdisk<'a>(config: &'a Config, machine: &'a BootInterface) -> &'a str {
    file_name(&machine.osie.initrd, &config.initrd)
}

fn file_name<'a>(own: &'a Option<String>, default: &'a str) -> &'a str {
    own.as_deref().unwrap_or(default).trim_start_matches('/')
}

/// The script, and notes about what it leaves out.
pub fn auto(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<(String, Vec<String>), NoScript> {
    if !machine.netboot_allowed {
        return Err(NoScript::NotAllowed { name: machine.name.clone(), mac: machine.mac.to_string() });
    }
    match &machine.boot {
        BootState::Local { reason } => return Ok((local(machine, reason), Vec::new())),
        BootState::Hold { .. } => return Ok((held(config, machine), Vec::new())),
        // An operator who asks for a rescue does not want the script of the Hardware.
        BootState::Rescue { .. } => return Ok(environment(config, machine, packs, now)),
        BootState::Install { .. } | BootState::Wait { .. } => {}
    }
    Ok(match &machine.ipxe {
        crate::Ipxe { url: Some(url), .. } => (chain(machine, url), Vec::new()),
        crate::Ipxe { contents: Some(contents), .. } => (custom(contents), Vec::new()),
        _ => environment(config, machine, packs, now),
    })
}

fn title(machine: &BootInterface) -> String {
    format!("#!ipxe\necho thimble: {} {}: {}\n", plain(&machine.name), machine.mac, plain(machine.boot.reason()))
}

/// Goes on to the firmware's next boot device. Exit code 0 ends the loop of a BIOS ROM over its devices. UEFI firmware opens
/// its setup menu after a success, and goes on only after a failure.
const NEXT_DEVICE: &str = "iseq ${platform} efi && exit 1 || exit 0\n";

fn local(machine: &BootInterface, reason: &str) -> String {
    format!("{}echo thimble: booting from the local disk: {}\n{NEXT_DEVICE}", title(machine), plain(reason))
}

/// Seconds until a held machine asks again.
const HOLD: u32 = 60;

/// The title says why. Without an answer the machine goes on asking.
fn held(config: &Config, machine: &BootInterface) -> String {
    let url = config.script_url(machine.mac);
    format!(
        "{}echo thimble: held; asking again every {HOLD} seconds\n:hold\nsleep {HOLD}\n\
         chain --replace --autofree {url} || goto hold\n",
        title(machine)
    )
}

fn chain(machine: &BootInterface, url: &str) -> String {
    let url = url.split_whitespace().collect::<String>();
    format!("{}chain --autofree {url} || goto failed\n{NEXT_DEVICE}{}", title(machine), failed("the script of this Hardware"))
}

fn custom(contents: &str) -> String {
    if contents.starts_with("#!ipxe") { contents.to_owned() } else { format!("#!ipxe\n{contents}\n") }
}

fn environment(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> (String, Vec<String>) {
    let base = machine.osie.base_url.as_deref().map(|base| base.trim_end_matches('/').to_owned());
    let base = base.unwrap_or_else(|| config.http_url("files"));
    let kernel = file_name(&machine.osie.kernel, &config.kernel);
    let initrd = file_name(&machine.osie.initrd, &config.initrd);
    let (folder, ramdisk) = initrd.rsplit_once('/').map_or(("", initrd), |(folder, name)| (folder, name));
    let authority = (packs.takes_server_ca && config.server_ca.is_some()).then_some(server_ca::FILE);
    let files = packs.wanted.iter().map(|pack| pack.file.as_str());
    let segments: Vec<&str> = std::iter::once(ramdisk).chain(authority).chain(files).collect();
    let (arguments, notes) = arguments(config, machine, &segments, authority.is_some(), now);
    let download = |label: &str, what: &str, command: String, then: &str| {
        format!(
            "set attempt:int32 0\n:{label}\n{command} && goto {then} ||\ninc attempt\n\
             iseq ${{attempt}} {ATTEMPTS} && goto failed ||\n\
             echo thimble: cannot load the {what} (attempt ${{attempt}} of {ATTEMPTS}), trying again\nsleep 2\ngoto {label}\n"
        )
    };
    let further: String = packs
        .wanted
        .iter()
        .enumerate()
        .map(|(index, pack)| {
            let url =
                [base.as_str(), folder, &pack.file].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            let (label, then) = (format!("pack{index}"), format!("have_pack{index}"));
            let what = format!("driver pack {}", plain(&pack.name));
            format!("{}:{then}\n", download(&label, &what, format!("initrd {url}"), &then))
        })
        .collect();
    let script = [
        title(machine),
        if packs.ask { scan::script(&config.script_url(machine.mac)) } else { String::new() },
        download("kernel", "kernel", format!("kernel {base}/{kernel} {arguments}"), "have_kernel"),
        ":have_kernel\n".to_owned(),
        download("initrd", "ramdisk", format!("initrd {base}/{initrd}"), "have_initrd"),
        ":have_initrd\n".to_owned(),
        if authority.is_some() {
            let url = config.http_url(server_ca::PATH);
            download("authority", "server's certificate authority", format!("initrd {url}"), "have_authority")
                + ":have_authority\n"
        } else {
            String::new()
        },
        further,
        "boot || goto failed\n".to_owned(),
        failed("the installation environment"),
    ];
    (script.concat(), notes)
}

/// A restart helps after a problem of a server or a cable. Going on to an empty disk does not help.
fn failed(what: &str) -> String {
    format!(":failed\necho thimble: cannot start {what}; restarting in 10 seconds\nsleep 10\nreboot || exit 1\n")
}

/// The kernel arguments: those of all machines, of this machine, then of its Hardware. The last one wins.
///
/// `speaks_tls` is for the server that boots belongs to. An operator who names another one has the last word.
fn arguments(config: &Config, machine: &BootInterface, segments: &[&str], speaks_tls: bool, now: u64) -> (String, Vec<String>) {
    let mut arguments = Arguments {
        worker_id: Some(machine.agent_id.clone()),
        hw_addr: Some(HwAddr(machine.mac.bytes())),
        vlan_id: machine.vlan_id.filter(|id| (1..=4094).contains(id)),
        facility: machine.facility.clone().or_else(|| config.arguments.facility.clone()),
        time: Some(now),
        tinkerbell_tls: config.arguments.tinkerbell_tls.or(speaks_tls.then_some(true)),
        rescue: config.arguments.rescue || matches!(machine.boot, BootState::Rescue { .. }),
        ..config.arguments.clone()
    };
    let mut notes: Vec<String> =
        arguments.extend(&machine.osie.kernel_params.join(" ")).iter().map(|note| format!("{note}")).collect();
    if arguments.grpc_authority != config.arguments.grpc_authority
        && config.arguments.tinkerbell_tls.is_none()
        && !machine.osie.kernel_params.iter().any(|word| word.contains("tinkerbell_tls"))
    {
        arguments.tinkerbell_tls = None;
    }
    // EFI stubs find the parts of the ramdisk by these names, and load them in this order.
    arguments.other.extend(segments.iter().map(|name| Word::new("initrd", *name)));
    notes.extend(arguments.check().iter().map(|note| format!("{note}")));
    let (words, unsaid): (Vec<Word>, Vec<Word>) = cmdline::words(&arguments.render()).into_iter().partition(is_sayable);
    notes.extend(unsaid.iter().map(|word| format!("iPXE would read {word} as a command; it is left out")));
    let line: Vec<String> = words.iter().map(Word::render).collect();
    (line.join(" "), notes)
}

/// iPXE ends a command at these words, and joins a line that ends in a backslash with the next one.
fn is_sayable(word: &Word) -> bool {
    let text = word.render();
    !matches!(text.as_str(), "&&" | "||" | ";") && !text.ends_with('\\') && !text.starts_with('#')
}

/// Text for `echo`. A name cannot become a variable, a comment, an operator or a line break.
fn plain(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._:/,()+=@%-'".contains(c);
    let text: String = text.chars().take(200).map(|c| if allowed(c) { c } else { '?' }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
