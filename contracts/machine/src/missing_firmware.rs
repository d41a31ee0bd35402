//! A firmware file that a driver asked for and that is missing, in the form of [`crate::files::FIRMWARE_MISSING`].

use std::fmt;

/// A line is `FILE DRIVER DEVICE` with tabs between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingFirmware<'a> {
    pub file: &'a str,
    /// The driver, as the kernel names it in front of the device.
    pub driver: &'a str,
    pub device: &'a str,
}

impl<'a> MissingFirmware<'a> {
    pub fn render(&self) -> String {
        format!("{}\t{}\t{}\n", self.file, self.driver, self.device)
    }

    /// Lines of another form are left out.
    pub fn parse(text: &'a str) -> impl Iterator<Item = Self> {
        text.lines().filter_map(|line| {
            let mut fields = line.split('\t');
            Some(Self { file: fields.next()?, driver: fields.next()?, device: fields.next()? })
        })
    }
}

impl fmt::Display for MissingFirmware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "firmware missing: {} needed by {} ({})", self.file, self.driver, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let missing = MissingFirmware { file: "b/x.bin", driver: "bnx2", device: "0000:03:00.0" };
        assert_eq!(missing.render(), "b/x.bin\tbnx2\t0000:03:00.0\n");
        let file = missing.render() + "cut off\tby\n";
        assert_eq!(MissingFirmware::parse(&file).collect::<Vec<_>>(), [missing]);
    }
}
