use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::v4::{MessageType, Text, code};

use super::*;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const UEFI: u32 = 2;

fn machine(number: u32) -> Machine {
    let habits = Habits { kernel: Duration::from_secs(1), work: Duration::from_secs(1), lines: 2 };
    Machine::new(number, habits, Dice::of_machine(1, number))
}

fn sent(actions: &[Action]) -> Packet {
    let packet = actions.iter().find_map(|action| match action {
        Action::Send(packet) => Some((**packet).clone()),
        _ => None,
    });
    packet.unwrap_or_else(|| panic!("no packet in {actions:?}"))
}

fn load(actions: &[Action]) -> Load {
    let load = actions.iter().find_map(|action| match action {
        Action::Load(load) => Some(load.clone()),
        _ => None,
    });
    load.unwrap_or_else(|| panic!("no load in {actions:?}"))
}

fn answer(packet: &Packet, kind: MessageType, file: &str) -> Packet {
    let mut answer = packet.reply(kind);
    (answer.yiaddr, answer.siaddr, answer.file) = (Ipv4Addr::new(10, 76, 0, 9), HOST, Text::new(file).unwrap());
    answer.options.set_ip(code::SERVER_ID, HOST);
    answer
}

/// Goes through one DHCP exchange, and returns what the ACK causes.
fn addressed(machine: &mut Machine, discover: &Packet, file: &str) -> Vec<Action> {
    let offered = machine.on(Event::Answer(&answer(discover, MessageType::Offer, file)));
    let requested = if offered.is_empty() { machine.on(Event::Timer) } else { offered };
    machine.on(Event::Answer(&answer(&sent(&requested), MessageType::Ack, file)))
}

const SCRIPT: &str = "#!ipxe\nkernel http://h/vmlinuz worker_id=a && goto x ||\ninitrd http://h/i.zst && goto y ||\nboot\n";

/// A machine that has its script, and what follows from it.
fn scripted(number: u32, script: &str) -> (Machine, Vec<Action>) {
    let mut machine = machine(number);
    let discover = sent(&machine.on(Event::PowerOn));
    addressed(&mut machine, &discover, "ipxe.efi");
    let discover = sent(&machine.on(Event::Loaded(None)));
    assert!(discover.has_user_class(b"iPXE"));
    let actions = addressed(&mut machine, &discover, "http://h/auto.ipxe");
    assert_eq!(load(&actions), Load::Http { url: "http://h/auto.ipxe".to_owned(), is_script: true });
    let actions = machine.on(Event::Loaded(Some(script.to_owned())));
    (machine, actions)
}

fn asking() -> Machine {
    let (mut machine, actions) = scripted(UEFI, SCRIPT);
    assert_eq!(load(&actions), Load::Http { url: "http://h/vmlinuz".to_owned(), is_script: false });
    machine.on(Event::Loaded(None));
    assert!(machine.on(Event::Loaded(None)).contains(&Action::Reached(Milestone::Ramdisk)));
    let discover = sent(&machine.on(Event::Timer));
    let actions = addressed(&mut machine, &discover, "");
    assert!(actions.contains(&Action::Ask { arguments: "worker_id=a".to_owned() }), "{actions:?}");
    machine
}

fn job(name: &str) -> Box<Job> {
    Box::new(Job { workflow: "default/w".to_owned(), name: name.to_owned(), image: "h:1/i:1".to_owned(), ..Job::default() })
}

/// One action from the answer to its acknowledged success.
fn run(machine: &mut Machine, name: &str) -> Vec<Action> {
    let actions = machine.on(Event::Asked(Asked::Work(job(name))));
    assert!(actions.contains(&Action::Report(job(name), Progress::Running)));
    let actions = machine.on(Event::Reported(Reported::Accepted));
    if actions.iter().any(|action| matches!(action, Action::Load(Load::Image(_)))) {
        machine.on(Event::Loaded(None));
    }
    assert_eq!(machine.on(Event::Timer), [Action::Report(job(name), Progress::Success)]);
    machine.on(Event::Reported(Reported::Accepted))
}

#[test]
fn a_machine_boots_and_works_to_its_third_acknowledged_success() {
    let mut machine = asking();
    assert!(!run(&mut machine, "stream").contains(&Action::Reached(Milestone::ThirdReport)));
    let actions = machine.on(Event::Asked(Asked::Work(job("configure"))));
    assert_eq!(actions.last(), Some(&Action::Report(job("configure"), Progress::Running)));
    let actions = machine.on(Event::Reported(Reported::Accepted));
    assert_eq!(actions.first(), Some(&Action::Reached(Milestone::ThirdReport)));
    assert!(!actions.iter().any(|action| matches!(action, Action::Load(_))), "it has the image");
    machine.on(Event::Timer);
    machine.on(Event::Reported(Reported::Accepted));
    let actions = run(&mut machine, "finish");
    assert_eq!(actions, [Action::Reached(Milestone::Done), Action::End(End::Done)]);
    assert_eq!((machine.attempt(), machine.on(Event::PowerCut)), (1, vec![]), "its end stays its end");
}

#[test]
fn the_firmware_says_how_its_program_is_loaded() {
    for (number, file, expected) in [
        (0, "undionly.kpxe", Load::Tftp { server: HOST, file: "undionly.kpxe".to_owned() }),
        (1, "http://h/ipxe.efi", Load::Http { url: "http://h/ipxe.efi".to_owned(), is_script: false }),
        (2, "ipxe.efi", Load::Tftp { server: HOST, file: "ipxe.efi".to_owned() }),
    ] {
        let mut machine = machine(number);
        let discover = sent(&machine.on(Event::PowerOn));
        assert_eq!(load(&addressed(&mut machine, &discover, file)), expected);
    }
}

#[test]
fn what_gives_up_starts_the_machine_again_after_growing_pauses() {
    let mut machine = machine(UEFI);
    let mut pauses = Vec::new();
    for attempt in 1..4 {
        assert_eq!(machine.attempt(), attempt);
        let discover = sent(&machine.on(Event::Timer));
        addressed(&mut machine, &discover, "ipxe.efi");
        let actions = machine.on(Event::NotLoaded("busy".to_owned()));
        let [Action::Failed(why), Action::Drop, Action::Wait(pause)] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!(why, "busy");
        pauses.push(*pause);
    }
    assert!(pauses.is_sorted_by(|a, b| a < b), "{pauses:?}");
}

#[test]
fn a_file_is_tried_as_often_as_the_script_says() {
    let (mut machine, _) = scripted(UEFI, SCRIPT);
    for _ in 1..DOWNLOADS {
        assert!(matches!(machine.on(Event::NotLoaded("reset".to_owned()))[..], [Action::Wait(_)]));
        assert!(matches!(machine.on(Event::Timer)[..], [Action::Load(_)]));
    }
    assert!(matches!(machine.on(Event::NotLoaded("reset".to_owned()))[..], [Action::Failed(_), ..]));
}

#[test]
fn an_installed_machine_boots_its_disk_and_a_held_one_asks_again() {
    let (_, actions) = scripted(UEFI, "#!ipxe\nsanboot --drive 0x80 ||\nexit 0\n");
    assert_eq!(actions, [Action::End(End::Disk)]);
    let (mut machine, actions) = scripted(UEFI, "#!ipxe\nsleep 60\nchain --replace --autofree http://h/a ||\n");
    assert!(matches!(actions[..], [Action::Wait(_)]));
    assert_eq!(load(&machine.on(Event::Timer)), Load::Http { url: "http://h/a".to_owned(), is_script: true });
}

#[test]
fn a_power_cut_at_any_point_leads_back_to_the_first_question() {
    let points: [fn() -> Machine; 4] = [
        || machine(UEFI),
        || scripted(UEFI, SCRIPT).0,
        asking,
        || {
            let mut machine = asking();
            machine.on(Event::Asked(Asked::Work(job("stream"))));
            machine.on(Event::Reported(Reported::Accepted));
            machine
        },
    ];
    for make in points {
        let mut machine = make();
        assert!(matches!(machine.on(Event::PowerCut)[..], [Action::Drop, Action::Wait(_)]));
        assert_eq!(sent(&machine.on(Event::Timer)).message_type(), Some(MessageType::Discover));
        assert_eq!(machine.attempt(), 1);
    }
}

#[test]
fn a_result_is_reported_until_the_server_has_it_or_refuses_it() {
    let mut machine = asking();
    machine.on(Event::Asked(Asked::Work(job("stream"))));
    machine.on(Event::Reported(Reported::Accepted));
    machine.on(Event::Loaded(None));
    machine.on(Event::Timer);
    for reported in [Reported::Unreachable, Reported::Trouble] {
        assert!(matches!(machine.on(Event::Reported(reported))[..], [Action::Wait(_)]));
        assert_eq!(machine.on(Event::Timer), [Action::Report(job("stream"), Progress::Success)]);
    }
    assert!(matches!(machine.on(Event::Reported(Reported::Refused))[..], [Action::Ask { .. }]));
}

#[test]
fn an_action_whose_start_is_not_accepted_does_not_run() {
    for reported in [Reported::Refused, Reported::Unreachable, Reported::Trouble] {
        let mut machine = asking();
        machine.on(Event::Asked(Asked::Work(job("stream"))));
        assert!(matches!(machine.on(Event::Reported(reported))[..], [Action::Wait(_)]));
        assert!(matches!(machine.on(Event::Timer)[..], [Action::Ask { .. }]));
    }
}

#[test]
fn a_registry_that_is_down_is_asked_again() {
    let mut machine = asking();
    machine.on(Event::Asked(Asked::Work(job("stream"))));
    assert!(matches!(load(&machine.on(Event::Reported(Reported::Accepted))), Load::Image(_)));
    assert!(matches!(machine.on(Event::NotLoaded("refused".to_owned()))[..], [Action::Wait(_)]));
    assert!(matches!(load(&machine.on(Event::Timer)), Load::Image(_)));
}

/// Whatever comes at whatever time, it does not panic, and its end is the last thing that it does.
#[test]
fn no_order_of_events_confuses_it() {
    for seed in 0..300 {
        let (mut dice, mut machine) = (Dice::new(seed), machine(u32::try_from(seed).unwrap()));
        let mut asked = None;
        let mut is_over = false;
        for _ in 0..200 {
            let reply = asked.as_ref().map(|packet: &Packet| {
                let kind =
                    if packet.message_type() == Some(MessageType::Discover) { MessageType::Offer } else { MessageType::Ack };
                answer(packet, kind, "http://h/auto.ipxe")
            });
            let event = match dice.roll() % 12 {
                0 => Event::PowerOn,
                1 if dice.roll().is_multiple_of(8) => Event::PowerCut,
                1..=3 => Event::Timer,
                4 | 5 => reply.as_ref().map_or(Event::Timer, Event::Answer),
                6 | 7 => Event::Loaded(Some(SCRIPT.to_owned())),
                8 => Event::NotLoaded("no".to_owned()),
                9 => Event::Asked(Asked::Work(job("finish"))),
                10 => Event::Asked(Asked::Nothing),
                _ => Event::Reported(if dice.roll().is_multiple_of(2) { Reported::Accepted } else { Reported::Refused }),
            };
            let actions = machine.on(event);
            assert!(!is_over || actions.is_empty(), "{actions:?} after its end");
            is_over |= actions.iter().any(|action| matches!(action, Action::End(_)));
            if actions.iter().any(|action| matches!(action, Action::Send(_))) {
                asked = Some(sent(&actions));
            }
        }
        assert_eq!(is_over, machine.doing() == "has ended");
    }
}
