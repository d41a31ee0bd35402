//! The API for processes of this host, by a Unix socket. The kernel names the user, so root needs no token.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::serve::{Client, Complaints, Gate, Patience, connection};
use axum::Router;
use http::Extensions;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::admission::Peer;

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("cannot {doing} {}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is in use: does another server run on this host? A second one has its own --socket and --api", .0.display())]
    InUse(PathBuf),
    #[error("{} is not a socket; remove it, or choose another path with --socket", .0.display())]
    NotASocket(PathBuf),
}

/// The socket, and its file until it is dropped.
#[derive(Debug)]
pub struct Local {
    listener: UnixListener,
    path: Arc<PathBuf>,
    gate: Gate,
}

impl Local {
    /// Any user may connect, so that one without rights learns what to do.
    ///
    /// # Errors
    /// If another server has it, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, LocalError> {
        let failed = |doing| move |source| LocalError::Io { doing, path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
            // A strict umask would keep other users from the line that says what to do.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed("open the folder of"))?;
        }
        match fs::symlink_metadata(path) {
            Ok(is) if !is.file_type().is_socket() => return Err(LocalError::NotASocket(path.to_owned())),
            // No server answers at what a crash has left.
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => return Err(LocalError::InUse(path.to_owned())),
            Ok(_) => fs::remove_file(path).map_err(failed("remove the old socket"))?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed("open to all users"))?;
        Ok(Self { listener, path: Arc::new(path.to_owned()), gate: Gate::default() })
    }

    /// With another gate than that of the process.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Serves the router, which `Access::admit` has made, until `shutdown`.
    pub async fn serve(self, router: Router, grace: Duration, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let (name, complaints) = (self.path.display().to_string(), Complaints::default());
        let accepting = async {
            loop {
                let (socket, uid) = match self.listener.accept().await.and_then(|(socket, _)| of_user(socket)) {
                    Ok(accepted) => accepted,
                    Err(reason) => {
                        complaints.wait(&name, &self.gate, &reason).await;
                        continue;
                    }
                };
                let Some(pass) = complaints.enter(&name, &self.gate, Client::User(uid)) else { continue };
                let (peer, router) = (Peer::Local { uid, socket: Arc::clone(&self.path) }, router.clone());
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    one(socket, peer, router, grace, stopped).await;
                    drop(pass);
                });
            }
        };
        tokio::select! {
            () = accepting => {}
            () = shutdown => {}
        }
        drop(stopped);
        let _ = stop.send(()); // an error means that no connection is open
        stop.closed().await;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.as_path()); // the next server replaces what stays
    }
}

/// The kernel knows the user of each end.
fn of_user(socket: UnixStream) -> io::Result<(UnixStream, u32)> {
    let uid = socket.peer_cred()?.uid();
    Ok((socket, uid))
}

async fn one(socket: UnixStream, peer: Peer, router: Router, grace: Duration, stopped: watch::Receiver<()>) {
    let extend = move |extensions: &mut Extensions| {
        extensions.insert(peer.clone());
    };
    connection(Patience::default(), socket, extend, router, grace, stopped).await;
}
