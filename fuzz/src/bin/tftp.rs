//! Any packet is handled without a panic, and any order of acknowledgements keeps a transfer inside its file.
#![no_main]

use std::time::{Duration, Instant};

use boots::tftp::packet::{Packet, error};
use boots::tftp::{Step, Transfer, agree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&[b"\0\x01ipxe.efi\0octet\0windowsize\x008\0", bytes].concat());
});

fn check(bytes: &[u8]) {
    match Packet::decode(bytes) {
        Ok(Packet::Read { path, options }) => {
            let _ =
                boots::ipxe::base_name(path).inspect(|name| assert!(!name.contains('/') && *name != ".." && !name.is_empty()));
            let size = bytes.len() as u64 * 37;
            follow(Transfer::new(&agree(&options, size, 1468), size, Instant::now()), size, bytes);
        }
        Ok(Packet::Error { code, message }) => drop(error(code, &message)),
        Ok(Packet::Write { .. } | Packet::Ack { .. }) | Err(_) => {}
    }
}

/// The same bytes as the actions of a client: an acknowledgement, or nothing until the timer ends.
fn follow(mut transfer: Transfer, size: u64, bytes: &[u8]) {
    let mut step = transfer.start();
    let mut now = Instant::now();
    for pair in bytes.chunks_exact(2) {
        match &step {
            Step::Send(blocks) => {
                assert!(blocks.start >= 1 && blocks.start < blocks.end && blocks.end - blocks.start <= 64, "{blocks:?}");
                assert!(blocks.clone().all(|block| transfer.bytes_of(block).end <= size));
            }
            Step::Done | Step::GiveUp => return,
            Step::SendOptions | Step::Wait => {}
        }
        let ack = u16::from_be_bytes([pair[0] & 3, pair[1]]);
        now += Duration::from_millis(u64::from(pair[0] & 0x7f));
        step = if pair[0] & 0x80 == 0 { transfer.on_ack(ack, now) } else { transfer.on_timeout(now.max(transfer.deadline())) };
    }
}
