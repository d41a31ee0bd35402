//! Both sides of a scenario: peers with separate namespaces and daemons, and the client as a child process.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use machine::files;
use machine::network::Learned;
use pid1::service::Facts;

const LIMIT: Duration = Duration::from_secs(30);
const CLIENT_LOG: &str = "/run/client.log";

pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let works = |command: &[&str]| {
        Command::new(command[0])
            .args(&command[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let checks: [&[&str]; 4] = [
        &["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"],
        &["ip", "-V"],
        &["dnsmasq", "-v"],
        &["setpriv", "-V"],
    ];
    checks.into_iter().find(|check| !works(check)).map(|check| format!("{} does not work here", check.join(" ")))
}

/// Why this kernel cannot run the scenario, whose name shows what it needs.
pub fn unable(scenario: &str) -> Option<String> {
    let kind = match scenario {
        name if name.starts_with("VLAN") => "link probe1 name probe0 type vlan id 1",
        name if name.starts_with("bond") => "name probe0 type bond",
        _ => return None,
    };
    sh("ip link add name probe1 type veth peer name probe2");
    let made = Command::new("ip").args(["link", "add"]).args(kind.split(' ')).stderr(Stdio::null()).status();
    let works = made.is_ok_and(|status| status.success());
    sh(if works { "ip link delete probe0; ip link delete probe1" } else { "ip link delete probe1" });
    (!works).then(|| format!("ip link add {kind} does not work below this kernel; see machine.sh"))
}

/// Folders of this scenario only.
pub fn prepare() {
    for folder in ["/run", "/etc"] {
        sh(&format!("mount -t tmpfs none {folder}"));
    }
    sh("mount -t sysfs none /sys"); // the sysfs of this namespace
    sh("mkdir -p /run/netns && ip link set lo up && echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad");
    fs::write("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n").unwrap();
    fs::write("/etc/group", "root:x:0:\ndip:x:1:\n").unwrap();
}

pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a host answers at all. No program listens on this port.
pub fn answers(host: &str) -> bool {
    let answer = TcpStream::connect_timeout(&SocketAddr::new(host.parse().unwrap(), 9), Duration::from_secs(3));
    answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

pub fn mac(link: &str) -> String {
    format!("02:00:00:00:00:{:02x}", link.as_bytes()[1])
}

pub fn carrier(link: &str) -> bool {
    fs::read_to_string(format!("/sys/class/net/{link}/carrier")).is_ok_and(|text| text.trim() == "1")
}

/// The host at the other end of the client's link with the same name.
pub struct Peer {
    name: String,
    /// The link on which its daemons listen.
    link: String,
}

impl Peer {
    pub fn new(name: &str, address: &str) -> Self {
        let peer = Self { name: name.to_owned(), link: name.to_owned() };
        sh(&format!(
            "ip netns add {name} && ip link add name {name} address {} type veth peer name {name} netns {name}",
            mac(name)
        ));
        peer.ip(&format!("address add {address} dev {name}"));
        peer.ip(&format!("link set {name} up"));
        peer.ip("link set lo up");
        peer
    }

    /// Several machines behind the client's link `name`, which ends in a switch.
    pub fn segment<const N: usize>(name: &str, hosts: [(&str, &str); N]) -> [Peer; N] {
        sh("ip netns add sw && ip -n sw link add switch type bridge && ip -n sw link set switch up");
        sh(&format!("ip link add name {name} address {} type veth peer name {name} netns sw", mac(name)));
        sh(&format!("ip -n sw link set {name} master switch && ip -n sw link set {name} up"));
        hosts.map(|(host, address)| {
            sh(&format!("ip netns add {host} && ip -n sw link add name {host} type veth peer name {host} netns {host}"));
            sh(&format!("ip -n sw link set {host} master switch && ip -n sw link set {host} up"));
            sh(&format!("ip -n {host} address add {address} dev {host} && ip -n {host} link set {host} up"));
            Peer { name: host.to_owned(), link: host.to_owned() }
        })
    }

    /// The same host on another link.
    pub fn on(&self, link: &str) -> Self {
        Self { name: self.name.clone(), link: link.to_owned() }
    }

    pub fn ip(&self, words: &str) {
        sh(&format!("ip -n {} {words}", self.name));
    }

    pub fn dhcp(&self, options: &str) -> Child {
        self.dhcp_as(&format!("--dhcp-authoritative {options}"))
    }

    /// A server that may share the network with others.
    pub fn dhcp_as(&self, options: &str) -> Child {
        let log = self.log();
        let mut command = self.inside("dnsmasq");
        command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--no-ping"]);
        command.args(["--log-dhcp", "--bind-dynamic", &format!("--interface={}", self.link)]);
        command.arg(format!("--dhcp-leasefile=/run/{}.leases", self.link)).arg(format!("--pid-file=/run/{}.pid", self.link));
        command.arg("--except-interface=lo").args(options.split(' ')).stderr(File::create(&log).unwrap());
        let server = command.spawn().unwrap();
        wait_for(
            "dnsmasq",
            || fs::read_to_string(&log).unwrap_or_default().contains("DHCP"),
            || fs::read_to_string(&log).unwrap_or_default(),
        );
        server
    }

    /// Starts this program on the peer, as the server that the words choose, and waits until it listens on a UDP port.
    pub fn serves(&self, words: &[&str], port: u16) -> Child {
        let server = self.inside(std::env::current_exe().unwrap().to_str().unwrap()).args(words).spawn().unwrap();
        let listens = || sh(&format!("ip netns exec {} ss -lun", self.name)).contains(&format!(":{port} "));
        wait_for(&format!("{words:?}"), listens, String::new);
        server
    }

    pub fn link(&self) -> &str {
        &self.link
    }

    pub fn time(&self, ahead: u64) {
        self.serves(&["time-server", &ahead.to_string()], 123);
    }

    pub fn sends(&self, frame: &[u8]) {
        assert!(self.inside("perl").args(["-e", &sends(&self.link, frame)]).status().unwrap().success());
    }

    fn count(&self, text: &str) -> usize {
        fs::read_to_string(self.log()).unwrap_or_default().matches(text).count()
    }

    pub fn says(&self, text: &str) {
        self.says_times(text, 1);
    }

    pub fn says_times(&self, text: &str, times: usize) {
        wait_for(text, || self.count(text) >= times, || fs::read_to_string(self.log()).unwrap_or_default());
    }

    fn log(&self) -> String {
        format!("/run/{}.log", self.link)
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

/// A Perl script that sends one Ethernet frame. Perl is installed everywhere and needs no library for that.
pub fn sends(link: &str, frame: &[u8]) -> String {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let address = "pack('S n i S C C a8', 17, 0, $index, 0, 0, 6, '')";
    format!(
        "my $index = `ip -o link show {link}` =~ /^(\\d+)/ ? $1 : 0; \
         socket(S, 17, 3, 0) or die $!; send(S, pack('H*', '{hex}'), 0, {address}) or die $!"
    )
}

pub struct Client {
    process: Child,
    started: Instant,
}

impl Client {
    pub fn start(line: &str) -> Self {
        // It runs without CAP_SYS_TIME, because the clock is shared with this host.
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-sys_time", "--inh-caps", "-sys_time"]).arg(std::env::current_exe().unwrap());
        let process = command.args(["client", line]).stderr(File::create(CLIENT_LOG).unwrap()).spawn().unwrap();
        Self { process, started: Instant::now() }
    }

    pub fn says(&mut self, text: &str) {
        wait_for(text, || log().contains(text), log);
    }

    pub fn has_said(&self, text: &str) -> bool {
        log().contains(text)
    }

    pub fn is_ready_as(&mut self, link: &str) {
        self.says(&format!("READY {}", mac(link)));
    }

    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub fn file_has(&self, path: &str, text: &str) {
        wait_for(
            text,
            || fs::read_to_string(path).unwrap_or_default().contains(text),
            || fs::read_to_string(path).unwrap_or_default(),
        );
    }

    /// The learned settings become a configuration file that contains this text.
    pub fn has_learned(&self, file: &str, text: &str) {
        let files = || Learned::read(Path::new(files::LEARNED)).map(|learned| netconfig::files(&learned)).unwrap_or_default();
        let is_there = || files().iter().any(|(name, content)| name == file && content.contains(text));
        wait_for(text, is_there, || format!("{file} of {:?}", files()));
    }

    pub fn addresses(&self, link: &str) -> String {
        sh(&format!("ip address show {link}"))
    }

    pub fn sees(&self, state: impl Fn() -> bool) {
        wait_for("the state", state, || log() + &sh("ip address; ip route"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log() -> String {
    fs::read_to_string(CLIENT_LOG).unwrap_or_default()
}

fn wait_for(what: &str, is_there: impl Fn() -> bool, shown: impl Fn() -> String) {
    let limit = Instant::now() + LIMIT;
    while !is_there() {
        assert!(Instant::now() < limit, "no {what:?} in:\n{}", shown());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The client's log: lines on standard error.
struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = writeln!(std::io::stderr(), "[{} {}] {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

/// The child process that is the network client.
pub fn client(line: &str) -> ! {
    log::set_logger(&Lines).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let parsed = cmdline::Arguments::parse(line);
    assert_eq!(parsed.notes, []);
    let (mut reader, writer) = std::io::pipe().unwrap();
    std::thread::spawn(move || {
        let mut message = [0; pid1::network::READY_LEN];
        while reader.read_exact(&mut message).is_ok() {
            let _ = writeln!(std::io::stderr(), "READY {}", pid1::network::read_ready(&message).unwrap().mac);
        }
    });
    pid1::network::run(&Facts { arguments: parsed.arguments, ..Facts::default() }, writer)
}

/// An NTP server (RFC 4330) whose clock is ahead.
pub fn time_server(ahead: u64) -> ExitCode {
    let socket = UdpSocket::bind("[::]:123").unwrap();
    let mut packet = [0; 48];
    loop {
        let (_, from) = socket.recv_from(&mut packet).unwrap();
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs() + ahead + 2_208_988_800;
        let cookie: [u8; 8] = packet[40..].try_into().unwrap();
        packet.fill(0);
        (packet[0], packet[1]) = (0x24, 2);
        packet[24..32].copy_from_slice(&cookie);
        packet[40..44].copy_from_slice(&u32::try_from(now & 0xffff_ffff).unwrap().to_be_bytes());
        socket.send_to(&packet, from).unwrap();
    }
}
