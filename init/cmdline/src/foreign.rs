//! Arguments of OSIE, HookOS and CaptainOS that have no effect here, each with the reason: refused, but never in silence.

use crate::Arguments;

const FOREIGN: &[(&str, &str)] = &[
    ("tink_worker_image", "the agent is part of /init"),
    ("grpc_cert_url", "use tinkerbell_tls, and CA certificates in the ramdisk"),
    ("packet_action", "what to do comes from the workflow"),
    ("packet_state", "what to do comes from the workflow"),
    ("packet_base_url", "nothing is downloaded before the first action"),
    ("packet_bootdev_mac", "use hw_addr"),
    ("pwhash", "nobody logs in here; give it to an action"),
    ("slug", "give it to an action"),
    ("instance_id", "give it to an action"),
    ("plan", "give it to an action"),
    ("manufacturer", "give it to an action"),
    ("tinkerbell", "use grpc_authority"),
    ("discover_url", "use grpc_authority"),
    ("alpine_repo", "there are no packages"),
    ("modloop", "drivers are in the ramdisk"),
    ("eclypsium_token", "there is no such scanner"),
];

impl Arguments {
    /// `NAME: REASON` for every word that another installation environment would have acted on.
    pub fn without_effect(&self) -> Vec<String> {
        let words = self.other.iter();
        let known = words.filter_map(|word| FOREIGN.iter().find(|(name, _)| *name == word.name));
        known.map(|(name, reason)| format!("{name}: {reason}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_said_without_its_value() {
        let arguments = Arguments::parse("tink_worker_image=x quiet pwhash=secret").arguments;
        assert_eq!(
            arguments.without_effect(),
            ["tink_worker_image: the agent is part of /init", "pwhash: nobody logs in here; give it to an action"]
        );
    }
}
