//! Datagrams with descriptors, between the agent and its launcher.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Room for a path of the longest kind and an id.
const BYTES_MAX: usize = 8 << 10;
/// The three streams of a container.
pub const DESCRIPTORS_MAX: usize = 3;

/// Two connected sockets, which exec closes.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

#[derive(Debug, Default)]
pub struct Datagram {
    pub bytes: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// Sends a datagram. If the peer is gone, that is an error, never a signal.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next datagram, or nothing if the peer is gone.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Datagram>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; BYTES_MAX];
    let got = match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
        Err(Errno::CONNRESET) => return Ok(None), // it ended before it read the last datagram
        other => other?,
    };
    bytes.truncate(got.bytes);
    let mut datagram = Datagram { bytes, descriptors: Vec::new() };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            datagram.descriptors.extend(descriptors);
        }
    }
    Ok(Some(datagram).filter(|datagram| !datagram.bytes.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_peer_that_ended_without_reading_is_gone() {
        let (ours, theirs) = pair().unwrap();
        send(&ours, b"an answer", &[]).unwrap();
        drop(theirs);
        assert!(receive(&ours).unwrap().is_none());
    }

    #[test]
    fn descriptors_arrive_with_their_datagram_and_the_end_is_detected() {
        let (ours, theirs) = pair().unwrap();
        let (read, write) = std::io::pipe().unwrap();
        send(&ours, b"first", &[write.as_fd()]).unwrap();
        send(&ours, b"second", &[]).unwrap();
        drop((ours, write));
        let first = receive(&theirs).unwrap().unwrap();
        assert_eq!((&*first.bytes, first.descriptors.len()), (&b"first"[..], 1));
        let second = receive(&theirs).unwrap().unwrap();
        assert_eq!((&*second.bytes, second.descriptors.len()), (&b"second"[..], 0));
        assert!(receive(&theirs).unwrap().is_none());
        drop(first);
        assert_eq!(File::from(OwnedFd::from(read)).read(&mut [0]).unwrap(), 0, "the last copy of the pipe is gone");
    }
}
