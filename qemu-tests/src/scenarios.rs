//! Every scenario that needs a virtual machine, each with its sentence.

mod access;
mod consoles;
mod disks;
mod documents;
mod faults;
mod firmware;
mod hotplug;
mod installs;
mod links;
mod media;
mod memory;
mod names;
mod outages;
mod package;
mod packs;
mod power;
mod reach;
mod refusals;
mod rescue;
mod restarts;
mod site;
mod six;
mod strangers;
mod trust;
mod vrf;

use anyhow::Result;

use crate::crowd::ALONE;
use crate::scene::Scene;

pub struct Scenario {
    /// The sentence that is true if the scenario passes.
    pub name: &'static str,
    pub run: fn(&Scene) -> Result<()>,
    /// How many virtual machines it has at once, or `ALONE`.
    pub machines: usize,
}

const fn one(name: &'static str, run: fn(&Scene) -> Result<()>) -> Scenario {
    many(1, name, run)
}

const fn many(machines: usize, name: &'static str, run: fn(&Scene) -> Result<()>) -> Scenario {
    Scenario { name, run, machines }
}

/// The long ones come first, so that later ones run beside them.
pub const ALL: &[Scenario] = &[
    many(2, "a machine whose agent hangs or keeps failing starts again", restarts::agent_hangs_or_fails),
    many(2, "every part of the matrix works in a machine", crate::matrix::short),
    many(2, "every common DHCP server gives a machine its network, and a faulty one does, too", crate::servers::short),
    one("boots works with the DHCP clients, relays and fetching programs of the field, in every mode", crate::peers::short),
    many(2, "no power cut at a random moment loses a report", crate::soak::short),
    many(
        ALONE,
        "300 machines that start at once lose nothing when packets are lost and the server is killed",
        crate::storm::short,
    ),
    many(
        ALONE,
        "a site of two servers and two boots loses nothing while each of its programs is killed and each host cut off",
        crate::storm::short_site,
    ),
    one("a blank BIOS machine with 128 MiB installs Debian and boots it", installs::bios),
    one("a blank UEFI machine installs Debian through TFTP and boots it", installs::uefi),
    one("a host with the package and without cargo installs a machine, and needs no registry", package::installs),
    one(
        "a machine is installed from an archive by rootio, archive2disk, grub2disk and cexec, and boots",
        crate::installations::short,
    ),
    one("a finished workflow never runs twice", disks::finished_workflow_never_runs_twice),
    one("an action whose agent is killed runs again and ends well", restarts::agent_killed_in_an_action),
    one("an agent killed again and again comes back each time", restarts::agent_killed_in_a_loop),
    one("a power cut in the middle of the image write starts the write again", disks::power_cut_in_the_image_write),
    one("no power cut in an image write leaves a half image that boots", crate::soak::short_disk),
    one("a disk that does not take a write fails the action and boots nothing", disks::a_broken_disk),
    one("a server killed before its acknowledgement loses no report", restarts::server_killed_before_acknowledging),
    one("bad images and failing actions each say why and the machine continues", refusals::bad_actions),
    one("the examples are valid and every command of the pages runs", documents::commands),
    one("the ramdisks are as small as promised", memory::ramdisk_sizes),
    one("an image larger than the free memory is refused before the pull", memory::image_too_large),
    one("a lent disk holds what the memory does not", memory::scratch_disk),
    one("a full tmpfs fails the action and not the machine", memory::full_tmpfs),
    one("a registry that comes back is used again", outages::registry_down_and_up),
    one("with two network cards the useful one is found", links::one_useful_of_two),
    one("with eight network cards the useful one is found", links::one_useful_of_eight),
    one("a cable that is put in later is used", links::late_carrier),
    one("a network without a server is left for a cable put in later", links::left_for_late_cable),
    one("a static address works where no server answers DHCP", links::static_address),
    one("a machine waits for a DHCP server that answers late", links::dhcp_late),
    one("a DHCP server that answers twice gives one address", links::dhcp_twice),
    one("a wrong DHCP server that interferes is ignored", links::dhcp_crossed),
    one("a wrong DHCP server that answers first is abandoned", links::dhcp_outrun),
    many(2, "a port that carries one tagged VLAN is used", links::tagged_port),
    many(2, "two links to an LACP partner become one", links::lacp_partner),
    one("names, a proxy and a private CA lead to server and registry", reach::names_proxy_and_authority),
    one("a network with IPv6 only is enough", reach::only_ipv6),
    one("a network with IPv6 only installs a machine from nothing", six::installs),
    one("a dead real-time clock does not stop the work", links::dead_clock),
    one("a time server that never answers causes no delay", links::silent_time_server),
    one("the ISO image boots from a CD and a stick, by BIOS and UEFI", media::iso),
    many(2, "one ISO image serves machines by serial number, UUID and MAC without DHCP", site::iso),
    one("virtual media with the standard kernel fetch the drivers of NVMe and SATA disks", site::standard_kernel),
    one("the unified kernel image boots by itself", media::uki),
    one("Secure Boot starts only signed programs and the TPM records them", trust::secure_boot),
    one("a machine without a registry runs an image that came with it", media::embedded),
    one("an image is found on a USB stick with FAT, if that is allowed", media::stick),
    one("an image is found on a CD in a drive of the BMC's kind", media::cd),
    one("the same inputs give the same bytes in every output", media::reproducible),
    one("disks have the names that udev gives them", names::like_udev),
    one("an action that names disks starts when they are present", hotplug::disks_before_actions),
    one("a disk that is plugged in later is found by its name", hotplug::disk),
    one("a network card that is plugged in later is used", hotplug::nic),
    many(2, "a machine gets the driver packs of its devices at its first boot", packs::bios),
    one("a UEFI machine gets its driver pack, too", packs::uefi),
    one("a machine gets the authority of its server and speaks TLS", access::bios),
    one("a UEFI machine speaks TLS, too", access::uefi),
    one("a USB network card that is plugged in later is used", hotplug::usb_nic),
    one("missing firmware is named on the console and at the server", firmware::missing),
    one("kexec starts the installed system without firmware", power::kexec),
    many(ALONE, "the power button ends the work and switches off", power::button),
    one("ctrl-alt-del ends the work and starts the machine again", power::ctrl_alt_del),
    one("a console that does not exist does not stop the machine", consoles::no_such_console),
    one("a console that takes no characters does not stop the machine", consoles::dead_serial),
    one("/init reports whatever the kernel refuses and never panics", faults::table),
    one("a machine that panics comes back and does its work", power::panic),
    one("rescue accepts only the given key", rescue::shell),
    one("the last lines before a panic are reported after it", power::last_words),
    one("a ramdisk that arrived in part is reported", power::truncated_ramdisk),
    many(ALONE, "96 MiB are enough for the cloud kernel and 128 MiB for the standard one", crate::ladder::promised),
    one("a ramdisk without its network driver says so", strangers::missing_module),
    one("an unknown machine gets no answer and one line in the log", strangers::unknown_machine),
    one("malformed packets, foreign paths and wrong YAML are refused", strangers::malformed_input),
    one("machines behind an interface in a VRF are answered", vrf::answers),
];

/// Scenarios whose feature is not finished: `cargo lab test --awaited`.
pub const AWAITED: &[Scenario] = &[];

/// All scenarios.
pub fn known() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().chain(AWAITED)
}

/// A file name for the scenario's folder.
pub fn slug(name: &str) -> String {
    let words: Vec<String> =
        name.split_whitespace().map(|word| word.chars().filter(char::is_ascii_alphanumeric).collect()).collect();
    words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_differ() {
        let mut slugs: Vec<String> = known().map(|scenario| slug(scenario.name)).collect();
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), known().count());
    }
}
