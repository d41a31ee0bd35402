//! boots without a server, for measuring: `boots_alone ADDRESS FOLDER [HARDWARE]` serves the folder by TFTP and HTTP, and the
//! machines of a Hardware file by DHCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use boots::{BootInterface, Config, Events, FileSource, Listen, MachineSource, Sockets, SourceFuture};
use model::Mac;
use tokio_util::sync::CancellationToken;

struct NoMachines;

impl MachineSource for NoMachines {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        Box::pin(async { Ok(None::<BootInterface>) })
    }

    fn machine_at(&self, _: std::net::IpAddr) -> SourceFuture<'_> {
        Box::pin(async { Ok(None::<BootInterface>) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(folder)) = (words.next(), words.next().map(PathBuf::from)) else {
        return Err("boots_alone ADDRESS FOLDER [HARDWARE]".into());
    };
    let address: Ipv4Addr = address.parse()?;
    let source: Arc<dyn MachineSource> = match words.next() {
        Some(hardware) => Arc::new(FileSource::open(hardware)?),
        None => Arc::new(NoMachines),
    };
    let config = Config::new(address, folder.clone(), folder);
    let mut sockets = Sockets::bind(&config, Listen { syslog: None, ..Listen::default() }).await?;
    sockets.http = Some(tokio::net::TcpListener::bind(SocketAddr::from((address, config.http_port))).await?);
    eprintln!("boots serves at {address}");
    boots::run(sockets, Arc::new(config), source, Events::new(), CancellationToken::new()).await?;
    Ok(())
}
