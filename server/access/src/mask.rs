//! What a viewer gets of an object: the same fields, without secrets, user data and password hashes. Pure.

use serde_json::{Map, Value};

/// Stands where a secret was.
pub const MASKED: &str = "(masked)";
/// The same where clients expect base64.
const MASKED_BASE64: &str = "KG1hc2tlZCk=";
/// kubectl keeps the whole object in this annotation.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Keys whose whole value is secret, in small letters and without `_` and `-`.
const SECRET_KEYS: &[&str] = &[
    "userdata",
    "vendordata",
    "cryptedrootpassword",
    "rootpassword",
    "rootpwhash",
    "password",
    "passwordhash",
    "passwd",
    "pwhash",
    "registrypassword",
    "secret",
    "clientsecret",
    "secretkey",
    "token",
    "accesstoken",
    "apikey",
    "privatekey",
];
/// Maps of which only the keys are shown. Templates render user data into the environment of actions.
const SECRET_MAPS: &[&str] = &["environment"];
/// Texts that begin a line so are user data, wherever they stand.
const USER_DATA: &[&str] = &["#cloud-config", "#cloud-boothook", "#ignition", "{\"ignition\"", "#_preseed", "d-i passwd/"];
/// Schemes of crypt(5), between `$`.
const SCHEMES: &[&str] =
    &["1", "2", "2a", "2b", "2x", "2y", "5", "6", "7", "y", "gy", "md5", "sha1", "argon2i", "argon2d", "argon2id"];
/// A scheme, a salt and a hash are not shorter.
const SHORTEST_HASH: usize = 20;

/// `object` as a viewer may see it. `resource` is its plural; a list of objects, and objects inside others, work too.
#[must_use]
pub fn mask(resource: &str, mut object: Value) -> Value {
    walk(&mut object);
    if resource == "secrets" {
        for (field, masked) in [("data", MASKED_BASE64), ("stringData", MASKED)] {
            if let Some(map) = object.get_mut(field).and_then(Value::as_object_mut) {
                map.values_mut().for_each(|value| *value = masked.into());
            }
        }
    }
    object
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => fields(map),
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(text) if shows_secret(text) => *text = MASKED.to_owned(),
        _ => {}
    }
}

fn fields(map: &mut Map<String, Value>) {
    for (key, value) in map.iter_mut() {
        let plain: String = key.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect();
        match value {
            Value::Object(inner) if SECRET_MAPS.contains(&plain.as_str()) => hide(inner),
            // An empty field shows that there is nothing.
            Value::String(text) if text.is_empty() => {}
            Value::Null | Value::Bool(_) => {}
            _ if key == LAST_APPLIED || SECRET_KEYS.contains(&plain.as_str()) => *value = MASKED.into(),
            other => walk(other),
        }
    }
}

fn hide(map: &mut Map<String, Value>) {
    map.values_mut().for_each(|value| *value = MASKED.into());
}

/// Whether the text is user data, names a password, or has the hash of one in it.
fn shows_secret(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        USER_DATA.iter().any(|mark| line.starts_with(mark)) || assigns_secret(line)
    }) || has_hash(text)
}

/// `password: x`, `registry_password=x`, `"pwhash": "x"`: in Templates, kernel arguments and commands.
fn assigns_secret(line: &str) -> bool {
    let ends = line.match_indices([':', '=']).map(|(end, _)| end);
    ends.filter_map(|end| line.split_at_checked(end)).any(|(before, after)| {
        let key = before.trim_end_matches(['"', '\'', ' ']);
        let start = key.rfind(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '-'))).map_or(0, |at| at + 1);
        let key = key.get(start..).unwrap_or_default();
        let plain: String = key.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect();
        let has_value = after.get(1..).is_some_and(|value| !value.trim().is_empty());
        has_value && SECRET_KEYS.contains(&plain.as_str())
    })
}

fn has_hash(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let Some((scheme, rest)) = text.get(at + 1..).and_then(|rest| rest.split_once('$')) else { return false };
        let hash = rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "./$=,+-_".contains(*letter)).count();
        SCHEMES.contains(&scheme) && hash >= SHORTEST_HASH
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "$6$rounds=4096$saltsalt$Qm9ndXNoYXNoQm9ndXNoYXNoQm9ndXNoYXNo";

    #[test]
    fn hardware_is_shown_without_user_data_and_password_hashes() {
        let hardware = json!({
            "kind": "Hardware",
            "metadata": {"name": "m1", "annotations": {LAST_APPLIED: "{\"spec\":{\"userData\":\"x\"}}", "thimble/packs": "san"}},
            "spec": {
                "userData": "#!/bin/sh\nsecret", "vendorData": "v", "agentID": "m1",
                "metadata": {"instance": {
                    "hostname": "m1", "userdata": "x", "crypted_root_password": HASH, "ssh_keys": ["ssh-ed25519 AAAA"],
                    "allow_pxe": true, "tags": [HASH]}},
                "interfaces": [{"netboot": {"osie": {"kernelParams": ["console=ttyS0", "registry_password=hunter2", "quiet"]}}}],
            },
        });
        assert_eq!(
            mask("hardware", hardware),
            json!({
                "kind": "Hardware",
                "metadata": {"name": "m1", "annotations": {LAST_APPLIED: MASKED, "thimble/packs": "san"}},
                "spec": {
                    "userData": MASKED, "vendorData": MASKED, "agentID": "m1",
                    "metadata": {"instance": {
                        "hostname": "m1", "userdata": MASKED, "crypted_root_password": MASKED, "ssh_keys": ["ssh-ed25519 AAAA"],
                        "allow_pxe": true, "tags": [MASKED]}},
                    "interfaces": [{"netboot": {"osie": {"kernelParams": ["console=ttyS0", MASKED, "quiet"]}}}],
                },
            })
        );
    }

    #[test]
    fn a_secret_keeps_its_keys_only() {
        let secret = json!({"kind": "Secret", "type": "Opaque", "metadata": {"name": "bmc"}, "data": {"password": "cGFzcw==", "user": "cm9vdA=="}});
        let masked = mask("secrets", secret);
        assert_eq!(masked["data"], json!({"password": MASKED_BASE64, "user": MASKED_BASE64}));
        assert_eq!(mask("secrets", json!({"stringData": {"a": "b"}})), json!({"stringData": {"a": MASKED}}));
    }

    #[test]
    fn a_workflow_is_shown_without_what_was_rendered_into_it() {
        let workflow = json!({"status": {"state": "RUNNING", "tasks": [{"name": "t", "environment": {"A": "1"}, "actions": [
            {"name": "user-data", "image": "writefile:v1", "state": "SUCCESS", "environment": {"CONTENTS": "hello", "PATH": "/etc/x"}},
            {"name": "chpasswd", "image": "cexec:v1", "command": ["sh", "-c", format!("echo 'root:{HASH}' | chpasswd -e")]},
        ]}]}});
        let masked = mask("workflows", workflow);
        let actions = &masked["status"]["tasks"][0]["actions"];
        assert_eq!(actions[0]["environment"], json!({"CONTENTS": MASKED, "PATH": MASKED}));
        assert_eq!((&actions[0]["image"], &actions[0]["state"]), (&json!("writefile:v1"), &json!("SUCCESS")));
        assert_eq!(actions[1]["command"], json!(["sh", "-c", MASKED]));
    }

    #[test]
    fn a_text_is_masked_when_it_has_a_secret_in_it() {
        for (text, secret) in [
            ("name: t\ntasks:\n  - environment:\n      CONTENTS: |\n        #cloud-config\n        users: []\n", true),
            ("{\"ignition\": {\"version\": \"3\"}}", true),
            ("d-i passwd/root-password-crypted password x", true),
            (HASH, true),
            ("$y$j9T$abcdefghij$klmnopqrstuvwxyz0123456789ABCDEFGHIJ", true),
            ("$2b$12$abcdefghijklmnopqrstuvwxyz0123456789", true),
            ("password: hunter2", true),
            ("  \"pwhash\": \"x\"", true),
            ("a=1 registry_password=x", true),
            ("ROOT_PASSWORD=x", true),
            ("password:", false),
            ("name: t\ntasks:\n  - name: os\n    image: image2disk:v1\n", false),
            ("the cost is $6$ or $5", false),
            ("{{ $x := 1 }}{{ $y }}", false),
            ("console=ttyS0,115200", false),
            ("https://host/path?x=1", false),
            ("tokens: three", false),
        ] {
            assert_eq!(mask("templates", json!({"spec": {"data": text}}))["spec"]["data"] == MASKED, secret, "{text:?}");
        }
    }

    #[test]
    fn what_has_no_secret_is_unchanged() {
        for object in [
            json!(null),
            json!([1, "x", {"a": null}]),
            json!({"spec": {"userData": ""}}),
            json!({"spec": {"userData": null}}),
            json!("x"),
        ] {
            assert_eq!(mask("hardware", object.clone()), object);
        }
    }
}
