//! Where the calls of the API are: objects in Kubernetes' shape, and Thimble's own calls below its group or on an object.

use model::{Kind, ObjectName};

/// Applies many documents: all of them, or none.
pub const APPLY: &str = "/apis/thimble.dev/v1alpha1/apply";
/// The same for an export, which also has what machines shall boot.
pub const IMPORT: &str = "/apis/thimble.dev/v1alpha1/import";
/// The whole store, as [`crate::backup`] lays it out.
pub const BACKUP: &str = "/apis/thimble.dev/v1alpha1/backup";
/// What happens, one JSON object a line: [`crate::Event`].
pub const EVENTS: &str = "/apis/thimble.dev/v1alpha1/events";
/// Takes lines that machines sent by syslog to a boots on another host: an array of [`crate::SyslogLine`].
pub const SYSLOG: &str = "/apis/thimble.dev/v1alpha1/syslog";
/// Who changed what, one JSON object a line: [`crate::AuditLine`].
pub const AUDIT: &str = "/apis/thimble.dev/v1alpha1/audit";
/// The steps of boots that this server has itself ([`crate::OwnSteps`]), by `macs`. Servers of a site ask each other.
pub const STEPS: &str = "/apis/thimble.dev/v1alpha1/steps";
/// The machines that have an intent: an array of [`crate::MachineLine`].
pub const MACHINES: &str = "/apis/thimble.dev/v1alpha1/machines";
/// The announcement of an installed system is taken from everyone, below this path.
pub const BOOTED: &str = "/v1/machines/{machine}/booted";

/// One machine ([`crate::Machine`]), by MAC, address, or the name of its Hardware.
#[must_use]
pub fn machine(machine: &str) -> String {
    format!("{MACHINES}/{}", segment(machine))
}

/// Takes an [`crate::Order`] for a machine.
#[must_use]
pub fn machine_intent(machine: &str) -> String {
    format!("{}/intent", self::machine(machine))
}

/// What a machine asked while it booted ([`crate::BootHistory`]), by MAC, address, or the name of its Hardware.
#[must_use]
pub fn machine_boots(machine: &str) -> String {
    format!("{}/boots", self::machine(machine))
}

/// Takes the announcement of an installed system from a boots on another host.
#[must_use]
pub fn machine_booted(machine: &str) -> String {
    format!("{}/booted", self::machine(machine))
}

/// All objects of a kind.
#[must_use]
pub fn objects(kind: Kind) -> String {
    format!("/apis/{}/{}", kind.api_version(), plural(kind))
}

#[must_use]
pub fn object(kind: Kind, name: &ObjectName) -> String {
    format!("/apis/{}/namespaces/{}/{}/{}", kind.api_version(), segment(&name.namespace), plural(kind), segment(&name.name))
}

/// A part of a Workflow: `log`, `cancel`, `change`, `history` or `waiting`.
#[must_use]
pub fn of_workflow(name: &ObjectName, part: &str) -> String {
    format!("{}/{part}", object(Kind::Workflow, name))
}

/// What a machine said outside of workflows.
#[must_use]
pub fn machine_log(name: &ObjectName) -> String {
    format!("{}/log", own("machinestates", name))
}

/// The leases of DHCP pools, which all boots of a site share.
pub const DHCP_LEASES: &str = "/apis/thimble.dev/v1alpha1/dhcpleases";

/// One lease, by its address.
#[must_use]
pub fn dhcp_lease(address: std::net::Ipv4Addr) -> String {
    format!("{DHCP_LEASES}/{address}")
}

/// All Rollouts.
pub const ROLLOUTS: &str = "/apis/thimble.dev/v1alpha1/rollouts";

#[must_use]
pub fn rollout(name: &ObjectName) -> String {
    own("rollouts", name)
}

/// A part of a Rollout: `start`, `change` or `progress`.
#[must_use]
pub fn of_rollout(name: &ObjectName, part: &str) -> String {
    format!("{}/{part}", rollout(name))
}

fn own(plural: &str, name: &ObjectName) -> String {
    let (namespace, name) = (segment(&name.namespace), segment(&name.name));
    format!("/apis/thimble.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}")
}

/// Without the version that `workflows.v1alpha2` names.
fn plural(kind: Kind) -> &'static str {
    let plural = kind.plural();
    plural.split_once('.').map_or(plural, |(plural, _)| plural)
}

/// A name as one part of a path. What would end the part is encoded.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '%' => out.push_str("%25"),
            '/' => out.push_str("%2F"),
            '?' => out.push_str("%3F"),
            '#' => out.push_str("%23"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_below_its_group_and_version() {
        for (kind, path) in [
            (Kind::Hardware, "/apis/tinkerbell.org/v1alpha1/hardware"),
            (Kind::Workflow, "/apis/tinkerbell.org/v1alpha1/workflows"),
            (Kind::WorkflowV1alpha2, "/apis/tinkerbell.org/v1alpha2/workflows"),
            (Kind::Policy, "/apis/tinkerbell.org/v1alpha2/policies"),
        ] {
            assert_eq!(objects(kind), path);
        }
    }

    #[test]
    fn a_name_stays_one_part_of_the_path() {
        let name = ObjectName::new("lab", "a/../b?c#d%2F");
        assert_eq!(
            object(Kind::Hardware, &name),
            "/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/a%2F..%2Fb%3Fc%23d%252F"
        );
        assert_eq!(machine("lab/node-1"), "/apis/thimble.dev/v1alpha1/machines/lab%2Fnode-1");
        assert_eq!(
            of_rollout(&ObjectName::new("lab", "r"), "start"),
            "/apis/thimble.dev/v1alpha1/namespaces/lab/rollouts/r/start"
        );
    }
}
