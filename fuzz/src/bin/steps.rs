//! Any file of how machines booted: what is read of it is bounded and harmless, is the same after it is written again, and has a
//! diagnosis.
#![no_main]

use api::{BootState, BootStep, StepKind};
use fuzz::{Fields, assert_harmless};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use model::Mac;
use steps::{Book, MOST, Situation, diagnose};

const KINDS: [StepKind; 21] = [
    StepKind::Unknown,
    StepKind::Silent,
    StepKind::Offered,
    StepKind::Acknowledged,
    StepKind::Refused,
    StepKind::ChoseOther,
    StepKind::ForeignAnswer,
    StepKind::Nbp,
    StepKind::NbpStalled,
    StepKind::NbpEnded,
    StepKind::NbpRefused,
    StepKind::Script,
    StepKind::ScriptRefused,
    StepKind::Kernel,
    StepKind::Ramdisk,
    StepKind::Pack,
    StepKind::File,
    StepKind::FileRefused,
    StepKind::BrokenOff,
    StepKind::Log,
    StepKind::Agent,
];
const MACS: [Mac; 2] = [Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2])];
/// The longest line that is read.
const LINE: usize = 16 << 10;

fuzz_target!(|bytes: &[u8]| {
    let mut book = Book::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        book.replay(line);
        written(&mut book, line);
    }
    check(&mut book);
});

/// A line with good names, so that the fuzzer need not spell them: a step that is read, or one that happens now.
fn written(book: &mut Book, line: &[u8]) {
    let Some((&[machine, kind, number], rest)) = line.split_first_chunk::<3>() else { return };
    let (mac, known) = (MACS[usize::from(machine) % 2], machine & 2 == 0);
    let mut fields = Fields::new(rest);
    let at = Timestamp::from_second(i64::from(number) * 60).unwrap_or(Timestamp::UNIX_EPOCH);
    let step = BootStep::new(at, KINDS[usize::from(kind) % KINDS.len()], fields.text(), fields.text())
        .because(fields.text())
        .with_file(fields.text());
    if machine & 4 == 0 {
        book.add(mac, known, step);
        return;
    }
    let number = if machine & 8 == 0 { u64::from(number) } else { u64::MAX - u64::from(number) };
    let Ok(serde_json::Value::Object(mut record)) = serde_json::to_value(step) else { panic!("a step is an object") };
    record.extend([("mac".to_owned(), mac.to_string().into()), ("known".to_owned(), known.into())]);
    record.insert("number".to_owned(), number.into());
    book.replay(serde_json::Value::Object(record).to_string().as_bytes());
}

fn whole(book: &mut Book) -> Vec<u8> {
    let macs = book.macs();
    book.whole(&macs)
}

fn check(book: &mut Book) {
    let all = whole(book);
    let mut again = Book::default();
    let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
    for line in &lines {
        assert!(line.len() < LINE && line.ends_with(b"\n"));
        again.replay(line);
    }
    let written = whole(&mut again);
    let mut rewritten: Vec<&[u8]> = written.split_inclusive(|byte| *byte == b'\n').collect();
    let mut lines = lines;
    lines.sort_unstable();
    rewritten.sort_unstable();
    assert_eq!(lines, rewritten, "what was written is read as the same");
    for mac in MACS {
        let steps: Vec<BootStep> = book.of(mac).cloned().collect();
        assert!(steps.len() <= MOST);
        steps.iter().for_each(|step| assert_harmless(&step.to_string()));
        let similar = book.similar(mac);
        for boots in [None, Some(&BootState::Install { workflow: None }), Some(&BootState::Local { reason: String::new() })] {
            let found = diagnose(&steps, &Situation { boots, similar: &similar }, Timestamp::UNIX_EPOCH);
            found.checks.iter().chain([&found.cause]).for_each(|text| assert_harmless(text));
        }
    }
}
