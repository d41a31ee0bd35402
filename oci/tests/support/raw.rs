//! A server that answers with any bytes, at any pace, or passes the request on to a server that answers correctly.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens after the head of a request.
pub enum Act {
    /// These bytes, then the end of the connection.
    Send(Vec<u8>),
    /// The first bytes at once, then the others one after the other, repeatedly.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// The first bytes at once, then the others as fast as possible, for ever.
    Flood(Vec<u8>, Vec<u8>),
    /// These bytes, then nothing.
    Hang(Vec<u8>),
    Forward(SocketAddr),
}

/// From the head of a request to the answer. For a client that begins with TLS the head is empty.
pub type Answer = dyn Fn(&str) -> Act + Send + Sync;

pub struct Raw {
    pub address: SocketAddr,
    pub heads: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP answer as text.
pub fn ok(headers: &str, body: &str) -> Act {
    answer("200 OK", headers, body)
}

pub fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes())
}

impl Raw {
    pub async fn start(decide: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(decide))
    }

    pub fn on(listener: TcpListener, decide: Arc<Answer>) -> Self {
        let address = listener.local_addr().unwrap();
        let (heads, open) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, counted) = (heads.clone(), open.clone());
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (decide, seen, open) = (decide.clone(), seen.clone(), counted.clone());
                served.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    let _ = serve(client, &*decide, &seen).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, heads, open, task }
    }

    /// The number of connections that are still open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn count(&self, part: &str) -> usize {
        self.heads.lock().unwrap().iter().filter(|head| head.contains(part)).count()
    }
}

async fn serve(mut client: TcpStream, decide: &Answer, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.first() != Some(&0x16) {
        head.push(client.read_u8().await?);
    }
    let head = if head.first() == Some(&0x16) { String::new() } else { String::from_utf8_lossy(&head).into_owned() };
    seen.lock().unwrap().push(head.clone());
    let act = decide(&head);
    let (mut from, mut to) = client.into_split();
    let answer = async move {
        match act {
            Act::Send(bytes) => {
                to.write_all(&bytes).await?;
                to.shutdown().await
            }
            Act::Drip(first, rest, pause) => {
                to.write_all(&first).await?;
                for byte in rest.iter().cycle() {
                    tokio::time::sleep(pause).await;
                    to.write_all(&[*byte]).await?;
                }
                Ok(())
            }
            Act::Flood(first, rest) => {
                to.write_all(&first).await?;
                loop {
                    to.write_all(&rest).await?;
                    tokio::task::yield_now().await;
                }
            }
            Act::Hang(bytes) => {
                to.write_all(&bytes).await?;
                std::future::pending().await
            }
            Act::Forward(server) => {
                let mut server = TcpStream::connect(server).await?;
                server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).await?;
                let mut bytes = vec![0; 64 << 10];
                loop {
                    let count = server.read(&mut bytes).await?;
                    if count == 0 {
                        return to.shutdown().await;
                    }
                    to.write_all(&bytes[..count]).await?;
                }
            }
        }
    };
    // During any answer, a client that disconnects is noticed.
    let leaves = async move {
        let mut rest = [0; 1024];
        while from.read(&mut rest).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        sent = answer => sent,
        left = leaves => left,
    }
}
