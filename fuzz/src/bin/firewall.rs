//! Any rules of a firewall, as nft and iptables-save print them: each port is open or not within a bounded time, and what is shown
//! of them is harmless.
#![no_main]

use boots::doctor::{Family, Passage, Rules, Transport, of_iptables, of_nft};
use fuzz::{assert_harmless, spelled};
use libfuzzer_sys::fuzz_target;

const NFT: &[&str] = &[
    r#"{"chain":{"family":"inet","table":"t","name":"in","hook":"input","policy":"drop"}},"#,
    r#"{"chain":{"family":"ip","table":"t","name":"in","hook":"input","policy":"accept"}},"#,
    r#"{"chain":{"family":"inet","table":"t","name":"a"}},"#,
    r#"{"rule":{"family":"inet","table":"t","chain":"in","expr":["#,
    r#"{"rule":{"family":"inet","table":"t","chain":"a","expr":["#,
    r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":67}},"#,
    r#"{"match":{"op":"==","left":{"payload":{"protocol":"th","field":"dport"}},"right":{"set":[69,{"range":[60,70]}]}}},"#,
    r#"{"match":{"op":"!=","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":"@named"}},"#,
    r#"{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":{"set":["udp","tcp"]}}},"#,
    r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth*"}},"#,
    r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established"]}},"#,
    r#"{"counter":{}},"#,
    r#"{"limit":{}},"#,
    r#"{"accept":null}]}},"#,
    r#"{"drop":null}]}},"#,
    r#"{"return":null}]}},"#,
    r#"{"jump":{"target":"a"}}]}},"#,
    r#"{"goto":{"target":"in"}}]}},"#,
];
const IPTABLES: &[&str] = &[
    "*filter\n",
    "*nat\n",
    ":INPUT DROP [0:0]\n",
    ":INPUT ACCEPT [0:0]\n",
    ":a - [0:0]\n",
    "-A INPUT",
    "-A a",
    " -p udp",
    " -p tcp",
    " -p 6",
    " -m udp --dport 67",
    " -m multiport --dports 60:70,69",
    " -m limit --limit 1/s",
    " -m conntrack --ctstate RELATED,ESTABLISHED",
    " -i eth+",
    " ! -i lo",
    " -s 10.0.0.0/8",
    " --comment",
    " -j ACCEPT\n",
    " -j DROP\n",
    " -j RETURN\n",
    " -j LOG\n",
    " -j a\n",
    " -g INPUT\n",
    "COMMIT\n",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 5 {
        0 => nft(&text, true),
        1 => nft(
            &format!(
                r#"{{"nftables":[{}{}{{"match":{{{text}}}}},{}{{}}]}}"#,
                r#"{"chain":{"family":"ip","table":"t","name":"in","hook":"input","policy":"drop"}},"#,
                r#"{"rule":{"family":"ip","table":"t","chain":"in","expr":["#,
                r#"{"accept":null}]}},"#
            ),
            true,
        ),
        2 => {
            let text = spelled(NFT, rest);
            nft(&format!(r#"{{"nftables":[{text}{{}}]}}"#), text.contains("drop"));
        }
        3 => looked_at(&of_iptables(&text), text.contains("DROP") || text.contains("REJECT")),
        _ => {
            let text = spelled(IPTABLES, rest);
            looked_at(&of_iptables(&text), text.contains("DROP"));
        }
    }
});

fn nft(text: &str, drops: bool) {
    for family in [Family::V4, Family::V6] {
        if let Some(rules) = of_nft(text, family) {
            looked_at(&rules, drops);
        }
    }
}

fn looked_at(rules: &Rules, drops: bool) {
    for (transport, port) in [(Transport::Udp, 67), (Transport::Udp, 69), (Transport::Tcp, 7080)] {
        for interface in [None, Some("eth0")] {
            match rules.of(transport, port, interface) {
                Passage::Open => {}
                Passage::Closed(chain) | Passage::Unclear(chain) => {
                    assert!(drops, "nothing drops, and the chain {chain} closes port {port}");
                    assert_harmless(&chain);
                }
            }
        }
    }
}
