//! Serves a folder at `/files/` on loopback, for measuring: `serve_files FOLDER PORT`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use boots::{BootInterface, Config, Events, MachineSource, SourceFuture};
use model::Mac;

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
    let (Some(folder), Some(port)) = (words.next().map(PathBuf::from), words.next()) else {
        return Err("serve_files FOLDER PORT".into());
    };
    let config = Config::new(Ipv4Addr::LOCALHOST, folder.clone(), folder);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?)).await?;
    let router = boots::http::router(Arc::new(config), Arc::new(NoMachines), Events::new());
    boots::http::serve(std::future::pending(), listener, router).await?;
    Ok(())
}
