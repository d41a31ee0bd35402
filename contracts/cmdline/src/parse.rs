//! One word at a time into `Arguments`, by the table.

use crate::table::{Argument, RESCUE};
use crate::{Arguments, Note, Problem, Word};

impl Arguments {
    /// Takes one word. A bad value leaves the argument as it was.
    pub(crate) fn accept(&mut self, word: Word) -> Result<(), Note> {
        let problem = match (Argument::find(&word.name), word.value.as_deref()) {
            (Some(argument), Some(value)) => (argument.field.set)(self, value).err(),
            (Some(argument), None) if argument.name == RESCUE => (argument.field.set)(self, "true").err(),
            (Some(_), None) => Some(Problem::NoValue),
            // A misspelt word of Thimble's is reported.
            (None, _) if word.name.starts_with("thimble.") => Some(Problem::Unknown),
            (None, _) => {
                self.other.push(word);
                return Ok(());
            }
        };
        let Some(problem) = problem else { return Ok(()) };
        let value = if word.is_secret() { None } else { word.value };
        Err(Note { argument: word.name, value, problem })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Arguments, Note, OnFailure, Parsed, Problem, Word};

    const SMEE: &str = "facility= syslog_host=10.0.0.1 grpc_authority=10.0.0.1:42113 tinkerbell_tls=false \
        tinkerbell_insecure_tls=false worker_id=02:00:00:00:00:01 hw_addr=02:00:00:00:00:01 \
        modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on initrd=initramfs console=tty0 console=ttyS1,115200\n";

    #[test]
    fn a_mistake_that_comes_twice_is_reported_once() {
        let notes = Arguments::parse("thimble.tmie=5 vlan_id=0 thimble.tmie=5 vlan_id=0").notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn a_wrong_end_is_noted_and_the_last_right_one_stays() {
        let Parsed { arguments, notes } = Arguments::parse("thimble.on_failure=reboot thimble.on_failure=explode");
        assert_eq!((arguments.on_failure, notes.len()), (Some(OnFailure::Reboot), 1));
        assert_eq!(notes.first().map(|note| note.problem.clone()), Some(Problem::NotAnEnd));
    }

    #[test]
    fn mirrors_add_up_and_nonsense_is_noted() {
        let line = "thimble.mirror=docker.io=http://a:5000,https://b/hub thimble.mirror=quay.io=http://a thimble.mirror=x \
                    thimble.mirror=docker.io=https://u:p@b thimble.mirror==http://a";
        let Parsed { arguments, notes } = Arguments::parse(line);
        assert_eq!(arguments.mirrors, ["docker.io=http://a:5000,https://b/hub", "quay.io=http://a"]);
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn the_line_smee_writes_is_understood() {
        let Parsed { arguments, notes } = Arguments::parse(SMEE);
        assert_eq!(notes, []);
        assert_eq!(arguments.worker_id.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(arguments.hw_addr.unwrap().to_string(), "02:00:00:00:00:01");
        assert_eq!(arguments.grpc_authority.as_deref(), Some("10.0.0.1:42113"));
        assert_eq!(arguments.tinkerbell_tls, Some(false));
        assert_eq!(arguments.facility, None);
        assert_eq!(arguments.consoles, ["tty0", "ttyS1,115200"]);
        assert_eq!(arguments.other.len(), 3);
        assert_eq!(arguments.other("intel_iommu").unwrap().value.as_deref(), Some("on"));
    }

    #[test]
    fn position_and_bare_words_do_not_matter_and_the_last_value_wins() {
        let arguments = Arguments::parse("worker_id=a quiet worker_id=b ro").arguments;
        assert_eq!(arguments.worker_id.as_deref(), Some("b"));
        assert_eq!(arguments.other, [Word::flag("quiet"), Word::flag("ro")]);
    }

    #[test]
    fn a_bad_value_is_a_note_that_names_argument_and_value() {
        for (line, note) in [
            ("hw_addr=zz", "argument hw_addr=zz: not a MAC address (expected 02:00:00:00:00:01)"),
            ("worker_id", "argument worker_id: a value is missing"),
            ("vlan_id=5000", "argument vlan_id=5000: not a whole number from 1 to 4094"),
            ("syslog_port=0", "argument syslog_port=0: not a whole number from 1 to 65535"),
            ("tinkerbell_tls=maybe", "argument tinkerbell_tls=maybe: not true or false"),
            ("grpc_authority=10.0.0.1", "argument grpc_authority=10.0.0.1: not HOST:PORT"),
            ("grpc_authority=:1", "argument grpc_authority=:1: not HOST:PORT"),
            ("grpc_authority=http://a:1", "argument grpc_authority=http://a:1: not HOST:PORT"),
            ("interface=a/b", "argument interface=a/b: not the name of a network interface"),
            ("thimble.tmie=5", "argument thimble.tmie=5: nothing of this name exists in this version"),
            ("thimble.run=100", "argument thimble.run=100: not a whole number from 1 to 95"),
            ("registry_password", "argument registry_password: a value is missing"),
        ] {
            let parsed = Arguments::parse(line);
            let notes: Vec<String> = parsed.notes.iter().map(Note::to_string).collect();
            assert_eq!(notes, [note]);
            assert_eq!(parsed.arguments, Arguments::default(), "{line} left nothing behind");
        }
    }

    #[test]
    fn a_bad_value_does_not_undo_a_good_one() {
        let parsed = Arguments::parse("panic=30 panic=soon");
        assert_eq!((parsed.arguments.panic, parsed.notes.len()), (Some(30), 1));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let arguments =
            Arguments::parse("insecure_registries=a:5000,,b interface=eth0,eth1 grpc_authority=[fd00::1]:1").arguments;
        assert_eq!(arguments.insecure_registries, ["a:5000", "b"]);
        assert_eq!(arguments.interfaces, ["eth0", "eth1"]);
        assert_eq!(arguments.grpc_authority.as_deref(), Some("[fd00::1]:1"));
    }
}
