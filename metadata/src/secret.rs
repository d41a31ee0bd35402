//! How a machine shows who it is, if its address cannot say so: a secret in the path, and the tokens of IMDSv2. Both follow
//! from one key, so nothing is stored for a machine. The time is an argument.

use model::ObjectName;
use ring::hmac;

/// The key of a provisioning host.
#[derive(Debug, Clone)]
pub struct Key(hmac::Key);

/// In hexadecimal digits.
const TAG: usize = 64;
const TIME: usize = 16;
/// A longer text is not a token.
pub const LONGEST_TOKEN: usize = TIME + TAG;

/// What a tag is for. A secret cannot stand for a token.
enum Use {
    Secret,
    Token(u64),
}

impl Key {
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The secret of a machine, by the name of its Hardware.
    #[must_use]
    pub fn secret(&self, name: &ObjectName) -> String {
        hex::encode(hmac::sign(&self.0, &message(name, &Use::Secret)))
    }

    #[must_use]
    pub fn is_secret(&self, name: &ObjectName, text: &str) -> bool {
        self.is_tag(name, &Use::Secret, text)
    }

    /// A token of this machine until a time, in seconds since 1970.
    #[must_use]
    pub fn token(&self, name: &ObjectName, until: u64) -> String {
        format!("{until:016x}{}", hex::encode(hmac::sign(&self.0, &message(name, &Use::Token(until)))))
    }

    /// Whether it is a token of this machine which is still valid.
    #[must_use]
    pub fn is_token(&self, name: &ObjectName, text: &str, now: u64) -> bool {
        let Some((time, tag)) = text.split_at_checked(TIME) else { return false };
        let is_hex = time.bytes().all(|byte| byte.is_ascii_hexdigit());
        let until = u64::from_str_radix(time, 16).ok().filter(|until| is_hex && now < *until);
        until.is_some_and(|until| self.is_tag(name, &Use::Token(until), tag))
    }

    fn is_tag(&self, name: &ObjectName, purpose: &Use, text: &str) -> bool {
        let tag = if text.len() == TAG { hex::decode(text).ok() } else { None };
        tag.is_some_and(|tag| hmac::verify(&self.0, &message(name, purpose), &tag).is_ok())
    }
}

/// A name has no NUL, so each message has one reading.
fn message(name: &ObjectName, purpose: &Use) -> Vec<u8> {
    let purpose = match purpose {
        Use::Secret => "secret".to_owned(),
        Use::Token(until) => format!("token {until}"),
    };
    format!("{purpose}\0{}\0{}", name.namespace, name.name).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_of_one_machine_and_one_key() {
        let (key, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        let (m1, m2) = (ObjectName::new("lab", "m1"), ObjectName::new("lab", "m2"));
        let secret = key.secret(&m1);
        assert!(key.is_secret(&m1, &secret));
        assert!(!key.is_secret(&m2, &secret) && !other.is_secret(&m1, &secret));
        for wrong in ["", &secret[1..], &format!("{secret}0"), &"0".repeat(64), &key.token(&m1, u64::MAX)] {
            assert!(!key.is_secret(&m1, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_ends_at_its_time_and_is_of_one_machine() {
        let key = Key::new(&[1; 32]);
        let (m1, m2) = (ObjectName::new("lab", "m1"), ObjectName::new("lab", "m2"));
        let token = key.token(&m1, 100);
        assert!(token.len() == LONGEST_TOKEN && key.is_token(&m1, &token, 99));
        assert!(!key.is_token(&m1, &token, 100), "its time is over");
        assert!(!key.is_token(&m2, &token, 1), "of another machine");
        let longer = format!("{:016x}{}", 200, &token[16..]);
        for wrong in ["", "é", &longer, &key.secret(&m1), &token[..79], &format!("+00000000000000{}", &token[15..])] {
            assert!(!key.is_token(&m1, wrong, 1), "{wrong:?}");
        }
    }
}
