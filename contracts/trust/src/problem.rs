//! What is wrong with a server's certificate, in the words of the operator who has to mend it.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, OtherError};

/// How many names a message shows, and how much of each.
const NAMES_SHOWN: usize = 5;
const NAME_SHOWN: usize = 80;

/// Reasons for which the TLS library has no name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is self-signed and is not one of the certificates that this machine was given")]
    SelfSigned,
    #[error("its RSA key has {0} bits, and at least 2048 are needed")]
    ShortKey(usize),
}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// What the verifier says, from inside the errors of a connection.
pub fn of_certificate(error: &(dyn Error + 'static)) -> Option<CertificateError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
            return Some(problem.clone());
        }
        // An io::Error carries an error, and gives the cause of that error as its source.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Whether it may mend itself, because the machine's clock may still be set.
pub fn may_pass(problem: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(problem, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// One clause about the certificate ("it ...").
pub fn words(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => "its issuer is unknown to this machine".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it has expired on {}, and this machine's clock shows {}", date(*not_after), date(*time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("it is not valid before {}, and this machine's clock shows {}", date(*not_before), date(*time))
        }
        CertificateError::NotValidForNameContext { expected, presented } => wrong_name(expected, presented),
        CertificateError::BadEncoding => "it cannot be read as a certificate".to_owned(),
        CertificateError::BadSignature => "a signature on it or with it is wrong".to_owned(),
        CertificateError::UnhandledCriticalExtension => "it has a critical extension that is unknown here".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extendedKeyUsage does not allow a server".to_owned()
        }
        CertificateError::Other(other) => other.to_string(),
        other => other.to_string(),
    }
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let printable = |name: &String| name.chars().filter(|c| !c.is_control()).take(NAME_SHOWN).collect::<String>();
    let mut names: Vec<String> = presented.iter().take(NAMES_SHOWN).map(printable).collect();
    if presented.len() > NAMES_SHOWN {
        names.push(format!("{} more", presented.len() - NAMES_SHOWN));
    }
    let names = if names.is_empty() { "no server at all".to_owned() } else { names.join(", ") };
    let (wanted, hint) = match expected {
        ServerName::IpAddress(address) => {
            let address = std::net::IpAddr::from(*address).to_string();
            let hint = format!("; its subjectAltName needs IP:{address}");
            (address, hint)
        }
        other if presented.iter().all(|name| name.starts_with("CN=")) => {
            (other.to_str().into_owned(), format!("; its subjectAltName needs DNS:{}", other.to_str()))
        }
        other => (other.to_str().into_owned(), String::new()),
    };
    format!("it is for {names} and not for {wanted}{hint}")
}

/// `2026-11-28`
fn date(time: UnixTime) -> String {
    // Civil from days, for the proleptic Gregorian calendar with years that begin in March.
    let days = i64::try_from(time.as_secs() / 86_400).unwrap_or(0) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_772_280_000, "2026-02-28"), (4_102_444_800, "2100-01-01")]
        {
            assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), want);
        }
    }

    #[test]
    fn a_wrong_name_says_what_the_certificate_is_for_and_what_it_needs() {
        let said = |expected: &str, presented: &[&str]| {
            let presented = presented.iter().map(|name| (*name).to_owned()).collect();
            let expected = ServerName::try_from(expected.to_owned()).unwrap();
            words(&CertificateError::NotValidForNameContext { expected, presented })
        };
        for (expected, presented, want) in [
            ("a.example", &["DNS:b.example"][..], "it is for DNS:b.example and not for a.example"),
            (
                "a.example",
                &["CN=a.example"],
                "it is for CN=a.example and not for a.example; its subjectAltName needs DNS:a.example",
            ),
            ("10.0.0.1", &["DNS:10.0.0.1"], "it is for DNS:10.0.0.1 and not for 10.0.0.1; its subjectAltName needs IP:10.0.0.1"),
            ("a.example", &[], "it is for no server at all and not for a.example; its subjectAltName needs DNS:a.example"),
            ("a.example", &["DNS:b"; 9], "it is for DNS:b, DNS:b, DNS:b, DNS:b, DNS:b, 4 more and not for a.example"),
        ] {
            assert_eq!(said(expected, presented), want);
        }
    }
}
