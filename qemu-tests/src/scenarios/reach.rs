//! Ways to the server and the registry other than a plain address: names, a private CA, a proxy, IPv6.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::links::{begin, of_kit};
use crate::command::{self, Daemon, wait_for};
use crate::connect_proxy::ConnectProxy;
use crate::kit::Kit;
use crate::machine::{NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{GRPC, Options};
use crate::proxy::Proxy;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};
use crate::segment::{self, HOST6};

const STATION: Station = Station { number: 1 };
const CONNECTED: &str = "thimble: agent .* connected to";
const SERVER: &str = "server.lab.test";
const REGISTRY: &str = "registry.lab.test";
/// The registry with a certificate, which the segment cannot reach.
const BEHIND_PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5443);

/// The server is reached by its name, the registry by the proxy, and its certificate needs an authority that only some
/// ramdisks have.
pub fn names_proxy_and_authority(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let _names =
        dnsmasq(scene, &["--no-dhcp-interface=br0", &format!("--address=/lab.test/{}", segment::HOST), "--local=/lab.test/"])?;
    let authority = authority(scene)?;
    let _registry = registry_with_certificate(scene, &authority)?;
    let proxy = ConnectProxy::start(SocketAddr::new(segment::HOST.into(), 3128), BEHIND_PROXY)?;
    let boot = boot.with_arguments(&format!(
        "grpc_authority={SERVER}:{} HTTPS_PROXY=http://{}:3128 NO_PROXY={SERVER}",
        GRPC.port(),
        segment::HOST
    ));
    let image = format!("{REGISTRY}:{}/busybox:1", BEHIND_PROXY.port());
    let step = Step::image("ask", &image).shell(&format!("cat /etc/resolv.conf; busybox nslookup {SERVER} && echo NAME FOUND"));
    let start = |kit: &Kit| {
        let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
        let mut machine = scene.start(&STATION, &Parts::new(of_kit(boot.clone(), kit), MEMORY_MIB, vec![nic]))?;
        machine.serial.expect(CONNECTED, BOOTS_WITHIN)?;
        anyhow::Ok(machine)
    };

    let stranger = start(&scene.setup.cloud)?;
    provisioner.apply(&workflow("stranger", &STATION, std::slice::from_ref(&step)))?;
    let ended = provisioner.wait_ended("stranger", ACTS_WITHIN)?;
    ensure!(ended.state() == "FAILED", "an unknown authority was trusted: {}", ended.status());
    let said = ended.message("ask");
    ensure!(said.contains("certificate"), "the failure does not name the certificate: {said}");
    drop(stranger);
    command::effect(Command::new("ip").args(["link", "del", &STATION.tap(0)]))?; // the next machine needs the cable

    let mut machine = start(&kit(scene, &authority)?)?;
    provisioner.apply(&workflow("known", &STATION, &[step]))?;
    let ended = provisioner.wait_ended("known", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    machine.serial.expect(&format!(r"A\| nameserver {}", segment::HOST), ACTS_WITHIN)?;
    let asked = proxy.asked();
    ensure!(asked.contains(&format!("{REGISTRY}:{}", BEHIND_PROXY.port())), "the proxy was not used for the registry: {asked:?}");
    ensure!(!asked.iter().any(|host| host.starts_with(SERVER)), "the proxy was used for the server: {asked:?}");
    Ok(())
}

/// No server answers DHCPv4. The router announces the prefix and the name server, and everything is found by name.
pub fn only_ipv6(scene: &Scene) -> Result<()> {
    const GRPC_PORT: u16 = 42114;
    const REGISTRY_PORT: u16 = 5001;
    let (provisioner, boot) = begin(scene, Options { no_dhcp: true, ..Options::default() })?;
    let registry = scene.registry()?;
    let _router = dnsmasq(
        scene,
        &["--enable-ra", "--dhcp-range=fd00:77::100,fd00:77::1ff,64,1h", &format!("--address=/lab.test/{HOST6}")],
    )?;
    let _grpc = Proxy::start(SocketAddr::new(HOST6.into(), GRPC_PORT), GRPC)?;
    let _images = Proxy::start(SocketAddr::new(HOST6.into(), REGISTRY_PORT), registry.address())?;
    let boot = boot.with_arguments(&format!(
        "grpc_authority={SERVER}:{GRPC_PORT} insecure_registries={REGISTRY}:{REGISTRY_PORT} syslog_host="
    ));
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic]))?;
    machine.serial.expect("thimble: network .*fd00:77:", BOOTS_WITHIN)?;
    machine.serial.expect(CONNECTED, BOOTS_WITHIN)?;
    let step =
        Step::image("six", &format!("{REGISTRY}:{REGISTRY_PORT}/busybox:1")).shell("cat /etc/resolv.conf /proc/net/if_inet6");
    provisioner.apply(&workflow("six", &STATION, &[step]))?;
    let ended = provisioner.wait_ended("six", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    machine.serial.expect(r"A\| fd000077", ACTS_WITHIN)?;
    ensure!(machine.serial.all("thimble: network .* 10[.]77[.]")?.is_empty(), "the machine has an IPv4 address");
    Ok(())
}

/// Serves names, and other services of the segment's host in these scenarios.
fn dnsmasq(scene: &Scene, words: &[&str]) -> Result<Daemon> {
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root"]);
    command.args(["--bind-dynamic", "--interface=br0", "--log-facility=-", "--log-dhcp"]);
    command.arg(format!("--dhcp-leasefile={}", scene.folder.join("leases").display())).args(words);
    Daemon::start(&mut command, &scene.folder.join("dnsmasq.log"))
}

/// The folder with `ca.pem`, and the registry's `server.pem` and `server.key`.
fn authority(scene: &Scene) -> Result<PathBuf> {
    let folder = scene.place("authority")?;
    fs::write(folder.join("extensions"), format!("subjectAltName = DNS:{REGISTRY}\nbasicConstraints = critical, CA:false\n"))?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for words in [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=lab"),
        format!("req {key} -keyout server.key -out server.csr -subj /CN=registry"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem"
            .to_owned(),
    ] {
        command::effect(Command::new("openssl").args(words.split(' ')).current_dir(&folder))?;
    }
    Ok(folder)
}

/// A second registry with the scene's images and TLS.
fn registry_with_certificate(scene: &Scene, authority: &Path) -> Result<(crate::registry::Registry, Daemon)> {
    let plain = scene.registry()?;
    let folder = scene.place("registry-tls")?;
    let config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"{BEHIND_PROXY}\", tls: {{certificate: {authority}/server.pem, key: {authority}/server.key}}}}\n",
        plain.store().display(),
        authority = authority.display()
    );
    fs::write(folder.join("config.yml"), config).context("cannot write the registry's configuration")?;
    let mut serve = Command::new("docker-registry");
    serve.arg("serve").arg(folder.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
    let mut daemon = Daemon::start(&mut serve, &folder.join("registry.log"))?;
    wait_for("the registry with a certificate", ACTS_WITHIN, || {
        daemon.check()?;
        Ok(TcpStream::connect(BEHIND_PROXY).ok())
    })?;
    Ok((plain, daemon))
}

/// A ramdisk that trusts the authority in addition to those of the host.
fn kit(scene: &Scene, authority: &Path) -> Result<Kit> {
    let folder = scene.place("ramdisk")?;
    let mut build = Command::new(&scene.setup.thimble);
    build.args(["image", "build", "--kernel"]).arg(&scene.setup.kernel_deb).arg("--init").arg(&scene.setup.init);
    build.arg("--ca").arg(authority.join("ca.pem")).arg("--output").arg(&folder);
    command::run(&mut build, &scene.folder.join("ramdisk.log"), Duration::from_secs(300))?;
    Ok(Kit::at(&folder))
}
