//! Load for TFTP servers: `tftp_load ADDRESS:PORT FILE CLIENTS WINDOW SECONDS LOSS` fetches the file with blocks of 1468 bytes
//! by this many clients at once, and prints `BYTES SECONDS FINISHED`. LOSS percent of the data counts as lost on its way.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const BLOCK: usize = 1468;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Clone)]
struct Load {
    server: SocketAddr,
    file: String,
    window: u64,
    until: Instant,
    loss: u64,
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [server, file, clients, window, seconds, loss] = words.as_slice() else {
        return Err("tftp_load ADDRESS:PORT FILE CLIENTS WINDOW SECONDS LOSS".into());
    };
    let started = Instant::now();
    let load = Load {
        server: server.parse()?,
        file: file.clone(),
        window: window.parse()?,
        until: started + Duration::from_secs(seconds.parse()?),
        loss: loss.parse()?,
    };
    let clients: Vec<_> = (0..clients.parse::<u64>()?)
        .map(|number| {
            let load = load.clone();
            std::thread::spawn(move || load.fetch(number))
        })
        .collect();
    let (mut bytes, mut finished) = (0, 0);
    for client in clients {
        let (received, is_whole) = client.join().map_err(|_| "a client failed")??;
        bytes += received;
        finished += u64::from(is_whole);
    }
    println!("{bytes} {:.3} {finished}", started.elapsed().as_secs_f64());
    Ok(())
}

impl Load {
    /// Acknowledges as RFC 7440 asks: at a window's end, and the last good block where one is missing.
    fn fetch(&self, number: u64) -> Outcome<(u64, bool)> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(1000)))?;
        let window = self.window.to_string();
        let words = [self.file.as_str(), "octet", "blksize", "1468", "windowsize", &window];
        let words = if self.window > 1 { &words[..] } else { &words[..4] };
        let request: Vec<u8> =
            [&[0, 1][..], &words.iter().flat_map(|word| [word.as_bytes(), b"\0"]).collect::<Vec<_>>().concat()].concat();
        socket.send_to(&request, self.server)?;
        let (mut buffer, mut random) = ([0; 2048], 0x9e37_79b9_7f4a_7c15 ^ (number + 1));
        let (mut next, mut bytes, mut last, mut complained, mut is_connected) = (1_u64, 0, 0, 0, false);
        loop {
            if Instant::now() > self.until {
                let _ = is_connected.then(|| socket.send(b"\0\x05\0\0stop\0"));
                return Ok((bytes, false));
            }
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    match is_connected {
                        true => ack(&socket, next - 1)?,
                        false => drop(socket.send_to(&request, self.server)?),
                    }
                    last = next - 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !is_connected {
                socket.connect(from)?;
                is_connected = true;
            }
            let packet = buffer.get(..length).unwrap_or_default();
            match packet {
                [0, 6, ..] => ack(&socket, 0)?,
                [0, 5, ..] => return Err(String::from_utf8_lossy(packet).into_owned().into()),
                [0, 3, high, low, data @ ..] => {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    if random % 100 < self.loss {
                        continue;
                    }
                    let ahead = u16::from_be_bytes([*high, *low]).wrapping_sub(next as u16);
                    if ahead == 0 {
                        bytes += data.len() as u64;
                        if data.len() < BLOCK {
                            ack(&socket, next)?;
                            return Ok((bytes, true));
                        }
                        if next == last + self.window {
                            last = next;
                            ack(&socket, next)?;
                        }
                        next += 1;
                    } else if ahead < 32_768 && complained != next {
                        (complained, last) = (next, next - 1);
                        ack(&socket, last)?;
                    }
                }
                _ => {}
            }
        }
    }
}

fn ack(socket: &UdpSocket, block: u64) -> io::Result<()> {
    let [high, low] = (block as u16).to_be_bytes(); // as: numbers wrap
    socket.send(&[0, 4, high, low]).map(drop)
}
