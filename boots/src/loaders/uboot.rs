//! The script that U-Boot's distribution boot asks for. It leaves the work to `pxe`, which reads PXELINUX's configuration.

use super::words::plain;
use super::{Made, NotMade};
use crate::{BootInterface, BootState};

const MAGIC: u32 = 0x2705_1956;
const LINUX: u8 = 5;
const ARM64: u8 = 22;
const SCRIPT: u8 = 6;
const NAME: &[u8; 32] = b"thimble\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

pub fn script(machine: &BootInterface) -> Result<Made, NotMade> {
    let said = format!("echo 'thimble: {} {}: {}'\n", plain(&machine.name), machine.mac, plain(machine.boot.reason()));
    let text = match &machine.boot {
        BootState::Local { reason } => return Err(NotMade::Local(reason.clone())),
        BootState::Hold { .. } => said + "echo 'thimble: held; asking again in a minute'\nsleep 60\nreset\n",
        // If it fails, U-Boot goes on with its EFI leg, which gets iPXE.
        _ => said + "pxe get && pxe boot\n",
    };
    Ok(Made { bytes: image(&text), notes: Vec::new() })
}

/// U-Boot's legacy image (`include/image.h`). The data of a script begins with a list of lengths that ends in zero.
fn image(script: &str) -> Vec<u8> {
    let length = u32::try_from(script.len()).unwrap_or(0);
    let data = [&length.to_be_bytes()[..], &[0; 4], script.as_bytes()].concat();
    let size = u32::try_from(data.len()).unwrap_or(0);
    let header = |checksum: u32| {
        let words = [MAGIC, checksum, 0, size, 0, 0, crc32(&data)];
        let words: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        [&words[..], &[LINUX, ARM64, SCRIPT, 0], NAME].concat()
    };
    [header(crc32(&header(0))), data].concat()
}

/// IEEE 802.3, bit by bit: a script has a few hundred bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_checksums_of_its_header_and_its_data() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let image = image("echo x\n");
        let word = |at: usize| u32::from_be_bytes(image[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(12), image.len()), (MAGIC, 15, 64 + 15));
        assert_eq!((&image[28..32], &image[64..72]), (&[5, 22, 6, 0][..], &[0, 0, 0, 7, 0, 0, 0, 0][..]));
        let mut header = image[..64].to_vec();
        header[4..8].fill(0);
        assert_eq!((word(4), word(24)), (crc32(&header), crc32(&image[64..])));
    }
}
