//! An HTTP proxy that only tunnels (RFC 9110, 9.3.6). Every request leads to the same server.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

/// Runs until the lab's process ends.
pub struct ConnectProxy {
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    pub fn start(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
        let asked = Arc::new(Mutex::default());
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let asked = Arc::clone(&shared);
                // A client may disconnect at any time.
                std::thread::spawn(move || drop(tunnel(client, target, &asked)));
            }
        });
        Ok(Self { asked })
    }

    /// The `HOST:PORT` of every tunnel so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn tunnel(client: TcpStream, target: SocketAddr, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let mut client = client;
    let (Some("CONNECT"), Some(authority)) = (words.next(), words.next()) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(authority.to_owned());
    let server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut to_client) = (server.try_clone()?, client);
    std::thread::spawn(move || {
        let _either_side_may_be_gone = std::io::copy(&mut reader, &mut up);
        let _either_side_may_be_gone = up.shutdown(Shutdown::Write);
    });
    let mut down = server;
    std::io::copy(&mut down, &mut to_client)?;
    to_client.shutdown(Shutdown::Write)
}
