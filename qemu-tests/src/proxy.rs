//! A TCP proxy that can hold back the server's answers: the agent's report arrives, and its acknowledgement does not.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::{Context, Result};

#[derive(Default)]
struct Gate {
    held: AtomicBool,
    waiting: Mutex<usize>,
    changed: Condvar,
}

/// Runs until the lab's process ends.
pub struct Proxy {
    gate: Arc<Gate>,
    address: SocketAddr,
}

impl Proxy {
    pub fn start(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
        let address = listener.local_addr().context("the proxy has no address")?;
        let gate = Arc::new(Gate::default());
        let shared = Arc::clone(&gate);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let gate = Arc::clone(&shared);
                std::thread::spawn(move || serve(client, target, &gate));
            }
        });
        Ok(Self { gate, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on no answer reaches the client.
    pub fn hold(&self) {
        self.gate.held.store(true, Ordering::SeqCst);
    }

    /// Cuts connections whose server is gone. New ones pass again.
    pub fn release(&self) {
        self.gate.held.store(false, Ordering::SeqCst);
        self.gate.changed.notify_all();
    }

    /// How many answers are held back.
    pub fn waiting(&self) -> usize {
        *self.gate.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(client: TcpStream, target: SocketAddr, gate: &Arc<Gate>) {
    let Ok(server) = TcpStream::connect(target) else {
        let _the_client_sees_a_closed_connection = client.shutdown(Shutdown::Both);
        return;
    };
    let (Ok(client_in), Ok(server_out)) = (client.try_clone(), server.try_clone()) else { return };
    std::thread::spawn(move || copy(client_in, server_out, None));
    copy(server, client, Some(gate));
}

fn copy(mut from: TcpStream, mut to: TcpStream, gate: Option<&Gate>) {
    let mut buffer = [0_u8; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(gate) = gate
            && gate.held.load(Ordering::SeqCst)
        {
            // The answers that were held back are lost, because their connection has ended.
            wait_at(gate);
            break;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _either_side_may_be_gone = to.shutdown(Shutdown::Both);
    let _either_side_may_be_gone = from.shutdown(Shutdown::Both);
}

fn wait_at(gate: &Gate) {
    let mut waiting = gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    *waiting += 1;
    gate.changed.notify_all();
    while gate.held.load(Ordering::SeqCst) {
        waiting = gate.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
    *waiting -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::wait_for;
    use std::time::Duration;

    #[test]
    fn held_answers_never_arrive_and_later_connections_pass() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut socket in server.incoming().flatten() {
                let mut byte = [0];
                if socket.read(&mut byte).is_ok() {
                    let _client_may_be_gone = socket.write_all(b"ack");
                }
            }
        });
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), target).unwrap();
        let ask = || {
            let mut socket = TcpStream::connect(proxy.address()).unwrap();
            socket.write_all(b"?").unwrap();
            socket
        };
        proxy.hold();
        let mut held = ask();
        wait_for("the answer at the gate", Duration::from_secs(5), || Ok((proxy.waiting() == 1).then_some(()))).unwrap();
        proxy.release();
        let mut text = String::new();
        assert_eq!(held.read_to_string(&mut text).unwrap_or(0), 0);
        ask().read_to_string(&mut text).unwrap();
        assert_eq!(text, "ack");
    }
}
