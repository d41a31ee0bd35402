//! ATA: the security feature set, by which a disk erases itself (ACS-4, sections 4.20 and 7.47 to 7.53). Pure; `sys` sends the
//! commands by SCSI's ATA PASS-THROUGH (16) (SAT-4, 12.2).

pub const IDENTIFY_LENGTH: usize = 512;
const SECURITY: usize = 128;
const TIMES: [usize; 2] = [89, 90];
/// A disk that loses its power while it erases itself is locked by it.
pub const PASSWORD: &str = "thimble";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    supported: bool,
    enabled: bool,
    locked: bool,
    frozen: bool,
    expired: bool,
    enhanced: bool,
    /// In minutes; normal and enhanced. 0 is not reported.
    minutes: [u32; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erase {
    pub enhanced: bool,
    /// The disk's own estimate.
    pub minutes: u32,
}

/// How the data of a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    None,
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Identify,
    SetPassword,
    ErasePrepare,
    EraseUnit,
    DisablePassword,
}

impl Command {
    pub fn data(self) -> Data {
        match self {
            Self::Identify => Data::In,
            Self::ErasePrepare => Data::None,
            Self::SetPassword | Self::EraseUnit | Self::DisablePassword => Data::Out,
        }
    }

    /// The CDB.
    pub fn block(self) -> [u8; 16] {
        // Protocol; direction, blocks, and the length in the sector count; and that count.
        let (protocol, flags, sectors) = match self.data() {
            Data::None => (3, 0, 0),
            Data::In => (4, 0x0e, 1),
            Data::Out => (5, 0x06, 1),
        };
        let command = match self {
            Self::Identify => 0xec,
            Self::SetPassword => 0xf1,
            Self::ErasePrepare => 0xf3,
            Self::EraseUnit => 0xf4,
            Self::DisablePassword => 0xf6,
        };
        [0x85, protocol << 1, flags, 0, 0, 0, sectors, 0, 0, 0, 0, 0, 0, 0, command, 0]
    }
}

/// The data of the commands with a password, which is the user's. Bit 1 of the first word is the mode of SECURITY ERASE UNIT (ACS-4,
/// 7.48); the other commands have no such bit.
pub fn password(command: Command, enhanced: bool) -> [u8; IDENTIFY_LENGTH] {
    let mut data = [0; IDENTIFY_LENGTH];
    for (place, byte) in data.iter_mut().skip(2).zip(PASSWORD.bytes()) {
        *place = byte;
    }
    if let Some(first) = data.first_mut() {
        *first = if enhanced && command == Command::EraseUnit { 2 } else { 0 };
    }
    data
}

/// Reads the answer of IDENTIFY DEVICE. `None` if it is cut.
pub fn security(identify: &[u8]) -> Option<Security> {
    let word = |at: usize| Some(u16::from_le_bytes([*identify.get(at * 2)?, *identify.get(at * 2 + 1)?]));
    let bits = word(SECURITY)?;
    let is = |bit: u16| bits & 1 << bit != 0;
    let time = |at| {
        let word = word(at)?;
        // In units of two minutes, with 15 bits or with 8.
        Some(u32::from(if word & 1 << 15 != 0 { word & 0x7fff } else { word & 0xff }) * 2)
    };
    let [normal, enhanced] = TIMES;
    Some(Security {
        supported: is(0),
        enabled: is(1),
        locked: is(2),
        frozen: is(3),
        expired: is(4),
        enhanced: is(5),
        minutes: [time(normal)?, time(enhanced)?],
    })
}

impl Security {
    /// # Errors
    /// Why it cannot erase itself, as a sentence.
    pub fn erase(&self) -> Result<Erase, &'static str> {
        let Self { supported, enabled, locked, frozen, expired, enhanced, minutes } = *self;
        match () {
            () if !supported => Err("it has no ATA security"),
            () if frozen => {
                Err("its firmware has frozen ATA security: plug the disk in while the machine runs, or suspend and resume")
            }
            () if locked => Err("it is locked by a password"),
            () if expired => Err("its count of attempts is used up: switch it off and on"),
            () if enabled => Err("it has a password already, which is not known: hdparm --security-disable"),
            () => {
                let [normal, better] = minutes;
                Ok(Erase { enhanced, minutes: if enhanced { better } else { normal } })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words 89, 90 and 128 as disks report them.
    fn identified(normal: u16, enhanced: u16, bits: u16) -> Security {
        let mut data = [0u8; IDENTIFY_LENGTH];
        for (word, value) in [(89, normal), (90, enhanced), (128, bits)] {
            data[word * 2..word * 2 + 2].copy_from_slice(&u16::to_le_bytes(value));
        }
        security(&data).unwrap()
    }

    #[test]
    fn a_disk_that_can_erase_itself_says_how_long_it_takes() {
        for (case, security, expected) in [
            ("Samsung 860 EVO", identified(0x0002, 0x0004, 0x0021), Ok(Erase { enhanced: true, minutes: 8 })),
            ("WD40EFRX", identified(0x81f8 | 0x8000, 0, 0x0001), Ok(Erase { enhanced: false, minutes: 0x1f8 * 2 })),
            ("QEMU", identified(0, 0, 0), Err("it has no ATA security")),
            ("frozen by the firmware", identified(2, 2, 0x0029), Err("its firmware has frozen ATA security")),
            ("locked", identified(2, 2, 0x0007), Err("it is locked")),
            ("with a password", identified(2, 2, 0x0003), Err("it has a password already")),
            ("after five attempts", identified(2, 2, 0x0011), Err("its count of attempts")),
        ] {
            match (security.erase(), expected) {
                (Ok(erase), Ok(wanted)) => assert_eq!(erase, wanted, "{case}"),
                (Err(error), Err(words)) => assert!(error.starts_with(words), "{case}: {error}"),
                (found, _) => panic!("{case}: {found:?}"),
            }
        }
        assert_eq!(security(&[0; 256]), None);
    }

    #[test]
    fn commands_are_those_of_hdparm() {
        assert_eq!(Command::Identify.block()[..3], [0x85, 0x08, 0x0e]);
        assert_eq!((Command::EraseUnit.block()[14], Command::EraseUnit.block()[1]), (0xf4, 0x0a));
        assert_eq!((Command::ErasePrepare.block()[14], Command::ErasePrepare.block()[6]), (0xf3, 0));
        let first = |command, enhanced| password(command, enhanced)[..2].to_vec();
        assert_eq!(first(Command::EraseUnit, true), [2, 0]);
        assert_eq!(first(Command::EraseUnit, false), [0, 0]);
        // The user's password, with the master's at high security.
        assert_eq!((first(Command::SetPassword, true), first(Command::DisablePassword, true)), (vec![0, 0], vec![0, 0]));
        assert_eq!(&password(Command::SetPassword, true)[2..10], b"thimble\0");
    }
}
