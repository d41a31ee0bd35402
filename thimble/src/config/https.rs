//! The settings `https`, `https-certificate` and `https-key`: files and scripts by TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use boots::http::Files;
use machine::ports;

/// HTTPS, which is on if there is a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Https {
    pub listen: SocketAddr,
    pub files: Files,
}

/// Adds a mistake for a setting that has no effect without a certificate.
pub fn checked(
    listen: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    mistakes: &mut Vec<String>,
) -> Option<Https> {
    let Some(certificate) = certificate else {
        let others = [("https", listen.is_some()), ("https-key", key.is_some())];
        for (name, _) in others.iter().filter(|(_, is_given)| *is_given) {
            mistakes.push(format!("{name}: HTTPS needs a certificate, which https-certificate names"));
        }
        return None;
    };
    let key = key.unwrap_or_else(|| certificate.clone());
    let listen = listen.unwrap_or_else(|| super::any_address(ports::HTTPS));
    Some(Https { listen, files: Files { certificate, key } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_switches_https_on() {
        let with = |listen: Option<&str>, certificate: Option<&str>, key: Option<&str>| {
            let mut mistakes = Vec::new();
            let listen = listen.map(|text| text.parse().unwrap());
            let https = checked(listen, certificate.map(Into::into), key.map(Into::into), &mut mistakes);
            let shown = https.map(|Https { listen, files }| format!("{listen} {}", files.key.display()));
            (shown.unwrap_or_default(), mistakes.len())
        };
        for (listen, certificate, key, shown, mistakes) in [
            (None, None, None, "", 0),
            (None, Some("/c"), Some("/k"), "[::]:7443 /k", 0),
            (None, Some("/c"), None, "[::]:7443 /c", 0),
            (Some("10.0.0.1:443"), Some("/c"), None, "10.0.0.1:443 /c", 0),
            (Some("10.0.0.1:443"), None, Some("/k"), "", 2),
        ] {
            assert_eq!(with(listen, certificate, key), (shown.to_owned(), mistakes), "{listen:?} {certificate:?} {key:?}");
        }
    }
}
