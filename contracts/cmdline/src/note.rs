//! What was wrong with an argument, as one line for the log.

use crate::{BondError, IpError, IpamError, NotAnHwAddr, NotAnSshKey};

/// An argument that was left out. The value is shown unless it is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("argument {argument}{}: {problem}", shown(.value))]
pub struct Note {
    pub argument: String,
    /// `None` if there is no value, or if the log must not show it.
    pub value: Option<String>,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("a value is missing")]
    NoValue,
    #[error(transparent)]
    HwAddr(#[from] NotAnHwAddr),
    #[error(transparent)]
    Ipam(#[from] IpamError),
    #[error(transparent)]
    Ip(#[from] IpError),
    #[error(transparent)]
    Bond(#[from] BondError),
    #[error(transparent)]
    SshKey(#[from] NotAnSshKey),
    #[error("not true or false")]
    NotABool,
    #[error("not a whole number from {min} to {max}")]
    NotInRange { min: i64, max: i64 },
    #[error("not HOST:PORT")]
    NotAnAuthority,
    #[error("not the name of a network interface")]
    NotAnInterface,
    #[error("expected hold, reboot or poweroff")]
    NotAnEnd,
    #[error("expected first, fallback or never")]
    NotAPlace,
    #[error("expected REGISTRY=URL[,URL] with URLs of http or https and no credentials in them")]
    NotAMirror,
    #[error("nothing of this name exists in this version")]
    Unknown,
    #[error("a kernel command line cannot carry quotes or control characters")]
    NotRenderable,
    #[error("the command line has {0} bytes, the kernel keeps {max} of them", max = crate::MAX_LEN)]
    TooLong(usize),
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!("={value}")).unwrap_or_default()
}
