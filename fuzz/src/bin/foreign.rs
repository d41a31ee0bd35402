//! Any packet that is heard from another DHCP server: it is read or is not a reply, and what doctor shows of it is harmless.
#![no_main]

use std::net::Ipv4Addr;

use boots::doctor::{Answer, Facts, Kernel, Question, check};
use boots::foreign;
use dhcp::v4::{Op, Packet};
use fuzz::assert_harmless;
use libfuzzer_sys::fuzz_target;

/// IPv4 with 17 for UDP, and UDP to port 68.
const HEADERS: [u8; 28] = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 9, 255, 255, 255, 255, 0, 67, 0, 68, 0, 0, 0, 0];

fuzz_target!(|bytes: &[u8]| {
    heard(bytes);
    heard(&[&HEADERS, bytes].concat());
    // The rest of a reply, so that the fuzzer reaches the options at once. Its first bytes are in the overloaded fields.
    let mut reply = Packet { op: Op::Reply, ..Packet::default() }.encode();
    reply.truncate(240);
    for (to, from) in reply.iter_mut().skip(16).take(220).zip(bytes) {
        *to = *from;
    }
    heard(&[&HEADERS, &reply[..], bytes].concat());
});

fn heard(bytes: &[u8]) {
    let Some((from, packet)) = foreign::reply(bytes) else { return };
    assert_eq!(packet.op, Op::Reply);
    let answer = Answer::of(&packet, from, "eth0");
    assert_harmless(&answer.boot_file);
    assert!(answer.boot_file.chars().count() <= 128);
    for is_proxy in [false, true] {
        let question = Question {
            address: Some(Ipv4Addr::new(10, 0, 0, 1)),
            interface: None,
            is_proxy,
            has_dhcp6: false,
            http: 7080,
            grpc: 42113,
            api: 6443,
            metadata: Vec::new(),
            files: Vec::new(),
            nbp: "/nowhere".into(),
        };
        let facts = Facts {
            interfaces: Vec::new(),
            holders: Vec::new(),
            kernel: Kernel::default(),
            answers: Ok(vec![answer.clone()]),
            firewall: Ok(Vec::new()),
            missing: Vec::new(),
            programs: Vec::new(),
        };
        for finding in check(&question, &facts) {
            assert_harmless(&finding.found);
            assert_harmless(&finding.remedy);
        }
    }
}
