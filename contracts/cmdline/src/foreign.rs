//! Arguments of OSIE, HookOS and CaptainOS that have no effect in Thimble, each with the reason for the log.

use crate::Arguments;

/// A name that ends in `*` stands for all that begin so.
pub(crate) const FOREIGN: &[(&str, &str)] = &[
    ("tink_worker_image", "the agent is part of /init"),
    ("grpc_cert_url", "use tinkerbell_tls, and CA certificates in the ramdisk"),
    ("packet_action", "what to do comes from the workflow"),
    ("packet_state", "what to do comes from the workflow"),
    ("packet_base_url", "nothing is downloaded before the first action"),
    ("packet_bootdev_mac", "use hw_addr"),
    ("pwhash", "the machine has no login; give it to an action"),
    ("slug", "give it to an action"),
    ("instance_id", "give it to an action"),
    ("plan", "give it to an action"),
    ("manufacturer", "give it to an action"),
    ("tinkerbell", "use grpc_authority"),
    ("discover_url", "use grpc_authority"),
    ("parch", "the ramdisk is made for one architecture"),
    ("hollow_*", "use syslog_host"),
    ("alpine_repo", "the ramdisk has no packages"),
    ("modloop", "drivers are in the ramdisk"),
    ("eclypsium_token", "the ramdisk has no such scanner"),
];

fn is_called(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

impl Arguments {
    /// `NAME: REASON` for every word that another installation environment would have acted on.
    pub fn without_effect(&self) -> Vec<String> {
        let reason = |word: &str| FOREIGN.iter().find(|(pattern, _)| is_called(pattern, word)).map(|(_, reason)| reason);
        self.other.iter().filter_map(|word| Some(format!("{}: {}", word.name, reason(&word.name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_without_effect_is_reported_without_its_value() {
        let arguments = Arguments::parse("tink_worker_image=x quiet pwhash=secret").arguments;
        assert_eq!(
            arguments.without_effect(),
            ["tink_worker_image: the agent is part of /init", "pwhash: the machine has no login; give it to an action"]
        );
    }

    /// What Thimble does with an argument of another environment.
    #[derive(Debug, PartialEq)]
    enum Fate {
        /// A field of `Arguments`.
        Taken,
        /// The kernel's or a boot loader's, or read from the other words by the drivers' policy.
        Passed,
        /// One line says why not.
        Refused,
    }
    use Fate::{Passed, Refused, Taken};

    /// In the order of the two tables of "Installation OS: kernel command line" in Tinkerbell's interop reference.
    #[test]
    fn every_argument_of_osie_hook_and_captain_is_taken_passed_on_or_refused() {
        for (word, fate) in [
            // What Smee passes.
            ("vlan_id=100", Taken),
            ("facility=onprem", Taken),
            ("syslog_host=10.0.0.1", Taken),
            ("grpc_authority=10.0.0.1:42113", Taken),
            ("tinkerbell_tls=true", Taken),
            ("tinkerbell_insecure_tls=true", Taken),
            ("worker_id=02:00:00:00:00:01", Taken),
            ("hw_addr=02:00:00:00:00:01", Taken),
            ("modules=loop,squashfs,sd-mod,usb-storage", Passed),
            ("intel_iommu=on", Passed),
            ("iommu=pt", Passed),
            ("initrd=initramfs", Passed),
            ("console=ttyS1,115200", Taken),
            // What HookOS, CaptainOS and OSIE read.
            ("tink_worker_image=example.org/tink-agent:1", Refused),
            ("docker_registry=example.org", Taken),
            ("registry_username=name", Taken),
            ("registry_password=word", Taken),
            ("grpc_cert_url=http://10.0.0.1/cert", Refused),
            ("insecure_registries=10.0.0.1:5000", Taken),
            ("HTTP_PROXY=http://10.0.0.1:3128", Taken),
            ("HTTPS_PROXY=http://10.0.0.1:3128", Taken),
            ("NO_PROXY=10.0.0.0/8", Taken),
            ("syslog_port=1514", Taken),
            ("interface=eth0", Taken),
            ("ipam=02-00-00-00-00-01::10.0.0.5:24:10.0.0.1::::", Taken),
            ("packet_action=install", Refused),
            ("packet_state=preinstalling", Refused),
            ("packet_base_url=http://10.0.0.1", Refused),
            ("packet_bootdev_mac=02:00:00:00:00:01", Refused),
            ("pwhash=x", Refused),
            ("slug=debian_12", Refused),
            ("instance_id=x", Refused),
            ("plan=c3.small.x86", Refused),
            ("manufacturer=dell", Refused),
            ("tinkerbell=http://10.0.0.1", Refused),
            ("discover_url=http://10.0.0.1", Refused),
            ("parch=x86_64", Refused),
            ("hollow_client_id=x", Refused),
            ("hollow_client_request_secret=x", Refused),
            ("eclypsium_token=x", Refused),
            ("ip=dhcp", Taken),
            ("alpine_repo=http://10.0.0.1", Refused),
            ("modloop=http://10.0.0.1/modloop", Refused),
            ("blacklist=nouveau", Passed),
            ("ssh_key=http://10.0.0.1/key", Refused),
            ("panic=30", Taken),
        ] {
            let parsed = Arguments::parse(word);
            let notes = parsed.notes.iter().map(ToString::to_string);
            let lines: Vec<String> = notes.chain(parsed.arguments.without_effect()).collect();
            let found = match lines.as_slice() {
                [] if parsed.arguments == Arguments::default() => panic!("{word} is ignored in silence"),
                [] if parsed.arguments.other.is_empty() => Taken,
                [] => Passed,
                _ => Refused,
            };
            assert_eq!(found, fate, "{word}: {lines:?}");
        }
    }
}
