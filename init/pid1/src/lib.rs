//! PID 1 of the machine being installed: mounts, drivers, network, supervision of the agent, power.
//!
//! PID 1 is synchronous and has a single thread. Nothing here panics. If something did, [`fatal`] would report it before
//! the kernel does. Code that parses bytes from the network runs in another process ([`network`]).

pub mod agent_env;
pub mod boot;
mod build_date;
pub mod cgroups;
pub mod clock;
pub mod console;
pub mod crash_report;
pub mod devices;
pub mod entropy;
pub mod fatal;
pub mod files;
pub mod kernel;
pub mod kmsg;
pub mod manifest;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod panel;
pub mod power;
pub mod power_button;
pub mod pressure;
pub mod ready;
pub mod rescue;
pub mod rootfs;
pub mod screen;
pub mod service;
pub mod services;
pub mod settings;
pub mod site;
mod spare_drivers;
mod spawn;
pub mod status;
mod stuck;
pub mod supervise;
mod sys;
pub mod syslog;
pub mod watchdog;
pub mod zram;

/// Why a step failed. The step's name is put in front of it.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// An I/O error with the operation and the path, or whatever else the system call was about.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct PathError {
    pub doing: &'static str,
    pub path: String,
    #[source]
    pub source: std::io::Error,
}

impl PathError {
    pub fn new<E: Into<std::io::Error>>(doing: &'static str, path: impl AsRef<std::path::Path>) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self { doing, path, source: source.into() }
    }
}
