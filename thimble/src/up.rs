//! `thimble up`, `server` and `boots`: open the sockets, connect the parts, and end them in order.

mod entrance;
mod forward;
mod https;
mod keep;
mod leases;
mod listen;
pub mod metadata;
mod site;
mod source;
#[cfg(feature = "otel")]
mod traced;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use boots::{Current, Events, FileSource, Listen, Login, MachineSource, Place, RemoteSource, Sockets};
use machine::Chain;
use server::Server;
use server::store::StoreError;
use steps::Steps;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trust::Fingerprint;

use crate::config::{Config, Etcd};
use crate::doctor;
use crate::reload::{self, Sources};
use listen::listen;

/// Below the data folder.
pub const STORE: &str = "thimble.redb";
/// Between two calls to a server that does not answer.
const GREET_EVERY: Duration = Duration::from_secs(2);

/// Server and boots in one process, on one HTTP port.
pub async fn up(config: Config, sources: Sources) -> anyhow::Result<()> {
    let (shutdown, hangups) = (until_signalled()?, reload::hangups()?);
    let server = open(&config).await?;
    apply(&server, &config.apply).await?;
    let (http, grpc) = (listen("HTTP", config.http)?, listen("gRPC", config.grpc)?);
    let https = https::listen(&config)?;
    let entrance = entrance::open(&config)?;
    tokio::spawn(entrance::follow_addresses(Arc::clone(&entrance.access.certificate), config.clone()));
    site::meet(&server, &config, &entrance).await?;
    let server_ca = Some(entrance.access.authority.pem().to_owned());
    let for_boots =
        move |config: &Config| Ok::<_, anyhow::Error>(boots::Config { server_ca: server_ca.clone(), ..boots_config(config)? });
    let (sender, boots) = Current::of(for_boots(&config)?);
    let grpc = entrance::grpc(&entrance, grpc)?;
    let mut sockets = Sockets::bind(&boots.now(), Listen::default()).await?;
    sockets.metadata = metadata::listen(&config)?;
    if let (Some(pools), Some(_)) = (&sockets.pools, &config.etcd) {
        pools.share(Arc::new(leases::InProcess(server.clone())));
    }
    doctor::at_start(&config);
    let events = Events::new().with_sink(Arc::new(keep::IntoLogs(server.clone())));
    let source: Arc<dyn MachineSource> = sockets.with_leases(Arc::new(source::InProcess(server.clone())));
    let router =
        boots::http::router(boots.clone(), Arc::clone(&source), events.clone()).merge(server::http::router(server.clone()));
    log::info!(
        "thimble {} answers machines as {}; files from {}",
        env!("CARGO_PKG_VERSION"),
        config.host(),
        config.files.display()
    );
    server.expect(&["gRPC", "the API", "boots"]);
    let counted = events.clone();
    server.with_metrics(Box::new(move |text| counted.write_metrics(text)));
    tokio::spawn(forward::run(events.subscribe(), server.clone()));
    let reconfigured = server.clone();
    tokio::spawn(reload::follow(hangups, sources, config, move |config| {
        sender.send_replace(Arc::new(for_boots(config)?));
        reconfigured.reconfigure(&settings_of(config));
        Ok(())
    }));
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
        async {
            let Some((listener, certificate)) = https else { return Ok(()) };
            let serving = boots::http::serve_tls(shutdown.clone().cancelled_owned(), listener, certificate, router.clone());
            serving.await.context("HTTPS ended")
        },
        async { boots::http::serve(shutdown.clone().cancelled_owned(), http, router.clone()).await.context("HTTP ended") },
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
pub async fn server(config: Config, sources: Sources) -> anyhow::Result<()> {
    let (shutdown, hangups) = (until_signalled()?, reload::hangups()?);
    let server = open(&config).await?;
    apply(&server, &config.apply).await?;
    let (http, grpc) = (listen("HTTP", config.http)?, listen("gRPC", config.grpc)?);
    let entrance = entrance::open(&config)?;
    tokio::spawn(entrance::follow_addresses(Arc::clone(&entrance.access.certificate), config.clone()));
    site::meet(&server, &config, &entrance).await?;
    let grpc = entrance::grpc(&entrance, grpc)?;
    server.expect(&["the API"]);
    let reconfigured = server.clone();
    tokio::spawn(reload::follow(hangups, sources, config, move |config| {
        reconfigured.reconfigure(&settings_of(config));
        Ok(())
    }));
    tokio::try_join!(async { entrance.serve(server.clone()).await.context("the API ended") }, async {
        Ok(server::run(server.clone(), grpc, http, shutdown.cancelled_owned()).await?)
    },)
    .map(drop)
}

/// Only DHCP, TFTP, HTTP files and syslog.
pub async fn boots(
    config: Config,
    sources: Sources,
    servers: Vec<String>,
    ca: Option<Fingerprint>,
    hardware: Option<Place>,
) -> anyhow::Result<()> {
    if !config.apply.is_empty() {
        bail!("apply: boots keeps no objects; give them to the server, or list Hardware in --hardware");
    }
    let (shutdown, hangups) = (until_signalled()?, reload::hangups()?);
    let mut events = Events::new();
    let server_ca = Arc::new(OnceLock::new());
    let with_ca = {
        let server_ca = Arc::clone(&server_ca);
        move |config: &Config| anyhow::Ok(boots::Config { server_ca: server_ca.get().cloned(), ..boots_config(config)? })
    };
    let (sender, boots) = Current::of(with_ca(&config)?);
    let sender = Arc::new(sender);
    let mut leases = None;
    let source: Arc<dyn MachineSource> = match (servers.as_slice(), hardware) {
        ([_, ..], _) => {
            let source = Arc::new(RemoteSource::with(&servers, Some(&login(ca)?))?);
            leases = Some(source.leases());
            let (sink, sending) = source.sink();
            tokio::spawn(sending);
            tokio::spawn(meet(Arc::clone(&source), server_ca, Arc::clone(&sender)));
            events = events.with_sink(Arc::new(sink));
            source
        }
        ([], Some(place)) => {
            let source = Arc::new(FileSource::of(place)?);
            let steps = Steps::open(&config.data.join("log"));
            events = events.with_sink(Arc::new(keep::IntoFile { steps, source: Arc::clone(&source) }));
            source
        }
        ([], None) => bail!("give --server URL or --hardware PLACE, which describe the machines"),
    };
    let mut sockets = Sockets::bind(&boots.now(), Listen::default()).await?;
    if let (Some(pools), Some(leases)) = (&sockets.pools, leases) {
        pools.share(leases);
    }
    sockets.http = Some(listen("HTTP", config.http)?);
    sockets.https = https::listen(&config)?;
    sockets.metadata = metadata::listen(&config)?;
    log::info!("thimble boots {} answers machines as {}", env!("CARGO_PKG_VERSION"), config.host());
    doctor::at_start(&config);
    tokio::spawn(reload::follow(hangups, sources, config, move |config| {
        sender.send_replace(Arc::new(with_ca(config)?));
        Ok(())
    }));
    boots::run(sockets, boots, source, events, shutdown).await.context("boots ended")
}

/// Calls the server until it answers, and then gives its authority to the ramdisks of machines. One line says that it does not
/// answer, and one that it does.
async fn meet(source: Arc<RemoteSource>, server_ca: Arc<OnceLock<String>>, sender: Arc<watch::Sender<Arc<boots::Config>>>) {
    let mut failed = false;
    loop {
        match source.greet().await {
            Ok(authority) => {
                log::info!(
                    "the server answers{}",
                    if authority.is_some() { "; machines get its certificate authority" } else { "" }
                );
                if let Some(authority) = authority {
                    let pem = server_ca.get_or_init(|| authority).clone();
                    sender.send_modify(|config| Arc::make_mut(config).server_ca = Some(pem));
                }
                return;
            }
            Err(error) if !failed => {
                failed = true;
                log::error!("no machine can boot by this host until its server answers: {}", Chain(&error));
            }
            Err(_) => {}
        }
        tokio::time::sleep(GREET_EVERY).await;
    }
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
    if !config.api_allow.is_empty() {
        log::warn!(
            "api-allow: these networks may read /metrics on the HTTP port, and nothing else: it serves no object any more. Callers \
             on other hosts use HTTPS with a token (`thimble kubeconfig`, `thimble token create`)"
        );
    }
    let etcd = config.etcd.as_ref().map(Etcd::read).transpose()?;
    let settings = server::Config { etcd, ..settings_of(config) };
    let opened = Server::open(settings).await.map_err(|error| match error {
        StoreError::Failed { .. } => anyhow::Error::from(error).context(format!("cannot read the store {}", store.display())),
        other => other.into(), // its text names the file
    })?;
    access::take_over(&config.data, &[STORE])?; // the store may be new
    site::join(&opened, config).await.context("cannot become a server of the site")?;
    #[cfg(feature = "otel")]
    traced::begin(&opened)?;
    Ok(opened)
}

fn settings_of(config: &Config) -> server::Config {
    server::Config {
        store: Some(config.data.join(STORE)),
        api_allow: config.api_allow.clone(),
        hold_new_machines: config.hold_new_machines,
        discovery: config.discovered(),
        names: config.names.clone(),
        plain_grpc: config.plain_grpc.clone(),
        addresses: own_addresses(config),
        logs: Some((config.data.join("log"), config.logs.clone())),
        ..server::Config::default()
    }
}

/// The addresses that no machine may have: the one at which machines find this host, and those of its interfaces.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let set = [Some(IpAddr::V4(config.address)), config.address6.map(IpAddr::V6)];
    with_own(set.into_iter().flatten().filter(|address| !address.is_unspecified()))
}

fn with_own(set: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let found = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    let mut own: Vec<IpAddr> = found.chain(set).filter(|address| !address.is_loopback()).collect();
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

/// What boots serves from.
pub fn make_folders(config: &Config) -> anyhow::Result<()> {
    let folder = config.files.display();
    std::fs::create_dir_all(&config.files).with_context(|| format!("cannot make the files folder {folder} (--files)"))?;
    let folder = config.images.display();
    std::fs::create_dir_all(&config.images).with_context(|| format!("cannot make the images folder {folder}"))
}

fn boots_config(config: &Config) -> anyhow::Result<boots::Config> {
    make_folders(config)?;
    for (setting, address) in [("address", Some(IpAddr::V4(config.address))), ("address6", config.address6.map(IpAddr::V6))] {
        if let Some(address) = address.filter(|address| !address.is_unspecified() && !is_ours(*address)) {
            log::warn!(
                "{setting}: no interface of this host has {address}, at which machines will look for it: is --{setting} right?"
            );
        }
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
        address_by_network: is_on_a_network(config.address) && config.listens_everywhere(),
        address6: config.address6,
        networks6: config.dhcp6.clone(),
        http_port: config.http.port(),
        https_port: config.https.as_ref().map(|https| https.listen.port()),
        images: Some(config.images.clone()),
        interface: config.interface.clone(),
        kernel: config.kernel.clone(),
        initrd: config.initrd.clone(),
        arguments: arguments(config),
        tftp_block: config.tftp_block,
        router_advertisements: config.router_advertisements,
        disk_loaders: boots::ipxe::disk_loaders(&config.nbp, &boots::ipxe::more_folders()),
        more_nbp: boots::ipxe::more_folders(),
        discovery: config.discovered().iter().map(|network| network.parts()).collect(),
        modes: config.dhcp.clone(),
        iso_source: config.iso_source.clone(),
        metadata: metadata::settings(config)?,
        leases: Some(config.data.clone()),
        ..boots::Config::new(config.address, config.files.clone(), config.nbp.clone())
    })
}

/// The kernel arguments of every machine. The operator's arguments come last and win.
pub fn arguments(config: &Config) -> cmdline::Arguments {
    let mut arguments = cmdline::Arguments {
        grpc_authority: Some(config.grpc_authority.clone()),
        servers: config.servers.clone(),
        syslog_host: Some(config.host().trim_matches(['[', ']']).to_owned()),
        insecure_registries: config.insecure_registries.clone(),
        ..cmdline::Arguments::default()
    };
    for note in arguments.extend(&config.kernel_args) {
        log::warn!("kernel-args: {note}");
    }
    // The images of this host come by plain HTTP. No other registry becomes insecure by that.
    let own = format!("{}:{}", config.host(), config.http.port());
    if !arguments.insecure_registries.contains(&own) {
        arguments.insecure_registries.push(own);
    }
    arguments
}

/// Behind a load balancer or NAT the address belongs to another host, so a mismatch is only a warning.
fn is_ours(address: IpAddr) -> bool {
    match std::net::UdpSocket::bind((address, 0)) {
        // It may be in a VRF, where only sockets of that can have it.
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable || with_own(std::iter::empty()).contains(&address),
        Ok(_) => true,
    }
}

/// Whether an interface other than loopback has the address. Behind NAT none has it. On loopback it is one for all networks.
fn is_on_a_network(address: Ipv4Addr) -> bool {
    let has = |interface: nix::ifaddrs::InterfaceAddress| {
        let own = interface.address.as_ref().and_then(|own| own.as_sockaddr_in()).map(|own| own.ip());
        own == Some(address) && !interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK)
    };
    nix::ifaddrs::getifaddrs().into_iter().flatten().any(has)
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

    #[test]
    fn the_addresses_of_the_host_exclude_loopback() {
        let other = Ipv4Addr::new(192, 0, 2, 1);
        let own = with_own(std::iter::once(other.into()));
        assert!(own.contains(&other.into()) && own.iter().all(|address| !address.is_loopback()), "{own:?}");
        assert!(own.iter().all(|address| *address == other || address.is_ipv6() || is_ours(*address)), "{own:?}");
        assert!(!with_own(std::iter::once(Ipv4Addr::LOCALHOST.into())).contains(&Ipv4Addr::LOCALHOST.into()));
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
        assert!(is_ours(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 1).into()), "set aside for documentation (RFC 5737)");
    }
}
