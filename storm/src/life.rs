//! The I/O of one machine: it turns what its pure state wants into packets, and what comes into events.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use cmdline::Arguments;
use dhcp::v4::Packet;
use futures_util::future::BoxFuture;
use log::Level;
use machine::ports;
use machine::syslog::{self, ActionLine, Message};
use serde::Deserialize;
use socket2::{SockRef, Socket};
use storm::dice::Dice;
use storm::firmware::Firmware;
use storm::simulated::{Action, Asked, Event, Habits, Job, Load, Machine, Progress, Reported};
use storm::site;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::{Agent, Cables, Watch};
use crate::driver::Storm;
use crate::http::{self, Answer, Connection, Link};
use crate::tftp_socket;

/// The mark of a socket whose machine has no power. The firewall of the namespace drops its packets.
const NO_POWER: u32 = 1;
/// How often a waiting machine looks whether its twin has ended the workflow.
const LOOKS: Duration = Duration::from_secs(1);

/// What makes a machine.
pub struct Seed {
    pub index: usize,
    pub number: u32,
    pub habits: Habits,
    pub link: Link,
    pub power_on: Duration,
    /// When its power is cut, counted from its power-on.
    pub cut: Option<Duration>,
    pub dice: Dice,
}

/// An event that an operation has caused.
enum Owned {
    Loaded(Option<String>),
    NotLoaded(String),
    Asked(Asked),
    Reported(Reported),
}

/// What an operation leaves behind: the event, and connections of further use.
struct Ended {
    event: Owned,
    http: Option<Connection>,
    agent: Option<Agent>,
}

pub struct Life {
    storm: Arc<Storm>,
    seed: Seed,
    machine: Machine,
    answers: UnboundedReceiver<Packet>,
    operation: Option<BoxFuture<'static, Ended>>,
    timer: Option<Instant>,
    http: Option<Connection>,
    agent: Option<Agent>,
    watch: Option<Watch>,
    cables: Cables,
    syslog: Option<SocketAddr>,
    servers: Arc<Servers>,
    /// Since when its agent waits for an action, or for the acknowledgement of a report.
    waits: Option<Instant>,
    is_over: bool,
}

/// The workflow services that the kernel arguments name. Each has all work.
struct Servers {
    all: Vec<SocketAddrV4>,
    at: AtomicUsize,
}

impl Servers {
    /// Machines begin with different ones, as agents do.
    fn of(arguments: &Arguments, number: u32) -> Self {
        let named = arguments.grpc_authority.iter().chain(&arguments.servers);
        let mut all: Vec<SocketAddrV4> = named.filter_map(|text| text.parse().ok()).collect();
        if all.is_empty() {
            all.push(SocketAddrV4::new(site::HOST, ports::GRPC));
        }
        let at = AtomicUsize::new(usize::try_from(number).unwrap_or(0) % all.len());
        Self { all, at }
    }

    /// The connection that is there, or one to the first server that answers.
    async fn connected(&self, agent: Option<Agent>, link: Link, mac: &str, cables: &Cables) -> io::Result<Agent> {
        if let Some(agent) = agent {
            return Ok(agent);
        }
        let mut last = io::Error::other("no server is named");
        for _ in &self.all {
            let at = self.at.load(Ordering::Relaxed) % self.all.len();
            let Some(server) = self.all.get(at) else { break };
            match Agent::connect(link, *server, mac.to_owned(), Arc::clone(cables)).await {
                Ok(agent) => return Ok(agent),
                Err(error) => last = error,
            }
            self.leave();
        }
        Err(last)
    }

    /// The one in use has failed.
    fn leave(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }
}

impl Life {
    pub fn new(storm: &Arc<Storm>, seed: Seed, answers: UnboundedReceiver<Packet>) -> Self {
        let servers = Arc::new(Servers::of(&Arguments::default(), seed.number));
        Self {
            storm: Arc::clone(storm),
            machine: Machine::new(seed.number, seed.habits, seed.dice.clone()),
            seed,
            answers,
            operation: None,
            timer: None,
            http: None,
            agent: None,
            watch: None,
            cables: Cables::default(),
            syslog: None,
            servers,
            waits: None,
            is_over: false,
        }
    }

    pub async fn run(mut self) {
        sleep(self.seed.power_on).await;
        self.storm.tally().begins(self.seed.index);
        let mut cut = self.seed.cut.map(|cut| Instant::now() + cut);
        let first = self.machine.on(Event::PowerOn);
        self.perform(first);
        while !self.is_over {
            let actions = tokio::select! {
                biased;
                () = until(cut) => {
                    cut = None;
                    self.waits = None;
                    self.cut_power();
                    self.machine.on(Event::PowerCut)
                }
                ended = operation(&mut self.operation) => {
                    self.operation = None;
                    (self.http, self.agent) = (ended.http, ended.agent);
                    self.served(&ended.event);
                    let event = match ended.event {
                        Owned::Loaded(text) => Event::Loaded(text),
                        Owned::NotLoaded(why) => {
                            self.storm.tally().hindered(&why);
                            Event::NotLoaded(why)
                        }
                        Owned::Asked(asked) => Event::Asked(asked),
                        Owned::Reported(reported) => Event::Reported(reported),
                    };
                    self.machine.on(event)
                }
                Some(packet) = self.answers.recv() => self.machine.on(Event::Answer(&packet)),
                () = until(self.timer) => {
                    self.timer = None;
                    self.machine.on(Event::Timer)
                }
            };
            self.perform(actions);
        }
    }

    /// Notes how long the agent waited, over all its calls, if it got what it wanted.
    fn served(&mut self, event: &Owned) {
        match event {
            Owned::Asked(Asked::Work(_)) | Owned::Reported(Reported::Accepted) => {
                if let Some(since) = self.waits.take() {
                    self.storm.tally().served(since.elapsed());
                }
            }
            Owned::Asked(Asked::Nothing) | Owned::Reported(Reported::Refused) => self.waits = None,
            _ => {}
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let (storm, index) = (Arc::clone(&self.storm), self.seed.index);
        for action in actions {
            match action {
                Action::Send(packet) => {
                    let _ = storm.wire.send(&packet); // a packet that is lost is sent again
                }
                Action::Wait(time) => self.timer = Some(Instant::now() + time),
                Action::Load(load) => self.operation = Some(self.load(load)),
                Action::Ask { arguments } => {
                    self.waits.get_or_insert_with(Instant::now);
                    self.operation = Some(self.ask(&arguments));
                }
                Action::Report(job, progress) => {
                    self.watch = None;
                    self.waits.get_or_insert_with(Instant::now);
                    self.operation = Some(self.report(*job, progress));
                }
                Action::Say(lines) => self.say(&lines, None),
                Action::Output(job, lines) => {
                    self.watch = self.agent.as_ref().and_then(|agent| agent.watch(&job));
                    if let Some(agent) = &self.agent {
                        agent.output(&job, &lines);
                    }
                    self.say(&lines, Some(&job));
                }
                // The server's DHCP gives the address of the Hardware, which the sockets have anyway.
                Action::Use(_) => {}
                Action::Reached(milestone) => storm.tally().reached(index, milestone),
                Action::Failed(why) => storm.tally().failed(index, why, self.machine.attempt()),
                Action::Drop => {
                    (self.operation, self.timer, self.http, self.agent, self.watch) = (None, None, None, None, None);
                    self.cables.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                Action::End(end) => {
                    storm.tally().ended(index, end);
                    self.is_over = true;
                }
            }
        }
        storm.tally().does(index, self.machine.doing());
    }

    /// No packet leaves any more, not even the one that would close a connection.
    fn cut_power(&self) {
        self.storm.tally().cut();
        let cables = self.cables.lock().unwrap_or_else(PoisonError::into_inner);
        for cable in cables.iter().map(SockRef::from) {
            let _ = cable.set_mark(NO_POWER); // only root may, and without it the server sees an ordinary end
        }
    }

    fn load(&mut self, load: Load) -> BoxFuture<'static, Ended> {
        let (storm, link, http, agent) = (Arc::clone(&self.storm), self.seed.link, self.http.take(), self.agent.take());
        let (firmware, cables) = (Firmware::of(self.seed.number), Arc::clone(&self.cables));
        Box::pin(async move {
            let (loaded, http) = match load {
                Load::Tftp { server, file } => {
                    let fetched = tftp_socket::fetch(link, server, &file, firmware).await;
                    let counted = fetched.inspect(|bytes| storm.tally().bytes.tftp += bytes);
                    (counted.map(|_| None).map_err(|error| format!("TFTP: {error}")), http)
                }
                Load::Http { url, is_script } => {
                    let began = Instant::now();
                    let (loaded, http) = get(&storm, &cables, link, http, &url, is_script).await;
                    if is_script && let Ok(answer) = &loaded {
                        storm.tally().script(answer.took, began.elapsed());
                    }
                    (loaded.map(|answer| is_script.then_some(answer.text)).map_err(|error| format!("HTTP: {error}")), http)
                }
                Load::Image(reference) => {
                    let loaded = pull(&storm, &cables, link, http, &reference).await;
                    (loaded.0.map(|()| None).map_err(|error| format!("registry: {error}")), loaded.1)
                }
            };
            let event = loaded.map_or_else(Owned::NotLoaded, Owned::Loaded);
            Ended { event, http, agent }
        })
    }

    fn ask(&mut self, arguments: &str) -> BoxFuture<'static, Ended> {
        let arguments = Arguments::parse(arguments).arguments;
        let host = arguments.syslog_host.as_deref().and_then(|host| host.parse().ok());
        self.syslog = host.map(|host| SocketAddr::new(host, arguments.syslog_port.unwrap_or(syslog::PORT)));
        let servers = Servers::of(&arguments, self.seed.number);
        if self.servers.all != servers.all {
            self.servers = Arc::new(servers);
        }
        let servers = Arc::clone(&self.servers);
        let (storm, link, http, agent) = (Arc::clone(&self.storm), self.seed.link, self.http.take(), self.agent.take());
        let (cables, mac, number) = (Arc::clone(&self.cables), site::mac_text(self.seed.number), self.seed.number);
        Box::pin(async move {
            let Ok(mut agent) = servers.connected(agent, link, &mac, &cables).await else {
                return Ended { event: Owned::Asked(Asked::Unreachable), http, agent: None };
            };
            let question = storm.tally().ledger.question();
            let workflow = format!("default/install-{number}");
            let (asked, is_useful) = tokio::select! {
                answered = agent.ask() => answered,
                () = until_over(&storm, &workflow) => (Asked::Over, false),
            };
            if !is_useful && asked == Asked::Unreachable {
                servers.leave();
            }
            if let Asked::Work(job) = &asked {
                storm.tally().ledger.hand_out(job, question);
            }
            Ended { event: Owned::Asked(asked), http, agent: is_useful.then_some(agent) }
        })
    }

    fn report(&mut self, job: Job, progress: Progress) -> BoxFuture<'static, Ended> {
        let (storm, http, agent) = (Arc::clone(&self.storm), self.http.take(), self.agent.take());
        let (link, cables, mac) = (self.seed.link, Arc::clone(&self.cables), site::mac_text(self.seed.number));
        let servers = Arc::clone(&self.servers);
        Box::pin(async move {
            let Ok(mut agent) = servers.connected(agent, link, &mac, &cables).await else {
                return Ended { event: Owned::Reported(Reported::Unreachable), http, agent: None };
            };
            let (reported, is_useful) = agent.report(&job, progress).await;
            match reported {
                Reported::Accepted => storm.tally().ledger.acknowledge(&job, progress),
                Reported::Unreachable => servers.leave(),
                _ => {}
            }
            Ended { event: Owned::Reported(reported), http, agent: is_useful.then_some(agent) }
        })
    }

    /// Sends lines to the syslog server, if it is known.
    fn say(&self, lines: &[String], job: Option<&Job>) {
        let Some(server) = self.syslog else { return };
        let Ok(socket) = UdpSocket::bind((self.seed.link.address, 0)) else { return };
        let hostname = site::mac_text(self.seed.number);
        for line in lines {
            let origin = job.map(|job| ActionLine { action: &job.name, stream: "stdout" });
            let text = if job.is_some() { format!("{}{line}", machine::kernel_log::OUTPUT) } else { line.clone() };
            let message = Message { level: Level::Info, now: SystemTime::now(), hostname: &hostname, text: &text, origin };
            let _ = socket.send_to(&syslog::render(&message), server); // a best effort, as the agent's
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

async fn operation(operation: &mut Option<BoxFuture<'static, Ended>>) -> Ended {
    match operation {
        Some(operation) => operation.await,
        None => pending().await,
    }
}

async fn until_over(storm: &Storm, workflow: &str) {
    loop {
        sleep(LOOKS).await;
        if storm.tally().ledger.is_over(workflow) {
            return;
        }
    }
}

/// The connection to this server: the one that is there, or another one.
async fn connected(cables: &Cables, link: Link, http: Option<Connection>, server: SocketAddrV4) -> io::Result<Connection> {
    if let Some(http) = http.filter(|http| http.server() == server) {
        return Ok(http);
    }
    let connection = Connection::open(link, server).await?;
    if link.is_cut {
        let cable: Socket = connection.socket().try_clone()?;
        cables.lock().unwrap_or_else(PoisonError::into_inner).push(cable);
    }
    Ok(connection)
}

/// A connection that fails is not used again.
async fn get(
    storm: &Storm,
    cables: &Cables,
    link: Link,
    http: Option<Connection>,
    url: &str,
    wants_text: bool,
) -> (io::Result<Answer>, Option<Connection>) {
    let fetched = async {
        let (server, path) = http::parts(url)?;
        let mut connection = connected(cables, link, http, server).await?;
        let answer = connection.get(path, wants_text).await?;
        storm.tally().bytes.http += answer.bytes;
        Ok((answer, connection))
    };
    match fetched.await {
        Ok((answer, connection)) => (Ok(answer), Some(connection)),
        Err(error) => (Err(error), None),
    }
}

#[derive(Deserialize)]
struct Manifest {
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    digest: String,
}

/// Manifest, configuration and layers of `HOST:PORT/NAME:TAG`.
async fn pull(
    storm: &Storm,
    cables: &Cables,
    link: Link,
    http: Option<Connection>,
    reference: &str,
) -> (io::Result<()>, Option<Connection>) {
    let parts = reference.split_once('/').and_then(|(host, rest)| Some((host, rest.rsplit_once(':')?)));
    let Some((host, (name, tag))) = parts else {
        return (Err(io::Error::other(format!("{reference} is not HOST:PORT/NAME:TAG"))), http);
    };
    let base = format!("http://{host}/v2/{name}");
    let (manifest, mut http) = get(storm, cables, link, http, &format!("{base}/manifests/{tag}"), true).await;
    let manifest: Manifest = match manifest.and_then(|answer| serde_json::from_str(&answer.text).map_err(io::Error::other)) {
        Ok(manifest) => manifest,
        Err(error) => return (Err(error), http),
    };
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let (loaded, connection) = get(storm, cables, link, http, &format!("{base}/blobs/{}", blob.digest), false).await;
        http = connection;
        if let Err(error) = loaded {
            return (Err(error), http);
        }
    }
    (Ok(()), http)
}
