//! Converts the agent's specification for runc. Pure. The agent's runtime mounts devices and sets the filter of system
//! calls in its child. For runc both are in the specification.

use std::io;

use serde_json::{Value, json};

use crate::bundle::below_dev;
use crate::container::seccomp;

/// `config` is the content of the bundle's config.json.
pub fn for_runc(config: &[u8]) -> io::Result<Vec<u8>> {
    let mut spec: Value = serde_json::from_slice(config)?;
    let confined = spec.pointer("/process/noNewPrivileges") == Some(&Value::Bool(true));
    if !confined {
        let mounts = spec.pointer_mut("/mounts").and_then(Value::as_array_mut);
        let at_dev = |mount: &Value| mount.get("destination").is_some_and(|destination| destination == "/dev");
        if let Some((mounts, place)) = mounts.and_then(|mounts| mounts.iter().position(at_dev).map(|place| (mounts, place))) {
            mounts.splice(place..=place, [devices()].into_iter().chain(below_dev()));
        }
    }
    let Some(linux) = spec.pointer_mut("/linux").and_then(Value::as_object_mut) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the specification has no section for Linux"));
    };
    if confined {
        linux.insert("seccomp".to_owned(), seccomp::oci());
    }
    let resources = linux.entry("resources").or_insert_with(|| json!({}));
    if let Some(resources) = resources.as_object_mut() {
        // For a confined action runc adds the harmless devices (null, zero, random, tty).
        resources.insert("devices".to_owned(), json!([{ "allow": !confined, "access": "rwm" }]));
    }
    Ok(serde_json::to_vec(&spec)?)
}

/// The mount of the machine's devices. runc makes no nodes in a bound `/dev`, and `rslave` keeps later mounts inside the
/// container.
fn devices() -> Value {
    json!({ "destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rw", "nosuid", "rslave"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(no_new_privileges: bool) -> Value {
        let config = json!({
            "process": { "noNewPrivileges": no_new_privileges },
            "mounts": [{ "destination": "/proc" }, { "destination": "/dev", "type": "tmpfs" }, { "destination": "/sys" }],
            "linux": { "resources": { "pids": { "limit": 9 } } },
        });
        serde_json::from_slice(&for_runc(&serde_json::to_vec(&config).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_privileged_action_has_the_machines_devices_and_a_confined_action_does_not() {
        let spec = converted(false);
        let [pts, shm] = below_dev();
        assert_eq!(spec["mounts"], json!([{ "destination": "/proc" }, devices(), pts, shm, { "destination": "/sys" }]));
        assert_eq!(
            spec["linux"]["resources"],
            json!({ "pids": { "limit": 9 }, "devices": [{ "allow": true, "access": "rwm" }] })
        );
        assert_eq!(spec["linux"].get("seccomp"), None);

        let spec = converted(true);
        assert_eq!(spec["mounts"][1]["type"], "tmpfs");
        assert_eq!(spec["linux"]["resources"]["devices"], json!([{ "allow": false, "access": "rwm" }]));
        assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
    }

    #[test]
    fn a_text_that_is_not_a_specification_is_an_error() {
        assert!(for_runc(b"{}").is_err() && for_runc(b"nonsense").is_err());
    }
}
