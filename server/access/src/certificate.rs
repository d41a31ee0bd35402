//! The certificate that this server shows. It is renewed while the server runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use machine::Chain;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::authority::{Authority, AuthorityError, ServerIdentity};
use crate::names::Names;

/// How often the days are looked at. A host may sleep, and its clock may be set.
const LOOK: Duration = Duration::from_secs(600);

pub struct ServerCertificate {
    authority: Arc<Authority>,
    current: RwLock<Shown>,
}

struct Shown {
    names: Names,
    identity: ServerIdentity,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ServerCertificate").finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// # Errors
    /// If no certificate can be made.
    pub fn new(authority: Arc<Authority>, names: Names, now: Timestamp) -> Result<Self, AuthorityError> {
        let identity = authority.server(&names, now)?;
        Ok(Self { authority, current: RwLock::new(Shown { names, identity }) })
    }

    /// Renews the certificate if it is time, and returns whether it was. Open connections keep the old one.
    ///
    /// # Errors
    /// If no certificate can be made. The old one stays.
    pub fn renew_if_due(&self, now: Timestamp) -> Result<bool, AuthorityError> {
        let names = {
            let Shown { names, identity } = &*self.current.read().unwrap_or_else(PoisonError::into_inner);
            if !is_due(identity.not_before, identity.not_after, now) {
                return Ok(false);
            }
            names.clone()
        };
        self.show(names, now).map(|()| true)
    }

    /// Makes one for these names, if the current one is for others, and returns whether it was. Open connections keep the old one.
    ///
    /// # Errors
    /// If no certificate can be made. The old one stays.
    pub fn cover(&self, names: &Names, now: Timestamp) -> Result<bool, AuthorityError> {
        if self.current.read().unwrap_or_else(PoisonError::into_inner).names == *names {
            return Ok(false);
        }
        self.show(names.clone(), now).map(|()| true)
    }

    fn show(&self, names: Names, now: Timestamp) -> Result<(), AuthorityError> {
        let identity = self.authority.server(&names, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Shown { names, identity };
        Ok(())
    }

    /// Keeps it fresh, for as long as the program runs.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.renew_if_due(Timestamp::now()) {
                Ok(true) => log::info!("the server's certificate was renewed"),
                Ok(false) => {}
                Err(error) => log::error!("the server's certificate cannot be renewed: {}", Chain(&error)),
            }
        }
    }
}

/// After half of its life, so that a machine that boots now has weeks. Also when the clock was set back before its begin.
fn is_due(begin: Timestamp, end: Timestamp, now: Timestamp) -> bool {
    let life = end.as_second() - begin.as_second();
    now < begin || now.as_second() - begin.as_second() >= life / 2
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).identity.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    #[test]
    fn a_certificate_is_due_before_two_thirds_of_its_life() {
        let due = |now| is_due(at(0), at(90 * DAY), at(now));
        for (case, now, expected) in [
            ("fresh", 0, false),
            ("a month", 30 * DAY, false),
            ("half", 45 * DAY, true),
            ("two thirds", 60 * DAY, true),
            ("expired while the host slept", 100 * DAY, true),
            ("the clock was set back", -1, true),
        ] {
            assert_eq!(due(now), expected, "{case}");
        }
    }

    #[test]
    fn it_is_renewed_while_the_server_runs() {
        let authority = Arc::new(Authority::make(at(0)).unwrap());
        let certificate = ServerCertificate::new(authority, Names::local(), at(0)).unwrap();
        let shown = || certificate.current.read().unwrap().identity.key.cert.first().unwrap().to_vec();
        let first = shown();
        assert!(!certificate.renew_if_due(at(30 * DAY)).unwrap());
        assert_eq!(shown(), first);
        assert!(certificate.renew_if_due(at(50 * DAY)).unwrap());
        let second = shown();
        assert!(second != first && !certificate.renew_if_due(at(51 * DAY)).unwrap());
        assert!(certificate.renew_if_due(at(-400 * DAY)).unwrap(), "the clock was far ahead before");
        assert_ne!(shown(), second);
    }

    #[test]
    fn new_names_of_the_host_come_into_it() {
        let authority = Arc::new(Authority::make(at(0)).unwrap());
        let certificate = ServerCertificate::new(authority, Names::local(), at(0)).unwrap();
        let mut names = Names::local();
        assert!(!certificate.cover(&names, at(1)).unwrap(), "the same names");
        names.add("192.0.2.7").unwrap();
        assert!(certificate.cover(&names, at(1)).unwrap());
        let shown = certificate.current.read().unwrap().identity.key.cert.first().unwrap().to_vec();
        let read = trust::x509::Certificate::parse(&shown).unwrap();
        assert!(read.names().contains(&"IP:192.0.2.7".to_owned()), "{:?}", read.names());
        assert!(certificate.renew_if_due(at(80 * DAY)).unwrap() && !certificate.cover(&names, at(81 * DAY)).unwrap());
    }
}
