use super::*;

fn row(name: &str, uuid: Option<&str>, serial: Option<&str>, macs: &[&str]) -> Row {
    Row {
        name: name.to_owned(),
        uuid: uuid.map(|uuid| uuid.parse().unwrap()),
        serial: serial.map(str::to_owned),
        macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
        arguments: format!("worker_id={name}"),
    }
}

const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f384832";
const SWAPPED: &str = "44454c4c-4200-1035-8052-b4c04f384832";
const OTHER: &str = "4c4c4544-0042-3510-8052-b4c04f384833";
const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];

fn rows() -> Vec<Row> {
    vec![
        row("by-uuid", Some(UUID), None, &[]),
        row("by-serial", None, Some("ABC 1"), &[]),
        row("by-mac", None, None, &MACS),
        row("all", Some(OTHER), Some("S9"), &["02:00:00:00:00:09"]),
    ]
}

fn table(rows: &[Row]) -> String {
    first_line("panic=30").unwrap() + &rows.iter().map(|row| row.render().unwrap()).collect::<String>()
}

fn identity(uuid: &str, serial: &str, macs: &[&str]) -> Identity {
    Identity {
        uuid: uuid.parse().ok(),
        serial: super::serial(serial),
        macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
    }
}

#[test]
fn a_machine_is_found_by_uuid_before_serial_number_before_mac() {
    let table = table(&rows());
    let none: &[&str] = &[];
    for (case, identity, expected) in [
        ("UUID", identity(UUID, "", none), Some((Key::Uuid, "by-uuid"))),
        ("UUID in capital letters", identity(&UUID.to_uppercase(), "", none), Some((Key::Uuid, "by-uuid"))),
        ("UUID in the other byte order", identity(SWAPPED, "", none), Some((Key::Uuid, "by-uuid"))),
        ("serial number, with spaces around it", identity("", " abc 1 \n", none), Some((Key::Serial, "by-serial"))),
        ("second MAC", identity("", "", &MACS[1..]), Some((Key::Mac, "by-mac"))),
        ("UUID before the other two", identity(UUID, "ABC 1", &MACS), Some((Key::Uuid, "by-uuid"))),
        ("serial number before the MAC", identity("", "S9", &MACS), Some((Key::Serial, "all"))),
        ("two MACs in one row", identity("", "", &MACS), Some((Key::Mac, "by-mac"))),
        ("no match", identity("", "XYZ", &["02:00:00:00:00:77"]), None),
        ("nothing known", Identity::default(), None),
    ] {
        let answer = find(table.as_bytes(), &identity).unwrap();
        assert_eq!((answer.everyone.as_str(), answer.rows, answer.unreadable), ("panic=30", 4, 0), "{case}");
        let found = match answer.found {
            Found::Machine { key, row } => {
                assert_eq!(row.arguments, format!("worker_id={}", row.name), "{case}");
                Some((key, row.name))
            }
            Found::Several { names, .. } => panic!("{case}: {names:?}"),
            Found::Nobody => None,
        };
        assert_eq!(found, expected.map(|(key, name)| (key, name.to_owned())), "{case}");
    }
}

#[test]
fn two_rows_for_one_key_are_a_refusal_unless_a_better_key_decides() {
    let rows =
        [row("a", None, Some("S1"), &MACS[..1]), row("b", None, Some("S1"), &MACS[1..]), row("c", Some(UUID), None, &MACS[..1])];
    for rows in [rows.clone(), {
        let [a, b, c] = rows.clone();
        [c, a, b]
    }] {
        let table = table(&rows);
        let found = |identity: &Identity| find(table.as_bytes(), identity).unwrap().found;
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(found(&identity("", "S1", &[])), Found::Several { key: Key::Serial, names });
        assert!(matches!(found(&identity("", "", &MACS)), Found::Several { key: Key::Mac, .. }));
        let Found::Machine { key: Key::Uuid, row } = found(&identity(UUID, "S1", &MACS)) else { panic!("the UUID decides") };
        assert_eq!(row.name, "c");
    }
}

#[test]
fn what_many_machines_have_identifies_none() {
    for text in [
        "",
        " ",
        "0",
        "00000000",
        "XXXXXXXX",
        "........",
        "0123456789",
        "123456789",
        "Default string",
        "To be filled by O.E.M.",
        "To Be Filled By O.E.M. ",
        "System Serial Number",
        "Not Specified",
        "None",
        "n/a",
        "a\tb",
    ] {
        assert_eq!(serial(text), None, "{text:?}");
    }
    assert_eq!(serial("7CD123456\n").as_deref(), Some("7CD123456"));
    for text in [
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
    ] {
        assert_eq!(text.parse::<Uuid>(), Err(identity::UuidError::Placeholder), "{text}");
    }
    for text in [
        "",
        "Not Settable",
        "4c4c4544004235108052b4c04f384832",
        "4c4c4544-0042-3510-8052-b4c04f38483",
        "é4c4544-0042-3510-8052-b4c04f38483",
    ] {
        assert_eq!(text.parse::<Uuid>(), Err(identity::UuidError::Form), "{text}");
    }
    assert_eq!(UUID.to_uppercase().parse::<Uuid>().unwrap().to_string(), UUID);
}

#[test]
fn what_was_written_is_read_back() {
    for written in rows() {
        let table = first_line("").unwrap() + &written.render().unwrap();
        let identity = Identity { uuid: written.uuid, serial: written.serial.clone(), macs: written.macs.clone() };
        let Found::Machine { row, .. } = find(table.as_bytes(), &identity).unwrap().found else { panic!("{}", written.name) };
        assert_eq!(row, written);
    }
}

#[test]
fn a_row_that_no_machine_could_read_is_not_written() {
    assert_eq!(row("a", None, None, &[]).render(), Err(RowError::NoKey("a".to_owned())));
    let tab = Row { arguments: "a\tb".to_owned(), ..row("a", None, Some("S"), &[]) };
    assert_eq!(tab.render(), Err(RowError::Control("a\tb".to_owned())));
    let long = Row { arguments: "x".repeat(LINE_MAX), ..row("a", None, Some("S"), &[]) };
    assert_eq!(long.render(), Err(RowError::TooLong("a".to_owned())));
    assert!(first_line("a\nb").is_err());
}

#[test]
fn damage_costs_the_damaged_rows_only() {
    let long = "x".repeat(3 * LINE_MAX);
    let damaged = format!("{}no row\n{long}\n\u{fffd}\t\n\n", table(&[]));
    let mut bytes = damaged.into_bytes();
    bytes.extend(b"\xff\xff\t\t\t\t\n");
    bytes.extend(row("last", None, Some("S1"), &[]).render().unwrap().trim_end().bytes());
    let answer = find(bytes.as_slice(), &identity("", "s1", &[])).unwrap();
    assert!(matches!(answer.found, Found::Machine { key: Key::Serial, .. }));
    assert_eq!((answer.rows, answer.unreadable), (1, 5));
    for text in ["", "\n", "thimble-site 2\t\n", "thimble-site 1"] {
        assert!(matches!(find(text.as_bytes(), &Identity::default()), Err(SiteError::Version)), "{text:?}");
    }
}

#[test]
fn ten_thousand_rows_are_read_in_the_memory_of_one() {
    let first = first_line("panic=30").unwrap().into_bytes();
    let rows = (0..10_000u32).flat_map(|number| {
        let mac = HwAddr([2, 0, 0, 0, (number >> 8) as u8, number as u8]);
        let row = Row { name: format!("m{number}"), macs: vec![mac], arguments: "a".repeat(200), ..Row::default() };
        row.render().unwrap().into_bytes()
    });
    let table: Vec<u8> = first.into_iter().chain(rows).collect();
    let wanted = Identity { macs: vec![HwAddr([2, 0, 0, 0, 0x27, 0x0f])], ..Identity::default() };
    let answer = find(io::BufReader::with_capacity(4096, table.as_slice()), &wanted).unwrap();
    let Found::Machine { row, .. } = answer.found else { panic!("it is the last row") };
    assert_eq!((row.name.as_str(), answer.rows), ("m9999", 10_000));
}
