//! Every scenario that needs a virtual machine, by its sentence.

mod disks;
mod installs;
mod memory;
mod outages;
mod refusals;
mod restarts;
mod strangers;

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
    Scenario { name: "an image larger than the free memory is refused before the pull", run: memory::image_too_large },
    Scenario { name: "a full tmpfs fails the action and not the machine", run: memory::full_tmpfs },
    Scenario { name: "a registry that comes back is used again", run: outages::registry_down_and_up },
    Scenario { name: "a ramdisk without its network driver says so", run: strangers::missing_module },
    Scenario { name: "an unknown machine gets no answer and one line in the log", run: strangers::unknown_machine },
    Scenario { name: "malformed packets, foreign paths and wrong YAML are refused", run: strangers::malformed_input },
];

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
        let mut slugs: Vec<String> = ALL.iter().map(|scenario| slug(scenario.name)).collect();
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), ALL.len());
    }
}
