//! Hostile Hardware and any path: what boot loaders get has the form that it has for harmless Hardware, so that no value becomes a
//! command, a variable or a line.
#![no_main]

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use boots::ipxe::{self, Packs};
use boots::loaders::{Asked, Via, asked, below_files, instead, make, onie_names, places};
use boots::{BootInterface, BootState, Config, Osie};
use fuzz::{Fields, assert_harmless};
use libfuzzer_sys::fuzz_target;
use model::Mac;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::new(OWN, "/nowhere".into(), "/nowhere".into()));
static ASKED: LazyLock<[Asked; 5]> = LazyLock::new(|| {
    let pi = |file: &str| Asked::RaspberryPi { serial: None, file: file.to_owned() };
    [Asked::Pxelinux, Asked::Grub, Asked::BootScript, pi("config.txt"), pi("cmdline.txt")]
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&[state, loader], rest)) = bytes.split_first_chunk::<2>() else { return };
    let mut fields = Fields::new(rest);
    if loader % 16 == 0 {
        path(&fields.text());
        let names = onie_names(&fields.text(), &fields.text(), &fields.text());
        assert!(names.iter().all(|name| name.starts_with("onie-installer") && !name.contains(['/', '\\'])), "{names:?}");
        return;
    }
    let harmless = BootInterface::unknown(Mac::new([2, 0, 0, 0, 0, 1]));
    let (name, reason) = (fields.text(), fields.text());
    let osie = Osie {
        base_url: None,
        kernel: fields.maybe(),
        initrd: fields.maybe(),
        kernel_params: vec![fields.text(), fields.text()],
    };
    let hostile = BootInterface {
        name,
        agent_id: fields.text(),
        facility: fields.maybe(),
        arch: fields.maybe(),
        osie,
        boot: boot(state, reason),
        ..harmless.clone()
    };
    let harmless = BootInterface { boot: boot(state, "installed".to_owned()), ..harmless };
    let via = if loader & 16 == 0 { Via::Tftp } else { Via::Http };
    match loader % 16 {
        1 => return script(&hostile, &harmless),
        kind if kind % 2 == 0 => return configuration(&ASKED[usize::from(kind / 2) % ASKED.len()], via, &hostile, &harmless),
        _ => {}
    }
    let elsewhere = Osie { base_url: fields.maybe(), ..hostile.osie.clone() };
    let harmless_base = elsewhere.base_url.as_ref().map(|_| "http://mirror/osie".to_owned());
    let hostile = BootInterface { osie: elsewhere, ..hostile };
    let harmless = BootInterface { osie: Osie { base_url: harmless_base, ..Osie::default() }, ..harmless };
    configuration(&ASKED[usize::from(loader % 16 / 2) % ASKED.len()], via, &hostile, &harmless);
});

fn boot(state: u8, reason: String) -> BootState {
    match state % 5 {
        0 => BootState::Install { workflow: None },
        1 => BootState::Local { reason },
        2 => BootState::Wait { reason },
        3 => BootState::Rescue { reason },
        _ => BootState::Hold { reason },
    }
}

fn path(path: &str) {
    let _ = (below_files(path), ipxe::base_name(path).inspect(|name| assert!(!name.contains('/') && *name != "..")));
    if let Some((Asked::RaspberryPi { file, .. }, _)) = asked(path) {
        let _ = places(&BootInterface::unknown(Mac::new([2; 6])), &file);
    }
}

fn configuration(asked: &Asked, via: Via, hostile: &BootInterface, harmless: &BootInterface) {
    let of = |machine: &BootInterface| make(asked, via, &CONFIG, machine, &Packs::default(), 7);
    let (made, model) = match (of(hostile), of(harmless)) {
        (Ok(made), Ok(model)) => (Some(made), Some(model)),
        (Err(why), model) => {
            let same = || of(&BootInterface { osie: hostile.osie.clone(), ..harmless.clone() }).err();
            let model = model.err().or_else(same).and_then(|why| instead(asked, harmless, &why));
            (instead(asked, hostile, &why), model)
        }
        (Ok(_), Err(why)) => panic!("hostile Hardware gets what harmless Hardware does not: {why}"),
    };
    let (Some(made), Some(model)) = (made, model) else { return };
    let header = if *asked == Asked::BootScript { 72 } else { 0 };
    let (made, model) = (text(&made.bytes[header..]), text(&model.bytes[header..]));
    let form = match asked {
        Asked::Grub | Asked::BootScript => in_quotes,
        Asked::RaspberryPi { file, .. } if file == "cmdline.txt" => one_line,
        _ => by_lines,
    };
    assert_eq!(form(&made), form(&model), "{asked:?}\n{made}");
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).expect("the name and the reasons are text");
    text.split('\n').for_each(assert_harmless);
    text
}

/// What is outside of single quotes. Several quoted words after each other count as one.
fn in_quotes(text: &str) -> String {
    let mut bare = String::new();
    for (index, part) in text.split('\'').enumerate() {
        match index % 2 {
            0 => bare.push_str(part),
            _ => {
                assert!(!part.contains('\n'), "a quote ends in its line");
                bare.push_str("''");
            }
        }
    }
    assert_eq!(text.matches('\'').count() % 2, 0, "quotes are closed");
    while bare.contains("'' ''") {
        bare = bare.replace("'' ''", "''");
    }
    bare
}

fn one_line(text: &str) -> String {
    assert!(!text.contains(['$', '\\', '\'']) && text.ends_with('\n') && text.matches('\n').count() == 1, "{text:?}");
    String::new()
}

/// The first word of each line, and the whole line where no value stands in it. Paths are one word, and are joined by commas.
fn by_lines(text: &str) -> String {
    let line = |line: &str| {
        let (word, rest) = line.trim_start().split_once(' ').unwrap_or((line, ""));
        match word {
            "say" | "append" => {
                assert!(!rest.contains(['$', '\\', '\'']), "{line}");
                word.to_owned()
            }
            "kernel" | "initrd" => {
                assert!(!rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || "$\\'\"`#;&|".contains(c)), "{line}");
                word.to_owned()
            }
            "initramfs" => {
                assert!(rest.ends_with(" followkernel") && rest.matches(' ').count() == 1, "{line}");
                word.to_owned()
            }
            _ if line.starts_with("kernel=") => {
                assert!(!line.contains(' '));
                "kernel=".to_owned()
            }
            _ => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// iPXE splits at white space, and expands `${...}`.
fn script(hostile: &BootInterface, harmless: &BootInterface) {
    let (Ok((made, _)), Ok((model, _))) =
        (ipxe::auto(&CONFIG, hostile, &Packs::default(), 7), ipxe::auto(&CONFIG, harmless, &Packs::default(), 7))
    else {
        panic!("it may boot from the network")
    };
    let form = |text: &str| {
        let line = |line: &str| {
            assert_harmless(line);
            let words: Vec<&str> = line.split_whitespace().collect();
            let operators = words.iter().filter(|word| matches!(**word, "||" | "&&" | ";")).count();
            let first = words.first().copied().unwrap_or_default().to_owned();
            (first, operators, line.matches("${").count(), line.ends_with('\\'))
        };
        text.split('\n').map(line).collect::<Vec<_>>()
    };
    assert_eq!(form(&made), form(&model), "{made}");
}
