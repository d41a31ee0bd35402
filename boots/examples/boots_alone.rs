//! boots without a server, for measuring: `boots_alone ADDRESS FOLDER [MACHINES]` serves the folder by TFTP and HTTP, and so many
//! machines by DHCP. The first has the MAC 02:00:00:00:00:00 and the address 10.64.0.0, and the others follow it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use boots::{BootInterface, BootState, Config, Events, Listen, MachineSource, Reservation, Sockets, SourceFuture};
use model::Mac;
use tokio_util::sync::CancellationToken;

/// Machines in memory, as a server in the same process has them.
struct Machines(HashMap<Mac, BootInterface>);

impl Machines {
    fn first(count: u32, gateway: Ipv4Addr) -> Self {
        Self((0..count).map(|number| machine(number, gateway)).map(|machine| (machine.mac, machine)).collect())
    }
}

fn machine(number: u32, gateway: Ipv4Addr) -> BootInterface {
    let [_, a, b, c] = number.to_be_bytes();
    let mac = Mac::new([2, 0, 0, a, b, c]);
    let reservation = Reservation {
        address: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + number),
        netmask: Ipv4Addr::new(255, 0, 0, 0),
        gateway: Some(gateway),
        lease_time: Some(3600),
        hostname: None,
        domain_name: None,
        name_servers: Vec::new(),
        time_servers: Vec::new(),
        routes: Vec::new(),
    };
    let boot = BootState::Install { workflow: None };
    BootInterface { name: format!("m-{number}"), reservation: Some(reservation), boot, ..BootInterface::unknown(mac) }
}

impl MachineSource for Machines {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        let found = self.0.get(&mac).cloned();
        Box::pin(async { Ok(found) })
    }

    fn machine_at(&self, _: IpAddr) -> SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(folder)) = (words.next(), words.next().map(PathBuf::from)) else {
        return Err("boots_alone ADDRESS FOLDER [MACHINES]".into());
    };
    let (address, machines): (Ipv4Addr, u32) = (address.parse()?, words.next().as_deref().unwrap_or("0").parse()?);
    let source = Arc::new(Machines::first(machines, address));
    let config = Config::new(address, folder.clone(), folder);
    let mut sockets = Sockets::bind(&config, Listen { syslog: None, ..Listen::default() }).await?;
    sockets.http = Some(tokio::net::TcpListener::bind(SocketAddr::from((address, config.http_port))).await?);
    eprintln!("boots serves at {address}");
    boots::run(sockets, Arc::new(config), source, Events::new(), CancellationToken::new()).await?;
    Ok(())
}
