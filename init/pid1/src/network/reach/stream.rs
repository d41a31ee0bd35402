//! One question to a name server over TCP (RFC 7766), for an answer that does not fit into a UDP packet. Each message is
//! preceded by its length (RFC 1035, 4.2.2).

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

const LENGTH: usize = 2;

/// It never blocks, so the connection may still be in progress.
pub struct Stream {
    socket: TcpStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Stream {
    pub fn new(socket: TcpStream, question: &[u8]) -> Self {
        let length = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes();
        Self { socket, unsent: [&length, question].concat(), received: Vec::new() }
    }

    /// The complete answer, or `None` if it is not complete yet.
    pub fn turn(&mut self) -> io::Result<Option<&[u8]>> {
        self.send()?;
        while self.missing() > 0 {
            let mut buffer = [0; 1024];
            let wanted = self.missing().min(buffer.len());
            let result = self.socket.read(buffer.get_mut(..wanted).unwrap_or_default());
            match result {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.received.get(LENGTH..))
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How many bytes are missing: first of the length, then of the message.
    fn missing(&self) -> usize {
        let length = self.received.first_chunk::<LENGTH>().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        (LENGTH + length).saturating_sub(self.received.len())
    }

    pub fn wants_to_write(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_arrives_in_pieces_and_its_length_bounds_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut stream = Stream::new(socket, b"who?");
        assert_eq!(stream.turn().unwrap(), None);
        assert!(!stream.wants_to_write());
        let (mut server, _) = listener.accept().unwrap();
        let mut question = [0; 6];
        server.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"\0\x04who?");
        for piece in [&b"\0"[..], b"\x02", b"m", b"e and more"] {
            assert_eq!(stream.turn().unwrap(), None);
            server.write_all(piece).unwrap();
        }
        let answer = (0..1000).find_map(|_| stream.turn().unwrap().map(<[u8]>::to_vec));
        assert_eq!(answer.as_deref(), Some(&b"me"[..]));
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = Stream::new(socket, b"who?");
        drop(listener.accept().unwrap());
        assert!(stream.turn().is_err());
    }
}
