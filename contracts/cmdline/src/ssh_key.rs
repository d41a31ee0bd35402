//! `ssh_key=`: an SSH public key, as OpenSSH writes it, or its base64 part alone, which needs no quotes.

use std::fmt;
use std::str::FromStr;

/// How the base64 of each type begins: the type's name is encoded first (RFC 4253, 6.6).
const TYPES: [(&str, &str); 7] = [
    ("AAAAC3NzaC1lZDI1NTE5", "ssh-ed25519"),
    ("AAAAB3NzaC1yc2E", "ssh-rsa"),
    ("AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY", "ecdsa-sha2-nistp256"),
    ("AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ", "ecdsa-sha2-nistp384"),
    ("AAAAE2VjZHNhLXNoYTItbmlzdHA1MjE", "ecdsa-sha2-nistp521"),
    ("AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t", "sk-ssh-ed25519@openssh.com"),
    ("AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20", "sk-ecdsa-sha2-nistp256@openssh.com"),
];

/// Shown and rendered as its base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an SSH public key (expected ssh-ed25519 AAAA..., or AAAA... alone)")]
pub struct NotAnSshKey;

impl SshKey {
    /// A line of `authorized_keys`.
    pub fn line(&self) -> String {
        let kind = TYPES.iter().find(|(start, _)| self.0.starts_with(start)).map_or("", |(_, kind)| kind);
        format!("{kind} {}\n", self.0)
    }
}

impl FromStr for SshKey {
    type Err = NotAnSshKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_base64 = |word: &&str| word.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'='));
        let key = text.split_whitespace().find(|word| TYPES.iter().any(|(start, _)| word.starts_with(start)));
        key.filter(is_base64).map(|key| Self(key.to_owned())).ok_or(NotAnSshKey)
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn a_key_is_taken_with_or_without_type_and_comment() {
        for text in [format!("ssh-ed25519 {BLOB} me@here"), BLOB.to_owned(), format!("restrict ssh-ed25519 {BLOB}")] {
            let key: SshKey = text.parse().unwrap();
            assert_eq!(key.line(), format!("ssh-ed25519 {BLOB}\n"));
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for text in ["", "http://10.0.0.1/key", "AAAA", "ssh-ed25519", &format!("{BLOB}\u{7f}"), &format!("{BLOB};reboot")] {
            assert_eq!(text.parse::<SshKey>(), Err(NotAnSshKey), "{text}");
        }
    }
}
