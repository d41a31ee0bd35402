//! One simulated machine: `event -> (state, actions)`. It has no clock and no socket. Pure.
//!
//! Its attempt is one way from power-on to the end of its workflow. What the real programs repeat by themselves belongs to
//! the attempt: a DHCP question, a TFTP block, a download of the script, a call of the agent. If one of them gives up, the
//! firmware starts again, and that is the next attempt.

use std::time::Duration;

use dhcp::v4::Packet;
use machine::backoff::{self, Backoff};

use crate::client::{Exchange, Next};
use crate::dice::Dice;
use crate::firmware::{Client, Firmware};
use crate::milestone::Milestone;
use crate::script::Script;
use crate::site;

mod words;

pub use words::{Action, Asked, End, Event, Habits, Job, Load, Progress, Reported};

/// How often a script of boots tries a download, and its pause.
const DOWNLOADS: u32 = 10;
const BETWEEN_DOWNLOADS: Duration = Duration::from_secs(2);
/// From a boot that has failed to the next one. It grows with each.
const RESTART: Duration = Duration::from_secs(5);
const LONGEST_RESTART: u32 = 6;
/// Of the agent: `agent/src/worker.rs`.
const RECONNECT: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum State {
    Off,
    Dhcp(Exchange),
    Nbp,
    Script,
    /// Waits before it loads this script.
    Held(String),
    Files(Files),
    Kernel,
    Asking,
    Idle,
    Announcing(Box<Job>),
    Pulling(Box<Job>),
    PullingLater(Box<Job>),
    Working(Box<Job>),
    Concluding(Box<Job>),
    ConcludingLater(Box<Job>),
    Over,
}

/// Kernel and ramdisk, one after the other.
#[derive(Debug)]
struct Files {
    urls: Vec<String>,
    next: usize,
    tries: u32,
    arguments: String,
}

#[derive(Debug)]
pub struct Machine {
    mac: [u8; 6],
    firmware: Firmware,
    habits: Habits,
    dice: Dice,
    state: State,
    attempt: u32,
    reports: u32,
    /// The kernel arguments of this boot.
    arguments: String,
    images: Vec<String>,
    pause: Backoff,
}

impl Machine {
    #[must_use]
    pub fn new(number: u32, habits: Habits, dice: Dice) -> Self {
        Self {
            mac: site::mac(number),
            firmware: Firmware::of(number),
            habits,
            dice,
            state: State::Off,
            attempt: 1,
            reports: 0,
            arguments: String::new(),
            images: Vec::new(),
            pause: Backoff::new(backoff::FIRST, LONGEST_PAUSE),
        }
    }

    /// The number of this attempt. A power cut does not begin another one.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What it does now, for people.
    #[must_use]
    pub const fn doing(&self) -> &'static str {
        match &self.state {
            State::Off => "is off",
            State::Dhcp(exchange) => match exchange.client() {
                Client::Firmware(_) => "its firmware wants an address",
                Client::Ipxe(_) => "its iPXE wants an address",
                Client::Init => "its PID 1 wants an address",
            },
            State::Nbp => "loads its boot program",
            State::Script | State::Held(_) => "wants its script",
            State::Files(_) => "loads kernel and ramdisk",
            State::Kernel => "starts its kernel",
            State::Asking | State::Idle => "asks for an action",
            State::Announcing(_) => "reports RUNNING",
            State::Pulling(_) | State::PullingLater(_) => "pulls an image",
            State::Working(_) => "runs an action",
            State::Concluding(_) | State::ConcludingLater(_) => "reports SUCCESS",
            State::Over => "has ended",
        }
    }

    pub fn on(&mut self, event: Event<'_>) -> Vec<Action> {
        match (std::mem::replace(&mut self.state, State::Off), event) {
            (State::Over, _) => self.stay(State::Over),
            (_, Event::PowerCut) => {
                self.images.clear();
                vec![Action::Drop, Action::Wait(self.dice.about(BETWEEN_DOWNLOADS))]
            }
            (State::Off, Event::PowerOn | Event::Timer) => self.ask_address(Client::Firmware(self.firmware)),
            (State::Dhcp(exchange), event @ (Event::Answer(_) | Event::Timer)) => self.dhcp(exchange, &event),
            (State::Nbp, Event::Loaded(_)) => {
                // The connections of the firmware end with the firmware.
                let mut actions = vec![Action::Reached(Milestone::Nbp), Action::Drop];
                actions.extend(self.ask_address(Client::Ipxe(self.firmware)));
                actions
            }
            (State::Nbp | State::Script, Event::NotLoaded(why)) => self.restart(why),
            (State::Script, Event::Loaded(text)) => self.run_script(&text.unwrap_or_default()),
            (State::Held(url), Event::Timer) => self.load_script(url),
            (State::Files(files), event @ (Event::Loaded(_) | Event::NotLoaded(_) | Event::Timer)) => self.files(files, &event),
            (State::Kernel, Event::Timer) => self.ask_address(Client::Init),
            (state, event) => self.agent(state, event),
        }
    }

    fn stay(&mut self, state: State) -> Vec<Action> {
        self.state = state;
        Vec::new()
    }

    fn restart(&mut self, why: String) -> Vec<Action> {
        let pause = self.dice.about(RESTART * self.attempt.min(LONGEST_RESTART));
        self.attempt += 1;
        self.images.clear();
        vec![Action::Failed(why), Action::Drop, Action::Wait(pause)]
    }

    fn ask_address(&mut self, client: Client) -> Vec<Action> {
        let (exchange, next) = Exchange::begin(client, self.mac, &mut self.dice);
        self.state = State::Dhcp(exchange);
        self.follow(next)
    }

    fn dhcp(&mut self, mut exchange: Exchange, event: &Event<'_>) -> Vec<Action> {
        let next = match event {
            Event::Answer(packet) => exchange.receive(packet, &mut self.dice),
            _ => exchange.timeout(&mut self.dice),
        };
        self.state = State::Dhcp(exchange);
        self.follow(next)
    }

    fn follow(&mut self, next: Next) -> Vec<Action> {
        match next {
            Next::Send(packet, wait) => vec![Action::Send(packet), Action::Wait(wait)],
            Next::Wait(wait) => vec![Action::Wait(wait)],
            Next::Nothing => Vec::new(),
            Next::GivenUp => {
                let who = self.doing();
                self.state = State::Off;
                self.restart(format!("no DHCP server answers: {who}"))
            }
            Next::Bound(ack) => self.bound(&ack),
        }
    }

    fn bound(&mut self, ack: &Packet) -> Vec<Action> {
        let State::Dhcp(exchange) = &self.state else { return Vec::new() };
        let (client, file) = (exchange.client(), ack.boot_file().unwrap_or_default().to_owned());
        let mut actions = vec![Action::Use(ack.yiaddr)];
        actions.extend(match client {
            Client::Init => {
                let said = [format!("thimble: network eth0 {}", ack.yiaddr), "thimble: starting the agent".to_owned()];
                let mut actions = vec![Action::Reached(Milestone::Network), Action::Say(said.to_vec())];
                actions.extend(self.ask());
                actions
            }
            _ if file.is_empty() => {
                self.state = State::Off;
                self.restart("the DHCP server names no boot file".to_owned())
            }
            Client::Firmware(_) => {
                self.state = State::Nbp;
                let load = match file.contains("://") {
                    true => Load::Http { url: file, is_script: false },
                    false => Load::Tftp { server: ack.siaddr, file },
                };
                vec![Action::Reached(Milestone::Firmware), Action::Load(load)]
            }
            Client::Ipxe(_) => {
                let mut actions = vec![Action::Reached(Milestone::Ipxe)];
                actions.extend(self.load_script(file));
                actions
            }
        });
        actions
    }

    fn load_script(&mut self, url: String) -> Vec<Action> {
        self.state = State::Script;
        vec![Action::Load(Load::Http { url, is_script: true })]
    }

    fn run_script(&mut self, text: &str) -> Vec<Action> {
        match Script::parse(text) {
            Some(Script::Start { kernel, segments, arguments }) => {
                let urls = std::iter::once(kernel).chain(segments).collect();
                let mut actions = vec![Action::Reached(Milestone::Script)];
                actions.extend(self.load_file(Files { urls, next: 0, tries: 0, arguments }));
                actions
            }
            Some(Script::Again { after, url }) => {
                self.state = State::Held(url);
                vec![Action::Wait(self.dice.about(after))]
            }
            Some(Script::Disk) => {
                self.state = State::Over;
                vec![Action::End(End::Disk)]
            }
            None => self.restart("what came is not a script".to_owned()),
        }
    }

    fn load_file(&mut self, files: Files) -> Vec<Action> {
        match files.urls.get(files.next) {
            Some(url) => {
                let load = Load::Http { url: url.clone(), is_script: false };
                self.state = State::Files(files);
                vec![Action::Load(load)]
            }
            None => {
                (self.state, self.arguments) = (State::Kernel, files.arguments);
                // The connections of iPXE end with iPXE.
                vec![Action::Reached(Milestone::Ramdisk), Action::Drop, Action::Wait(self.dice.about(self.habits.kernel))]
            }
        }
    }

    /// As boots' script does it.
    fn files(&mut self, mut files: Files, event: &Event<'_>) -> Vec<Action> {
        match event {
            Event::Loaded(_) => {
                let reached = (files.next == 0).then_some(Action::Reached(Milestone::Kernel));
                (files.next, files.tries) = (files.next + 1, 0);
                reached.into_iter().chain(self.load_file(files)).collect()
            }
            Event::NotLoaded(why) => {
                files.tries += 1;
                if files.tries >= DOWNLOADS {
                    return self.restart(why.clone());
                }
                self.state = State::Files(files);
                vec![Action::Wait(self.dice.about(BETWEEN_DOWNLOADS))]
            }
            _ if files.tries > 0 => self.load_file(files),
            _ => self.stay(State::Files(files)), // an old wait
        }
    }

    fn ask(&mut self) -> Vec<Action> {
        self.state = State::Asking;
        vec![Action::Ask { arguments: self.arguments.clone() }]
    }

    fn rest(&mut self, state: State, pause: Duration) -> Vec<Action> {
        self.state = state;
        vec![Action::Wait(pause)]
    }

    fn growing(&mut self) -> Duration {
        let random = self.dice.share();
        self.pause.pause(random)
    }

    fn reconnect(&mut self) -> Duration {
        backoff::jitter(RECONNECT, self.dice.share())
    }

    /// As `agent/src/worker.rs` does it.
    fn agent(&mut self, state: State, event: Event<'_>) -> Vec<Action> {
        match (state, event) {
            (State::Asking, Event::Asked(Asked::Work(job))) => {
                self.state = State::Announcing(job.clone());
                vec![Action::Reached(Milestone::Action), Action::Report(job, Progress::Running)]
            }
            (State::Asking, Event::Asked(Asked::Over)) => {
                self.state = State::Over;
                vec![Action::End(End::Done)]
            }
            (State::Asking, Event::Asked(Asked::Unreachable)) => {
                let pause = self.reconnect();
                self.rest(State::Idle, pause)
            }
            (State::Asking, Event::Asked(Asked::Nothing | Asked::Trouble)) => {
                let pause = self.growing();
                self.rest(State::Idle, pause)
            }
            (State::Idle, Event::Timer) => self.ask(),
            (State::Announcing(job), Event::Reported(Reported::Accepted)) => {
                let mut actions = self.acknowledged();
                actions.extend(self.pull(job));
                actions
            }
            (State::Announcing(_), Event::Reported(_)) => {
                let pause = self.growing();
                self.rest(State::Idle, pause)
            }
            (State::PullingLater(job), Event::Timer) => self.pull(job),
            (State::Pulling(job), Event::Loaded(_)) => {
                self.images.push(job.image.clone());
                self.work(job)
            }
            (State::Pulling(job), Event::NotLoaded(_)) => {
                let pause = self.growing();
                self.rest(State::PullingLater(job), pause)
            }
            (State::Working(job), Event::Timer) | (State::ConcludingLater(job), Event::Timer) => {
                self.state = State::Concluding(job.clone());
                vec![Action::Report(job, Progress::Success)]
            }
            (State::Concluding(job), Event::Reported(reported)) => self.concluded(job, reported),
            (state, _) => self.stay(state),
        }
    }

    fn acknowledged(&mut self) -> Vec<Action> {
        self.pause.reset();
        self.reports += 1;
        if self.reports == 3 { vec![Action::Reached(Milestone::ThirdReport)] } else { Vec::new() }
    }

    fn pull(&mut self, job: Box<Job>) -> Vec<Action> {
        if self.images.contains(&job.image) {
            return self.work(job);
        }
        let load = Load::Image(job.image.clone());
        self.state = State::Pulling(job);
        vec![Action::Load(load)]
    }

    fn work(&mut self, job: Box<Job>) -> Vec<Action> {
        self.pause.reset();
        let lines = (1..=self.habits.lines).map(|line| format!("{}: step {line} of {}", job.name, self.habits.lines)).collect();
        self.state = State::Working(job.clone());
        vec![Action::Output(job, lines), Action::Wait(self.dice.about(self.habits.work))]
    }

    fn concluded(&mut self, job: Box<Job>, reported: Reported) -> Vec<Action> {
        match reported {
            Reported::Accepted => {
                let mut actions = self.acknowledged();
                if site::ACTIONS.last().is_some_and(|last| *last == job.name) {
                    self.state = State::Over;
                    actions.extend([Action::Reached(Milestone::Done), Action::End(End::Done)]);
                } else {
                    actions.extend(self.ask());
                }
                actions
            }
            Reported::Refused => self.ask(),
            Reported::Unreachable => {
                let pause = self.reconnect();
                self.rest(State::ConcludingLater(job), pause)
            }
            Reported::Trouble => {
                let pause = self.growing();
                self.rest(State::ConcludingLater(job), pause)
            }
        }
    }
}

#[cfg(test)]
mod tests;
