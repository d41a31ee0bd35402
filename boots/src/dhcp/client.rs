//! The client of a request: a row of the table of firmware, and the architectures that the request names.

use std::fmt;

use dhcp::v4::Packet;

use super::firmware::{self, Firmware, Wants};
use crate::ipxe::Arch;

#[derive(Clone)]
pub struct Client {
    pub firmware: &'static Firmware,
    pub archs: Vec<Arch>,
    /// Whether an iPXE says that it can (option 175.20). `None` if it lists no features.
    pub speaks_https: Option<bool>,
}

impl Client {
    #[must_use]
    pub fn of(request: &Packet) -> Self {
        let archs = archs(request);
        Self { firmware: firmware::row(request, &archs), speaks_https: firmware::speaks_https(request), archs }
    }

    /// It does not boot from the network.
    #[must_use]
    pub fn wants_address(&self) -> bool {
        self.firmware.wants == Wants::Address
    }

    /// A line for the operator about firmware that boots cannot help.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let archs = self.numbers();
        (self.firmware.wants == Wants::Unknown).then(|| {
            format!(
                "no boot program is known for architecture {archs} (option 93), so it gets its address only; \
                 netboot.ipxe.binary in its Hardware can name one"
            )
        })
    }

    fn numbers(&self) -> String {
        let numbers: Vec<String> = self.archs.iter().take(8).map(|arch| arch.0.to_string()).collect();
        numbers.join(",")
    }
}

/// From option 93, else from option 60 (`PXEClient:Arch:00007:…`), else a PC's BIOS.
fn archs(request: &Packet) -> Vec<Arch> {
    let listed = request.client_archs();
    if !listed.is_empty() {
        return listed.into_iter().map(Arch).collect();
    }
    let class = std::str::from_utf8(request.vendor_class()).unwrap_or_default();
    let named = class.split(':').skip_while(|part| *part != "Arch").nth(1).and_then(|arch| arch.parse().ok());
    vec![Arch(named.unwrap_or(0))]
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.firmware.name)?;
        match self.firmware.wants {
            Wants::Address => Ok(()),
            _ => write!(f, " arch {}", self.numbers()),
        }
    }
}
