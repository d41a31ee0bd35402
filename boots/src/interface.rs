//! An interface that is deleted and made again has another index, and sockets that are bound to the old one hear nothing.
//! They are bound again as soon as the name exists.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use ::machine::Chain;
use nix::libc::ENODEV;
use socket2::SockRef;

const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) type Watched = Arc<dyn AsFd + Send + Sync>;

/// Never ends. It needs CAP_NET_RAW as long as it runs.
pub(crate) async fn follow(name: String, sockets: Vec<Watched>) {
    let (mut look, mut is_gone) = (tokio::time::interval(LOOK_EVERY), false);
    loop {
        look.tick().await;
        if sockets.iter().all(|socket| is_bound(socket, &name)) {
            continue;
        }
        match sockets.iter().try_for_each(|socket| SockRef::from(socket).bind_device(Some(name.as_bytes()))) {
            Ok(()) => log::info!("interface {name} has come back; DHCP and TFTP serve it again"),
            Err(_) if is_gone => continue,
            Err(error) if error.raw_os_error() == Some(ENODEV) => {
                log::warn!("interface {name} is gone; DHCP and TFTP wait for it to come back");
            }
            Err(error) => log::error!("interface {name} has come back and cannot be served: {}", Chain(&error)),
        }
        is_gone = !sockets.iter().all(|socket| is_bound(socket, &name));
    }
}

/// The kernel names the interface of the socket's index, or reports that none has it.
fn is_bound(socket: &Watched, name: &str) -> bool {
    let device: io::Result<Option<Vec<u8>>> = SockRef::from(socket).device();
    device.is_ok_and(|device| device.is_some_and(|device| device == name.as_bytes()))
}
