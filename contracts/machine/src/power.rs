//! How a machine ends. An action leaves the request as a file, the agent passes it on by its exit code, PID 1 does it.

use crate::exit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Reboot,
    Off,
    /// Starts the kernel that an action has loaded. If that fails the machine reboots.
    Kexec,
}

impl Power {
    /// Power-off wins over a reboot, and a reboot over a loaded kernel.
    pub const ALL: [Self; 3] = [Self::Off, Self::Reboot, Self::Kexec];

    /// The request as a file in [`crate::files::WORKER`].
    pub fn file(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Off => "poweroff",
            Self::Kexec => "kexec",
        }
    }

    /// The request as the agent's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Reboot => exit::REBOOT,
            Self::Off => exit::POWER_OFF,
            Self::Kexec => exit::KEXEC,
        }
    }

    pub fn of_exit_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|power| i32::from(power.exit_code()) == code)
    }

    /// After "asked for".
    pub fn what(self) -> &'static str {
        match self {
            Self::Reboot => "a reboot",
            Self::Off => "power-off",
            Self::Kexec => "a start of the kernel it loaded (kexec)",
        }
    }

    /// What the machine is doing while it ends.
    pub fn doing(self) -> &'static str {
        match self {
            Self::Reboot => "rebooting",
            Self::Off => "powering off",
            Self::Kexec => "starting the loaded kernel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_file_and_an_exit_code_that_leads_back_to_it() {
        for (power, file, code) in [(Power::Off, "poweroff", 81), (Power::Reboot, "reboot", 80), (Power::Kexec, "kexec", 82)] {
            assert_eq!((power.file(), i32::from(power.exit_code())), (file, code));
            assert_eq!(Power::of_exit_code(code), Some(power));
        }
        assert_eq!(Power::of_exit_code(0), None);
    }
}
