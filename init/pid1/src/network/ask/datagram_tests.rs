//! Packets of servers, and those that are refused.

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A packet to a client, with an odd number of bytes.
fn good() -> Vec<u8> {
    let mut packet = write(SERVER, b"offer");
    packet[20..24].copy_from_slice(&[0, 67, 0, 68]); // the checksum stays the same
    packet
}

fn summed_again(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let checksum = !sum(0, &packet[..usize::from(packet[0] & 0xf) * 4]);
    put(&mut packet, 10, checksum);
    packet
}

#[test]
fn written_packets_have_the_right_checksums() {
    // Computed by hand from RFC 1071: 0.0.0.0 to 255.255.255.255, ports 68 and 67, "ab".
    let packet = write(Ipv4Addr::UNSPECIFIED, b"ab");
    let expected = [
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0x7a, 0xd0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67, 0, 10, 0x9d, 0xf1, b'a',
        b'b',
    ];
    assert_eq!(packet, expected);
}

#[test]
fn an_answer_is_read_with_the_bytes_that_ethernet_adds() {
    let padded = [good(), vec![0; 20]].concat();
    for (case, packet) in [("as sent", good()), ("in a short frame", padded)] {
        assert_eq!(read(&packet, true), Ok(Datagram { source: SERVER, payload: b"offer" }), "{case}");
    }
    let mut with_options = good();
    with_options[0] = 0x46;
    with_options[3] += 4;
    with_options.splice(20..20, [1, 1, 1, 1]);
    assert_eq!(read(&summed_again(with_options), true).map(|read| read.payload), Ok(&b"offer"[..]));
}

#[test]
fn a_checksum_that_was_left_to_a_network_card_is_not_checked() {
    let mut partial = good();
    partial[26] ^= 1;
    assert_eq!(read(&partial, true), Err(Malformed::Checksum));
    assert_eq!(read(&partial, false).map(|read| read.payload), Ok(&b"offer"[..]));
    let mut none = good();
    none[26..28].fill(0);
    assert!(read(&none, true).is_ok(), "a sender may leave it out");
}

#[test]
fn a_malformed_packet_is_refused_with_its_mistake() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, Malformed); 10] = [
        ("IPv6", |packet| packet[0] = 0x65, Malformed::Version),
        ("a header of 16 bytes", |packet| packet[0] = 0x44, Malformed::CutOff),
        ("a header that is longer than the packet", |packet| packet[0] = 0x4f, Malformed::CutOff),
        ("TCP", |packet| packet[9] = 6, Malformed::NotForUs),
        ("the first fragment", |packet| packet[6] = 0x20, Malformed::Fragment),
        ("another fragment", |packet| packet[7] = 1, Malformed::Fragment),
        ("a total length past its end", |packet| packet[3] = 34, Malformed::Length("IP", 34, 33)),
        ("a total length within the header", |packet| packet[3] = 10, Malformed::Length("IP", 10, 33)),
        ("a UDP length past its end", |packet| packet[25] = 14, Malformed::Length("UDP", 14, 13)),
        ("a UDP length within the header", |packet| packet[25] = 7, Malformed::Length("UDP", 7, 13)),
    ];
    for (case, change, expected) in cases {
        let mut packet = good();
        change(&mut packet);
        let packet = if expected == Malformed::CutOff { packet } else { summed_again(packet) };
        assert_eq!(read(&packet, true), Err(expected), "{case}");
    }
    let mut other_port = good();
    other_port[23] = 67;
    assert_eq!(read(&other_port, true), Err(Malformed::NotForUs));
    let mut damaged = good();
    damaged[15] ^= 4;
    assert_eq!(read(&damaged, true), Err(Malformed::HeaderChecksum));
    for length in 0..good().len() {
        assert!(read(&good()[..length], true).is_err(), "{length} bytes");
    }
}
