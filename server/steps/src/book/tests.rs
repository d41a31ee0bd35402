use super::*;

const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn step(second: i64, kind: StepKind, asked: &str) -> BootStep {
    BootStep::new(at(second), kind, asked, "x")
}

fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac::new([2, 1, a, b, c, d])
}

fn asked(book: &Book, mac: Mac) -> Vec<String> {
    book.of(mac).map(|step| format!("{} {} x{}", step.latest().as_second(), step.asked, step.count)).collect()
}

fn replayed(lines: &[u8]) -> Book {
    let mut book = Book::default();
    lines.split(|byte| *byte == b'\n').for_each(|line| book.replay(line));
    book
}

fn whole(book: &mut Book) -> Vec<u8> {
    let macs = book.macs();
    book.whole(&macs)
}

#[test]
fn steps_that_are_taken_while_the_file_is_written_anew_are_in_it() {
    let mut book = Book::default();
    let macs = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].map(Mac::new);
    for mac in macs {
        book.add(mac, true, step(1, StepKind::Offered, "DISCOVER"));
    }
    let mut file = book.whole(&macs[..1]);
    for mac in macs {
        book.add(mac, true, step(2, StepKind::Acknowledged, "REQUEST"));
    }
    file.extend(book.whole(&macs[1..]));
    file.extend(book.take_changes());
    for mac in macs {
        assert_eq!(asked(&replayed(&file), mac), asked(&book, mac), "{mac}");
        assert_eq!(book.of(mac).count(), 2);
    }
    assert!(book.take_changes().is_empty());
}

#[test]
fn the_same_step_again_is_counted() {
    let mut book = Book::default();
    for second in 0..5 {
        book.add(MAC, true, step(second, StepKind::Offered, "DISCOVER"));
    }
    book.add(MAC, true, step(6, StepKind::Acknowledged, "REQUEST"));
    assert_eq!(asked(&book, MAC), ["4 DISCOVER x5", "6 REQUEST x1"]);
}

#[test]
fn a_flood_of_invented_machines_pushes_out_no_known_one() {
    let mut book = Book::default();
    book.add(MAC, true, step(0, StepKind::Offered, "DISCOVER"));
    for number in 0..100_000 {
        book.add(mac(number), false, step(1, StepKind::Unknown, "DISCOVER"));
    }
    assert!(book.strangers.len() <= STRANGERS, "{}", book.strangers.len());
    assert_eq!(asked(&book, MAC), ["0 DISCOVER x1"]);
    assert!(book.take_changes().len() < STRANGERS * 300, "what is written of a flood is bounded");
}

#[test]
fn many_machines_share_the_total_and_each_keeps_some() {
    let mut book = Book::default();
    for round in 0..60 {
        for number in 0..4 {
            book.add(mac(number), true, step(round, StepKind::Offered, &round.to_string()));
        }
    }
    assert_eq!(book.of(mac(0)).count(), MOST);
    for number in 0..u32::try_from(PLACES).unwrap() * 2 {
        for round in 0..8 {
            book.add(mac(number), true, step(100 + round, StepKind::Offered, &round.to_string()));
        }
    }
    let steps: usize = book.known.values().map(|kept| kept.steps.len()).sum();
    assert!(book.known.len() <= PLACES && steps <= TOTAL + PLACES, "{} machines, {steps} steps", book.known.len());
    assert!(book.known.values().all(|kept| kept.steps.len() >= LEAST));
}

/// One boot of a machine with discovery of its packs.
fn boot() -> Vec<BootStep> {
    let kinds = [
        StepKind::Offered,
        StepKind::Acknowledged,
        StepKind::Nbp,
        StepKind::Offered,
        StepKind::Acknowledged,
        StepKind::Script,
        StepKind::Script,
        StepKind::Kernel,
        StepKind::Ramdisk,
        StepKind::Acknowledged,
        StepKind::Log,
        StepKind::Agent,
    ];
    (0..).zip(kinds).map(|(second, kind)| step(second, kind, &format!("step {second}"))).collect()
}

#[test]
fn what_a_running_system_reads_pushes_out_no_step_of_its_boot() {
    let mut book = Book::default();
    let boot = boot();
    for step in &boot {
        book.add(MAC, true, step.clone());
    }
    let mut file = book.take_changes();
    for second in 100..1100 {
        for (kind, asked) in [
            (StepKind::File, format!("GET a{second}.deb")),
            (StepKind::FileRefused, format!("GET b{second}")),
            (StepKind::BrokenOff, "GET c".to_owned()),
            (StepKind::Acknowledged, "REQUEST of Linux".to_owned()),
        ] {
            book.add(MAC, true, step(second, kind, &asked));
        }
        if second % 7 == 0 {
            file.extend(book.take_changes());
        }
    }
    file.extend(book.take_changes());
    let steps: Vec<&BootStep> = book.of(MAC).collect();
    assert!(boot.iter().zip(&steps).all(|(one, kept)| one.says_the_same(kept)), "{steps:?}");
    let later: Vec<String> = asked(&book, MAC).split_off(boot.len());
    assert_eq!(
        later,
        [
            "100 GET b100 x1",
            "101 GET b101 x1",
            "102 GET b102 x1",
            "1099 GET a1099.deb x1000",
            "1099 GET b1099 x997",
            "1099 GET c x1000",
            "1099 REQUEST of Linux x1000"
        ]
    );
    let files = steps.iter().find(|step| step.kind == StepKind::File).unwrap();
    assert_eq!(files.why, "the latest of several files");
    assert_eq!(asked(&replayed(&file), MAC), asked(&book, MAC), "and the file says the same");
}

#[test]
fn ten_thousand_machines_keep_a_boot_each() {
    let mut book = Book::default();
    let boot = boot();
    for number in 0..10_000 {
        for step in &boot {
            book.add(mac(number), true, step.clone());
        }
    }
    for number in 0..10_000 {
        for package in 0..20 {
            book.add(mac(number), true, step(100, StepKind::File, &format!("GET {package}.deb")));
        }
    }
    for number in [0, 5000, 9999] {
        assert_eq!(book.of(mac(number)).count(), boot.len() + 1, "machine {number}");
    }
}

#[test]
fn what_waits_to_be_written_is_bounded_as_the_steps_are() {
    let mut book = Book::default();
    for number in 0..50_000 {
        book.add(mac(number), false, step(1, StepKind::Unknown, "DISCOVER"));
    }
    assert!(book.changed.len() <= STRANGERS, "{} wait although their steps have gone", book.changed.len());
    book.forget_changes();
    assert!(!book.has_changed());
}

#[test]
fn a_line_or_a_call_is_a_step_once_in_a_boot() {
    let mut book = Book::default();
    for (second, kind) in [
        (1, StepKind::Offered),
        (2, StepKind::Log),
        (3, StepKind::Log),
        (4, StepKind::Agent),
        (5, StepKind::Acknowledged),
        (6, StepKind::Agent),
        (7, StepKind::Log),
        (8, StepKind::Offered),
        (9, StepKind::Agent),
    ] {
        book.add(MAC, true, step(second, kind, "x"));
    }
    let seconds: Vec<i64> = book.of(MAC).map(|step| step.latest().as_second()).collect();
    assert_eq!(seconds, [1, 2, 4, 5, 8, 9], "a renewed lease is not a boot, a DISCOVER is one");
}

#[test]
fn what_was_written_comes_back() {
    let mut book = Book::default();
    let mut file = Vec::new();
    for second in 0..200 {
        book.add(MAC, true, step(second, StepKind::Offered, &(second / 3).to_string()));
        if second % 7 == 0 {
            file.extend(book.take_changes());
        }
    }
    book.add(mac(1), false, step(5, StepKind::Unknown, "DISCOVER"));
    file.extend(book.take_changes());
    assert!(book.take_changes().is_empty());
    let mut again = replayed(&file);
    assert_eq!((asked(&again, MAC), asked(&again, mac(1))), (asked(&book, MAC), asked(&book, mac(1))));
    assert!(again.strangers.contains_key(&mac(1)) && again.known.contains_key(&MAC));
    again.add(MAC, true, step(300, StepKind::Offered, "later"));
    file.extend(again.take_changes());
    assert_eq!(asked(&replayed(&file), MAC), asked(&again, MAC), "a second process goes on");
    assert_eq!(asked(&replayed(&whole(&mut again)), MAC), asked(&again, MAC), "and so does the file that was written anew");
}

#[test]
fn a_machine_that_gets_hardware_keeps_its_steps() {
    let mut book = Book::default();
    book.add(MAC, false, step(1, StepKind::Unknown, "DISCOVER"));
    book.add(MAC, true, step(2, StepKind::Offered, "DISCOVER"));
    assert!(book.strangers.is_empty());
    assert_eq!(asked(&book, MAC).len(), 2);
    let lines = book.take_changes();
    assert_eq!(asked(&replayed(&lines), MAC).len(), 2);
}

#[test]
fn texts_of_machines_are_bounded_and_act_on_nothing() {
    let mut book = Book::default();
    book.add(MAC, true, step(1, StepKind::NbpRefused, &"\u{1b}[2J\n".repeat(100)));
    let text = book.of(MAC).next().unwrap().asked.clone();
    assert!(machine::is_harmless(&text) && text.len() < 12 * LONGEST, "{text}");
}

#[test]
fn a_typing_error_is_two_digits_at_most() {
    let mut book = Book::default();
    for last in [[0, 0x11], [1, 0x10], [0, 0x33], [0x11, 0x11]] {
        book.add(Mac::new([2, 0, 0, 0, last[0], last[1]]), false, step(1, StepKind::Unknown, "x"));
    }
    let found: Vec<String> = book.similar(Mac::new([2, 0, 0, 0, 0, 0x10])).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["02:00:00:00:00:11", "02:00:00:00:00:33", "02:00:00:00:01:10"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_file(bytes: Vec<u8>, number: u64) {
        let line = format!("{{\"mac\":\"02:00:00:00:00:01\",\"known\":true,\"number\":{number},\"at\":\"1970-01-01T00:00:00Z\",\"kind\":\"log\"}}\n");
        let mut book = replayed(&[line.as_bytes(), line.as_bytes(), &bytes, line.as_bytes()].concat());
        book.add(MAC, true, step(1, StepKind::Offered, "x"));
        proptest::prop_assert!(book.of(MAC).count() <= 3);
        book.take_changes();
    }
}

#[test]
fn a_number_after_which_no_other_one_comes_is_not_believed() {
    let mut book = Book::default();
    book.add(MAC, true, step(1, StepKind::Offered, "DISCOVER"));
    let line = String::from_utf8(whole(&mut book)).unwrap();
    for number in [u64::MAX, u64::MAX - 1, HIGHEST + 1] {
        let mut found = replayed(line.replace("\"number\":0", &format!("\"number\":{number}")).as_bytes());
        assert_eq!(found.of(MAC).count(), 0, "{number}");
        found.add(MAC, true, step(2, StepKind::Acknowledged, "REQUEST"));
        assert_eq!(asked(&replayed(&whole(&mut found)), MAC), ["2 REQUEST x1"]);
    }
}

#[test]
fn a_text_that_is_cut_is_read_as_it_was_written() {
    for text in ["\u{17}".repeat(300), "é ".repeat(300), format!("{}\u{1b}   x", "é".repeat(190))] {
        let mut book = Book::default();
        book.add(MAC, true, step(1, StepKind::Offered, &text));
        let file = whole(&mut book);
        assert_eq!(String::from_utf8(whole(&mut replayed(&file))).unwrap(), String::from_utf8(file).unwrap());
        assert!(book.of(MAC).all(|step| step.asked.chars().count() <= LONGEST));
    }
}
