//! Any bytes as the file of DHCP leases: no panic, and what is read is the same after it is written again. The same bytes as a
//! line of a watch on the leases of a site.
#![no_main]

use boots::dhcp::read_leases;
use boots::lease_event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (leases, broken) = read_leases(bytes);
    assert!(leases.len() + broken <= bytes.split(|byte| *byte == b'\n').count());
    let mut written = Vec::new();
    for lease in &leases {
        let Ok(line) = serde_json::to_vec(lease) else { panic!("plain values cannot fail") };
        assert!(!line.contains(&b'\n'));
        written.extend(line);
        written.push(b'\n');
    }
    assert_eq!(read_leases(&written), (leases, 0));
    let _ = lease_event(bytes);
});
