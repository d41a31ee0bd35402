//! `thimble up`, `server` and `boots`: open the sockets, connect the parts, and end them in order.

mod entrance;
mod forward;
mod keep;
mod source;
#[cfg(feature = "otel")]
mod traced;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use boots::{Events, FileSource, Listen, Login, MachineSource, RemoteSource, Sockets};
use server::Server;
use server::store::StoreError;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trust::Fingerprint;

use crate::config::Config;

/// Below the data folder.
pub const STORE: &str = "thimble.redb";

/// Server and boots in one process, on one HTTP port.
pub async fn up(config: Config) -> anyhow::Result<()> {
    let shutdown = until_signalled()?;
    let server = open(&config).await?;
    apply(&server, &config.apply).await?;
    let (http, grpc) = (listen("HTTP", config.http).await?, listen("gRPC", config.grpc).await?);
    let entrance = entrance::open(&config).await?;
    let server_ca = Some(entrance.access.authority.pem().to_owned());
    let boots = Arc::new(boots::Config { server_ca, ..boots_config(&config)? });
    let grpc = entrance::grpc(&entrance, grpc)?;
    let sockets = Sockets::bind(&boots, Listen::default()).await?;
    let events = Events::new().with_sink(Arc::new(keep::IntoLogs(server.clone())));
    let source: Arc<dyn MachineSource> = Arc::new(source::InProcess(server.clone()));
    let router =
        boots::http::router(Arc::clone(&boots), Arc::clone(&source), events.clone()).merge(server::http::router(server.clone()));
    log::info!(
        "thimble {} answers machines as {}; files from {}",
        env!("CARGO_PKG_VERSION"),
        config.address,
        config.files.display()
    );
    server.expect(&["gRPC", "the API", "boots"]);
    let counted = events.clone();
    server.with_metrics(Box::new(move |text| counted.write_metrics(text)));
    tokio::spawn(forward::run(events.subscribe(), server.clone()));
    let stopped = shutdown.clone();
    let ended = tokio::try_join!(
        async {
            let _served = server.serving("boots");
            boots::run(sockets, boots, source, events, shutdown.clone()).await.context("boots ended")
        },
        async {
            server::grpc::serve(server.clone(), grpc, stopped.clone().cancelled_owned())
                .await
                .context("the workflow service ended")
        },
        async { boots::http::serve(shutdown.clone().cancelled_owned(), http, router).await.context("HTTP ended") },
        async { entrance.serve(server.clone()).await.context("the API ended") },
        async {
            shutdown.cancelled().await;
            server.stop();
            Ok(())
        },
    );
    ended.map(drop)
}

/// Only the workflow service and the API.
pub async fn server(config: Config) -> anyhow::Result<()> {
    let shutdown = until_signalled()?;
    let server = open(&config).await?;
    apply(&server, &config.apply).await?;
    let (http, grpc) = (listen("HTTP", config.http).await?, listen("gRPC", config.grpc).await?);
    let entrance = entrance::open(&config).await?;
    let grpc = entrance::grpc(&entrance, grpc)?;
    server.expect(&["the API"]);
    tokio::try_join!(async { entrance.serve(server.clone()).await.context("the API ended") }, async {
        Ok(server::run(server.clone(), grpc, http, shutdown.cancelled_owned()).await?)
    },)
    .map(drop)
}

/// Only DHCP, TFTP, HTTP files and syslog.
pub async fn boots(
    config: Config,
    server: Option<String>,
    ca: Option<Fingerprint>,
    hardware: Option<PathBuf>,
) -> anyhow::Result<()> {
    if !config.apply.is_empty() {
        bail!("apply: boots keeps no objects; give them to the server, or list Hardware in --hardware FILE");
    }
    let shutdown = until_signalled()?;
    let mut events = Events::new();
    let source: Arc<dyn MachineSource> = match (server, hardware) {
        (Some(url), _) => {
            let source = RemoteSource::with(&url, Some(&login(ca)?))?;
            let (sink, sending) = source.sink();
            tokio::spawn(sending);
            events = events.with_sink(Arc::new(sink));
            Arc::new(source)
        }
        (None, Some(path)) => Arc::new(FileSource::open(path)?),
        (None, None) => bail!("give --server URL or --hardware FILE, which describe the machines"),
    };
    let boots = Arc::new(boots_config(&config)?);
    let mut sockets = Sockets::bind(&boots, Listen::default()).await?;
    sockets.http = Some(listen("HTTP", config.http).await?);
    log::info!("thimble boots {} answers machines as {}", env!("CARGO_PKG_VERSION"), config.address);
    boots::run(sockets, boots, source, events, shutdown).await.context("boots ended")
}

/// What the line of `thimble token create --role boots` has. The token comes by its variable, so that no process list shows it.
fn login(authority: Option<Fingerprint>) -> anyhow::Result<Login> {
    let authority = authority.context(
        "--server wants --ca-sha256 and the variable THIMBLE_TOKEN, because a server tells known callers only what machines \
         boot; `thimble token create --role boots` on its host prints the whole line",
    )?;
    let token = std::env::var("THIMBLE_TOKEN").ok().filter(|token| !token.is_empty());
    let token = token.context("--ca-sha256 wants the variable THIMBLE_TOKEN; `thimble token create --role boots` prints both")?;
    Ok(Login { token, authority })
}

async fn open(config: &Config) -> anyhow::Result<Server> {
    let folder = config.data.display();
    let store = config.data.join(STORE);
    if access::take_over(&config.data, &[STORE]).with_context(|| format!("cannot use the data folder {folder} (--data)"))? {
        log::info!("the data folder {folder} is now for its owner only");
    }
    let api_allow = config.api_allow.clone();
    if !api_allow.is_empty() {
        log::warn!(
            "api-allow: these networks may read /metrics on the HTTP port, and nothing else: it serves no object any more. Callers \
             on other hosts use HTTPS with a token (`thimble kubeconfig`, `thimble token create`)"
        );
    }
    let settings = server::Config {
        store: Some(store.clone()),
        api_allow,
        hold_new_machines: config.hold_new_machines,
        discovery: config.discovery.clone(),
        names: config.names.clone(),
        plain_grpc: config.plain_grpc.clone(),
        addresses: own_addresses(config.address),
        logs: Some((config.data.join("log"), config.logs.clone())),
        ..server::Config::default()
    };
    let opened = Server::open(settings).await.map_err(|error| match error {
        StoreError::Failed { .. } => anyhow::Error::from(error).context(format!("cannot read the store {}", store.display())),
        other => other.into(), // its text names the file
    })?;
    access::take_over(&config.data, &[STORE])?; // the store may be new
    #[cfg(feature = "otel")]
    traced::begin(&opened)?;
    Ok(opened)
}

/// The addresses that no machine may have: the one at which machines find this host, and those of its interfaces.
fn own_addresses(address: Ipv4Addr) -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let found = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    let mut own: Vec<IpAddr> = found.chain([address.into()]).filter(|address| !address.is_loopback()).collect();
    own.sort_unstable();
    own.dedup();
    own
}

async fn apply(server: &Server, files: &[PathBuf]) -> anyhow::Result<()> {
    let unusable = "the objects of --apply cannot be used";
    match server.apply(model::read_files(files).context(unusable)?).await {
        Ok(_) => Ok(()),
        Err(server::ApplyError::Refused(mistakes)) => Err(model::Mistakes(mistakes)).context(unusable),
        Err(error) => Err(error).context("cannot store the objects of --apply"),
    }
}

fn boots_config(config: &Config) -> anyhow::Result<boots::Config> {
    let folder = config.files.display();
    std::fs::create_dir_all(&config.files).with_context(|| format!("cannot make the files folder {folder} (--files)"))?;
    let folder = config.images.display();
    std::fs::create_dir_all(&config.images).with_context(|| format!("cannot make the images folder {folder}"))?;
    if !is_ours(config.address) {
        let address = config.address;
        log::warn!("address: no interface of this host has {address}, at which machines will look for it: is --address right?");
    }
    for (setting, name) in [("kernel", &config.kernel), ("initrd", &config.initrd)] {
        if !config.files.join(name).is_file() {
            log::warn!("{setting}: there is no {name} in {} yet; `thimble image build` makes one", config.files.display());
        }
    }
    if !config.nbp.is_dir() {
        log::warn!(
            "nbp: the folder {} does not exist; firmware without iPXE cannot boot (Debian package ipxe)",
            config.nbp.display()
        );
    }
    Ok(boots::Config {
        http_port: config.http.port(),
        images: Some(config.images.clone()),
        interface: config.interface.clone(),
        kernel: config.kernel.clone(),
        initrd: config.initrd.clone(),
        arguments: arguments(config),
        router_advertisements: config.router_advertisements,
        discovery: config.discovery.iter().map(|network| network.parts()).collect(),
        ..boots::Config::new(config.address, config.files.clone(), config.nbp.clone())
    })
}

/// The kernel arguments of every machine. The operator's arguments come last and win.
fn arguments(config: &Config) -> cmdline::Arguments {
    let mut arguments = cmdline::Arguments {
        grpc_authority: Some(config.grpc_authority.clone()),
        syslog_host: Some(config.address.to_string()),
        insecure_registries: config.insecure_registries.clone(),
        ..cmdline::Arguments::default()
    };
    for note in arguments.extend(&config.kernel_args) {
        log::warn!("kernel-args: {note}");
    }
    // The images of this host come by plain HTTP. No other registry becomes insecure by that.
    let own = format!("{}:{}", config.address, config.http.port());
    if !arguments.insecure_registries.contains(&own) {
        arguments.insecure_registries.push(own);
    }
    arguments
}

/// Behind a load balancer or NAT the address belongs to another host, so a mismatch is only a warning.
fn is_ours(address: Ipv4Addr) -> bool {
    match std::net::UdpSocket::bind((address, 0)) {
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        Ok(_) => true,
    }
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let setting = what.to_ascii_lowercase();
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse if setting == "api" => {
                "; is another server running there? A second server on this host has its own --api, --socket and --data"
                    .to_owned()
            }
            io::ErrorKind::AddrInUse => format!("; is another server running there? --{setting} chooses another port"),
            io::ErrorKind::AddrNotAvailable => format!("; this host does not have that address: is --{setting} right?"),
            io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned(),
            _ => String::new(),
        };
        anyhow::Error::from(error).context(format!("cannot listen for {what} on {address}{hint}"))
    })
}

/// A token that the first SIGINT or SIGTERM cancels.
fn until_signalled() -> anyhow::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! { _ = interrupt.recv() => "SIGINT", _ = terminate.recv() => "SIGTERM" };
        log::info!("{name}: ending");
        cancelled.cancel();
    });
    Ok(token)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[tokio::test]
    async fn a_refused_socket_is_reported_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (what, address, hint) in [
            ("HTTP", taken.local_addr().unwrap(), "--http chooses another port: "),
            ("API", taken.local_addr().unwrap(), "has its own --api, --socket and --data: "),
            ("gRPC", "192.0.2.1:1".parse().unwrap(), "this host does not have that address: is --grpc right?: "),
        ] {
            let error = format!("{:#}", listen(what, address).await.unwrap_err());
            assert!(error.starts_with(&format!("cannot listen for {what} on {address}; ")) && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn the_addresses_of_the_host_exclude_loopback() {
        let other = Ipv4Addr::new(192, 0, 2, 1);
        let own = own_addresses(other);
        assert!(own.contains(&other.into()) && own.iter().all(|address| !address.is_loopback()), "{own:?}");
        assert!(own.iter().all(|address| *address == other || address.is_ipv6() || is_ours(v4(*address))), "{own:?}");
        assert!(!own_addresses(Ipv4Addr::LOCALHOST).contains(&Ipv4Addr::LOCALHOST.into()));
    }

    fn v4(address: IpAddr) -> Ipv4Addr {
        match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    #[test]
    fn the_images_of_this_host_need_no_certificate_and_nothing_else_changes() {
        let listed = |insecure: Option<&str>, kernel_args: Option<&str>| {
            let settings = crate::config::Settings {
                address: Some(Ipv4Addr::new(192, 0, 2, 1)),
                http: Some("0.0.0.0:8080".parse().unwrap()),
                insecure_registries: insecure.map(str::to_owned),
                kernel_args: kernel_args.map(str::to_owned),
                ..crate::config::Settings::default()
            };
            arguments(&settings.check().unwrap()).insecure_registries
        };
        assert_eq!(listed(None, None), ["192.0.2.1:8080"]);
        assert_eq!(listed(Some("registry.example:5000"), None), ["registry.example:5000", "192.0.2.1:8080"]);
        assert_eq!(listed(Some("192.0.2.1:8080"), None), ["192.0.2.1:8080"]);
        assert_eq!(listed(Some("a:1"), Some("insecure_registries=b:2")), ["b:2", "192.0.2.1:8080"], "the operator's words win");
    }

    #[test]
    fn an_address_of_another_host_is_noticed() {
        assert!(is_ours(Ipv4Addr::LOCALHOST));
        assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 1)), "set aside for documentation (RFC 5737)");
    }
}
