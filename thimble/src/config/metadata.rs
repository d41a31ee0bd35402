//! The settings of metadata, and of the images that machines fetch.

use std::net::SocketAddr;

use boots::Proof;
use machine::ports;

use super::{any_address, list};

/// What installed machines may ask about themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Beside the port of HTTP.
    pub listen: Vec<SocketAddr>,
    pub proof: Proof,
    pub proxies: Vec<server::Network>,
}

pub fn is_web(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

pub fn checked(
    listen: Option<&str>,
    proof: Option<&str>,
    proxies: Vec<server::Network>,
    mistakes: &mut Vec<String>,
) -> Option<Metadata> {
    let proof = match proof {
        None | Some("address") => Proof::Address,
        Some("token") => Proof::Token,
        Some("secret") => Proof::Secret,
        Some(other) => {
            mistakes.push(format!("metadata-proof: {other:?} is not address, token or secret"));
            Proof::Secret
        }
    };
    let listen = match listen {
        None => vec![any_address(ports::METADATA)],
        Some("none") => return None,
        Some(text) => {
            let mut listen = Vec::new();
            for text in list(Some(text)) {
                match text.parse() {
                    Ok(address) => listen.push(address),
                    Err(_) => mistakes.push(format!("metadata: {text:?} is not IP:PORT; `none` serves no metadata")),
                }
            }
            listen
        }
    };
    Some(Metadata { listen, proof, proxies })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_on_tootles_port_unless_the_settings_say_otherwise() {
        for (text, expected) in [
            (None, Some(vec!["[::]:50061"])),
            (Some("none"), None),
            (Some(""), Some(vec![])),
            (Some("0.0.0.0:50061, 169.254.169.254:80"), Some(vec!["0.0.0.0:50061", "169.254.169.254:80"])),
        ] {
            let found = checked(text, None, Vec::new(), &mut Vec::new());
            let found = found.map(|found| found.listen.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(found, expected.map(|texts| texts.into_iter().map(str::to_owned).collect()), "{text:?}");
        }
    }
}
