//! An HTTP server that receives the actions' reports and writes them into the ledger at once.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::ledger::{Ledger, Word};
use crate::provisioner;

const LIMIT: Duration = Duration::from_secs(10);

/// Runs until the lab's process ends.
pub struct Witness {
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

impl Witness {
    /// `api` is the socket of the server that it asks for the states of actions.
    pub fn start(listen: SocketAddr, api: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let shared = Arc::clone(&ledger);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (ledger, api) = (Arc::clone(&shared), api.clone());
                std::thread::spawn(move || hear(&client, &ledger, &api));
            }
        });
        Ok(Self { address: listen, ledger })
    }

    /// The URL that an action calls, followed by its report.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A power cut may end a request anywhere. An incomplete request is ignored.
fn hear(client: &TcpStream, ledger: &Mutex<Ledger>, api: &Path) {
    let _without_a_limit_it_only_stays_longer = client.set_read_timeout(Some(LIMIT));
    let mut line = String::new();
    if BufReader::new(client).read_line(&mut line).is_err() {
        return;
    }
    let word = line.strip_prefix("GET ").and_then(|rest| Word::parse(rest.split(' ').next()?));
    if let Some(word) = word {
        let state = match &word {
            Word::Begin(place) => provisioner::action_state(api, &place.workflow, &place.action),
            Word::End(_) | Word::Zombies(_) | Word::Memory(..) => String::new(),
        };
        ledger.lock().unwrap_or_else(PoisonError::into_inner).hear(word, &state);
    }
    let mut client = client;
    let _the_machine_may_be_gone = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
