//! Every scenario that needs a virtual machine, by its sentence.

mod consoles;
mod disks;
mod faults;
mod firmware;
mod hotplug;
mod installs;
mod links;
mod media;
mod memory;
mod names;
mod outages;
mod packs;
mod power;
mod reach;
mod refusals;
mod rescue;
mod restarts;
mod strangers;
mod trust;

use anyhow::Result;

use crate::scene::Scene;

pub struct Scenario {
    /// What holds when it passes.
    pub name: &'static str,
    pub run: fn(&Scene) -> Result<()>,
}

pub const ALL: &[Scenario] = &[
    Scenario { name: "a blank BIOS machine with 128 MiB installs Debian and boots it", run: installs::bios },
    Scenario { name: "a blank UEFI machine installs Debian through TFTP and boots it", run: installs::uefi },
    Scenario { name: "a finished workflow never runs twice", run: disks::finished_workflow_never_runs_twice },
    Scenario { name: "an action whose agent is killed runs again and ends well", run: restarts::agent_killed_in_an_action },
    Scenario { name: "a machine whose agent hangs or keeps failing starts again", run: restarts::agent_hangs_or_fails },
    Scenario { name: "an agent killed again and again comes back each time", run: restarts::agent_killed_in_a_loop },
    Scenario {
        name: "a power cut in the middle of the image write starts the write again",
        run: disks::power_cut_in_the_image_write,
    },
    Scenario {
        name: "a server killed before its acknowledgement loses no report",
        run: restarts::server_killed_before_acknowledging,
    },
    Scenario { name: "bad images and failing actions each say why and the machine goes on", run: refusals::bad_actions },
    Scenario { name: "the ramdisks are as small as promised", run: memory::ramdisk_sizes },
    Scenario { name: "an image larger than the free memory is refused before the pull", run: memory::image_too_large },
    Scenario { name: "a lent disk holds what the memory does not", run: memory::scratch_disk },
    Scenario { name: "a full tmpfs fails the action and not the machine", run: memory::full_tmpfs },
    Scenario { name: "a registry that comes back is used again", run: outages::registry_down_and_up },
    Scenario { name: "with two network cards the useful one is found", run: links::one_useful_of_two },
    Scenario { name: "with eight network cards the useful one is found", run: links::one_useful_of_eight },
    Scenario { name: "a cable that is put in later is used", run: links::late_carrier },
    Scenario { name: "a network that leads nowhere is left for a cable put in later", run: links::left_for_late_cable },
    Scenario { name: "a static address works where nobody answers DHCP", run: links::static_address },
    Scenario { name: "a DHCP server that answers late is waited for", run: links::dhcp_late },
    Scenario { name: "a DHCP server that answers twice gives one address", run: links::dhcp_twice },
    Scenario { name: "a wrong DHCP server that interferes is not heard", run: links::dhcp_crossed },
    Scenario { name: "a wrong DHCP server that is first is left again", run: links::dhcp_outrun },
    Scenario { name: "a port that carries one tagged VLAN is used", run: links::tagged_port },
    Scenario { name: "two links to an LACP partner become one", run: links::lacp_partner },
    Scenario { name: "names, a proxy and an own CA lead to server and registry", run: reach::names_proxy_and_authority },
    Scenario { name: "a network with IPv6 only is enough", run: reach::only_ipv6 },
    Scenario { name: "a dead real-time clock does not stop the work", run: links::dead_clock },
    Scenario { name: "a time server that never answers delays nothing", run: links::silent_time_server },
    Scenario { name: "the ISO image boots from a CD and a stick, by BIOS and UEFI", run: media::iso },
    Scenario { name: "the unified kernel image boots by itself", run: media::uki },
    Scenario { name: "Secure Boot starts what is signed and the TPM tells what it was", run: trust::secure_boot },
    Scenario { name: "a machine without a registry runs an image that came with it", run: media::embedded },
    Scenario { name: "an image is found on a USB stick with FAT", run: media::stick },
    Scenario { name: "an image is found on a CD in a drive of the BMC's kind", run: media::cd },
    Scenario { name: "the same inputs give the same bytes in every output", run: media::reproducible },
    Scenario { name: "disks have the names that udev gives them", run: names::like_udev },
    Scenario { name: "an action that names disks starts when they are there", run: hotplug::disks_before_actions },
    Scenario { name: "a disk that is plugged in later is found by its name", run: hotplug::disk },
    Scenario { name: "every part of the matrix works in a machine", run: crate::matrix::short },
    Scenario { name: "a network card that is plugged in later is used", run: hotplug::nic },
    Scenario { name: "a machine gets the driver packs of its devices at its first boot", run: packs::bios },
    Scenario { name: "a UEFI machine gets its driver pack, too", run: packs::uefi },
    Scenario { name: "a USB network card that is plugged in later is used", run: hotplug::usb_nic },
    Scenario { name: "firmware that is missing is named on the console and at the server", run: firmware::missing },
    Scenario { name: "kexec starts the installed system without firmware", run: power::kexec },
    Scenario { name: "the power button ends the work and switches off", run: power::button },
    Scenario { name: "ctrl-alt-del ends the work and starts the machine again", run: power::ctrl_alt_del },
    Scenario { name: "a console that does not exist stops nothing", run: consoles::no_such_console },
    Scenario { name: "a console that takes no characters stops nothing", run: consoles::dead_serial },
    Scenario { name: "whatever the kernel refuses to /init, it says so and never panics", run: faults::table },
    Scenario { name: "a machine that panics comes back and does its work", run: power::panic },
    Scenario { name: "rescue lets the key in and nobody else", run: rescue::shell },
    Scenario { name: "the last words before a panic are told after it", run: power::last_words },
    Scenario { name: "a ramdisk that arrived in part is called that", run: power::truncated_ramdisk },
    Scenario { name: "96 MiB carry the cloud kernel and 160 MiB the standard one", run: crate::ladder::promised },
    Scenario { name: "no power cut at a random moment loses a report", run: crate::soak::short },
    Scenario { name: "a ramdisk without its network driver says so", run: strangers::missing_module },
    Scenario { name: "an unknown machine gets no answer and one line in the log", run: strangers::unknown_machine },
    Scenario { name: "malformed packets, foreign paths and wrong YAML are refused", run: strangers::malformed_input },
];

/// Those whose feature is under way: `cargo lab test --awaited`.
pub const AWAITED: &[Scenario] = &[];

/// Every scenario there is.
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
