//! Frames of switches, and broken ones.

use super::*;

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let header = u16::from(kind) << 9 | u16::try_from(value.len()).unwrap();
    [&header.to_be_bytes()[..], value].concat()
}

fn frame(chassis: &[u8], port: &[u8], rest: &[Vec<u8>]) -> Vec<u8> {
    [tlv(CHASSIS, chassis), tlv(PORT, port), tlv(TTL, &[0, 120]), rest.concat(), tlv(END, &[])].concat()
}

const MAC: &[u8] = &[4, 2, 0, 0, 0, 0, 7];

#[test]
fn port_chassis_system_and_vlan_are_read() {
    let vlan = tlv(ORGANISATION, &[0x00, 0x80, 0xc2, 1, 0, 100]);
    let rest = [tlv(4, b"to rack 7"), tlv(SYSTEM, b"sw1.lab"), vlan, vec![0; 20]];
    let neighbour = Neighbour::decode(&frame(MAC, b"\x05Ethernet1/7", &rest[..3])).unwrap();
    assert_eq!(neighbour.to_string(), "Ethernet1/7 of 02:00:00:00:00:07 (sw1.lab)");
    assert_eq!((neighbour.vlan, neighbour.ttl), (Some(100), 120));
    assert_eq!(neighbour.on("eth0").render(), "eth0\tEthernet1/7\t02:00:00:00:00:07\tsw1.lab\t100\n");
    let bare = Neighbour::decode(&frame(MAC, b"\x07553", &rest[3..])).unwrap();
    assert_eq!(bare.on("eth0").render(), "eth0\t553\t02:00:00:00:00:07\t-\t-\n");
}

#[test]
fn each_kind_of_name_is_written_as_people_write_it() {
    for (chassis, port, expected) in [
        (&[5, 1, 10, 0, 0, 9][..], &b"\x03\x02\0\0\0\0\x09"[..], "02:00:00:00:00:09 of 10.0.0.9"),
        (&[5, 2, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], b"\x01uplink", "uplink of fd00::1"),
        (b"\x07sw\0", b"\x05Gi 0/1 ", "Gi 0/1 of sw"),
        (&[7, 0xff, 1], b"\x07\x01", "01 of ff:01"),
        (&[5, 9, 9], b"\x07p", "p of 09:09"),
    ] {
        assert_eq!(Neighbour::decode(&frame(chassis, port, &[])).unwrap().to_string(), expected);
    }
}

#[test]
fn what_a_switch_sends_cannot_forge_a_line() {
    let rest = [tlv(SYSTEM, b"sw\nFATAL: x\ty\x1b[2J")];
    let neighbour = Neighbour::decode(&frame(MAC, b"\x05a\tb", &rest)).unwrap();
    assert_eq!(neighbour.to_string(), "61:09:62 of 02:00:00:00:00:07 (sw?FATAL: x?y?[2J)");
    assert_eq!(neighbour.on("eth0").render().matches(['\n', '\t']).count(), 5);
}

#[test]
fn frames_other_than_lldp_are_ignored() {
    let good = frame(MAC, b"\x05p", &[]);
    assert!(Neighbour::decode(&good).is_some());
    for cut in 0..good.len() - 2 {
        assert_eq!(Neighbour::decode(&good[..cut]), None, "cut after {cut} bytes");
    }
    for (case, bytes) in [
        ("in another order", [tlv(PORT, b"\x05p"), tlv(CHASSIS, MAC), tlv(TTL, &[0, 1])].concat()),
        ("no name", frame(&[4], b"\x05p", &[])),
        ("an empty field", frame(&[], b"\x05p", &[])),
        ("a short time", [tlv(CHASSIS, MAC), tlv(PORT, b"\x05p"), tlv(TTL, &[1])].concat()),
    ] {
        assert_eq!(Neighbour::decode(&bytes), None, "{case}");
    }
}
