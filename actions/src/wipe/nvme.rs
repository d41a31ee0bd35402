//! NVMe: what a disk says of itself, and the commands that erase it (NVM Express base specification 2.0, sections 5.14, 5.17 and
//! 5.24). Pure; `sys` sends them.

use super::ErasedBy;

pub const IDENTIFY: u8 = 0x06;
pub const GET_LOG: u8 = 0x02;
const FORMAT: u8 = 0x80;
const SANITIZE: u8 = 0x84;
pub const IDENTIFY_LENGTH: usize = 4096;
/// The status of a sanitize operation.
pub const SANITIZE_LOG: u32 = 0x81;
pub const SANITIZE_LOG_LENGTH: usize = 512;
/// A format may take minutes on disks that erase block by block.
const FORMAT_MS: u32 = 3_600_000;
const COMMAND_MS: u32 = 60_000;

/// The words of an admin command that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Command {
    pub opcode: u8,
    pub namespace: u32,
    pub cdw10: u32,
    pub timeout_ms: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    format: bool,
    /// A format erases every namespace of the controller.
    formats_all: bool,
    crypto_format: bool,
    crypto: bool,
    block: bool,
    overwrite: bool,
    /// The number of the format in use, which a format keeps.
    flbas: u8,
    /// Kept, too.
    protection: u8,
    pub namespace: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sanitized {
    Done,
    Running { percent: u32 },
    Failed,
}

/// Reads both answers of Identify. `None` if they are cut.
pub fn abilities(controller: &[u8], namespace: &[u8], number: u32) -> Option<Abilities> {
    let oacs = u16::from_le_bytes([*controller.get(256)?, *controller.get(257)?]);
    let (fna, sanicap, flbas) = (*controller.get(524)?, *controller.get(328)?, *namespace.get(26)?);
    Some(Abilities {
        format: oacs & 1 << 1 != 0,
        formats_all: fna & 0b11 != 0,
        crypto_format: fna & 1 << 2 != 0,
        crypto: sanicap & 1 != 0,
        block: sanicap & 1 << 1 != 0,
        overwrite: sanicap & 1 << 2 != 0,
        flbas,
        protection: *namespace.get(29)?,
        namespace: number,
    })
}

impl Abilities {
    /// `others` are further namespaces of the controller.
    ///
    /// # Errors
    /// What it cannot do, or would do to other namespaces, as a sentence.
    pub fn format(&self, others: &[String]) -> Result<(ErasedBy, Command), String> {
        if !self.format {
            return Err("its controller has no command Format NVM".to_owned());
        }
        if self.formats_all && !others.is_empty() {
            return Err(format!("its controller formats all namespaces at once, {} too", others.join(", ")));
        }
        // Secure erase settings: 2 destroys the key of the data, 1 erases it.
        let (erased, settings) = if self.crypto_format { (ErasedBy::Key, 2) } else { (ErasedBy::Blocks, 1) };
        let format = u32::from(self.flbas & 0x1f) | u32::from(self.flbas >> 5 & 0b11) << 12;
        let protection = u32::from(self.protection & 0b111) << 5 | u32::from(self.protection >> 3 & 1) << 8;
        let cdw10 = format | protection | settings << 9;
        Ok((erased, Command { opcode: FORMAT, namespace: self.namespace, cdw10, timeout_ms: FORMAT_MS }))
    }

    /// # Errors
    /// What it cannot do, or would do to other namespaces, as a sentence.
    pub fn sanitize(&self, others: &[String]) -> Result<(ErasedBy, Command), String> {
        if !others.is_empty() {
            return Err(format!("a sanitize operation erases all namespaces of its controller, {} too", others.join(", ")));
        }
        let (erased, action) = match (self.block, self.crypto, self.overwrite) {
            (true, ..) => (ErasedBy::Blocks, 2),
            (_, true, _) => (ErasedBy::Key, 4),
            (_, _, true) => (ErasedBy::Overwriting, 3),
            _ => return Err("its controller has no sanitize operation".to_owned()),
        };
        // One pass of overwriting.
        let passes = if action == 3 { 1 << 4 } else { 0 };
        Ok((erased, Command { opcode: SANITIZE, namespace: 0, cdw10: action | passes, timeout_ms: COMMAND_MS }))
    }
}

/// The state that the sanitize status log has.
pub fn sanitized(log: &[u8]) -> Option<Sanitized> {
    let progress = u32::from(u16::from_le_bytes([*log.first()?, *log.get(1)?]));
    Some(match log.get(2)? & 0b111 {
        1 | 4 => Sanitized::Done,
        2 => Sanitized::Running { percent: progress * 100 / 65536 },
        _ => Sanitized::Failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of Identify as QEMU 7.2 and a Samsung PM9A3 have them at these places.
    fn identified(oacs: u16, fna: u8, sanicap: u8, flbas: u8) -> Abilities {
        let (mut controller, mut namespace) = (vec![0; IDENTIFY_LENGTH], vec![0; IDENTIFY_LENGTH]);
        controller[256..258].copy_from_slice(&oacs.to_le_bytes());
        (controller[524], controller[328], namespace[26]) = (fna, sanicap, flbas);
        abilities(&controller, &namespace, 1).unwrap()
    }

    #[test]
    fn a_format_keeps_the_sector_size_and_destroys_the_key_if_there_is_one() {
        let qemu = identified(0x010a, 0, 0, 4);
        assert_eq!(
            qemu.format(&[]).unwrap(),
            (ErasedBy::Blocks, Command { opcode: 0x80, namespace: 1, cdw10: 1 << 9 | 4, timeout_ms: FORMAT_MS })
        );
        let samsung = identified(0x005f, 4, 3, 0);
        assert_eq!(samsung.format(&[]).unwrap().1.cdw10, 2 << 9);
        let all = identified(0x0a, 1, 0, 0);
        let error = all.format(&["nvme0n2".to_owned()]).unwrap_err();
        assert!(error.contains("all namespaces at once, nvme0n2 too"), "{error}");
        assert!(all.format(&[]).is_ok());
        assert!(identified(0, 0, 0, 0).format(&[]).unwrap_err().contains("Format NVM"));
        assert_eq!(
            identified(0x0a, 0, 0, 0x61).format(&[]).unwrap().1.cdw10,
            1 << 9 | 3 << 12 | 1,
            "the upper bits of the format"
        );
    }

    #[test]
    fn a_sanitize_operation_is_the_strongest_that_the_disk_has() {
        for (sanicap, expected) in [(0b111, Some(2)), (0b001, Some(4)), (0b100, Some(3 | 1 << 4)), (0, None)] {
            assert_eq!(identified(0, 0, sanicap, 0).sanitize(&[]).ok().map(|(_, command)| command.cdw10), expected, "{sanicap}");
        }
        assert!(identified(0, 0, 7, 0).sanitize(&["nvme0n2".to_owned()]).is_err());
    }

    #[test]
    fn the_log_says_how_far_a_sanitize_operation_is() {
        assert_eq!(sanitized(&[0, 0x80, 2, 0]), Some(Sanitized::Running { percent: 50 }));
        assert_eq!(sanitized(&[0xff, 0xff, 1, 1]), Some(Sanitized::Done));
        assert_eq!(sanitized(&[0, 0, 3, 0]), Some(Sanitized::Failed));
        assert_eq!((sanitized(&[]), abilities(&[0; 512], &[0; 512], 1)), (None, None));
    }
}
