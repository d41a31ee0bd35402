//! Whether a firewall of this host closes a port, from the rules as `nft -j list ruleset` and `iptables-save` print them. Pure.

use std::collections::HashMap;

use ::machine::said;
use serde::Serialize;
use serde_json::Value;

use super::sockets::Transport;

/// Chains that call each other deeper are not followed.
const DEEPEST: usize = 8;
/// Rules that are looked at for a port. Chains that call each other in several places have no end that is worth waiting for.
const MOST: usize = 100_000;
/// Of the name of a chain, as it is shown.
const LONGEST: usize = 200;

/// The packets that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    V4,
    V6,
}

/// The chains of all tables by `TABLE CHAIN`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules {
    chains: HashMap<String, Chain>,
    /// Those at which packets for this host begin.
    input: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Chain {
    drops: bool,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    transports: Option<Vec<Transport>>,
    ports: Option<Vec<(u16, u16)>>,
    /// The interface by which a packet comes. A `*` or `+` at its end is a wildcard.
    interface: Option<String>,
    /// It is only for packets of a connection that exists already.
    is_for_answers: bool,
    /// It has a condition that is not looked at: an address, a rate.
    is_conditional: bool,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Return,
    None,
}

/// What happens to a packet for a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    Open,
    /// By this chain.
    Closed(String),
    /// A rule with other conditions may let it in.
    Unclear(String),
}

impl Rules {
    #[must_use]
    pub fn of(&self, transport: Transport, port: u16, interface: Option<&str>) -> Passage {
        let packet = Packet { transport, port, interface };
        let mut left = MOST;
        let each = self.input.iter().map(|name| {
            let mut maybe = false;
            let verdict = self.walk(name, &packet, &mut maybe, &mut left, 0);
            maybe |= left == 0;
            let drops = verdict == Some(false) || verdict.is_none() && self.chains.get(name).is_some_and(|chain| chain.drops);
            match (drops, maybe) {
                (false, _) => Passage::Open,
                (true, false) => Passage::Closed(said(name, LONGEST)),
                (true, true) => Passage::Unclear(said(name, LONGEST)),
            }
        });
        // Each table has its say, and one that closes is enough.
        each.reduce(|one, other| match (&one, &other) {
            (Passage::Closed(_), _) => one,
            (_, Passage::Closed(_)) | (Passage::Open, _) => other,
            _ => one,
        })
        .unwrap_or(Passage::Open)
    }

    /// Some(true) accepts, Some(false) drops. `maybe` says that a conditional rule may have accepted before.
    fn walk(&self, name: &str, packet: &Packet<'_>, maybe: &mut bool, left: &mut usize, depth: usize) -> Option<bool> {
        let chain = self.chains.get(name).filter(|_| depth < DEEPEST)?;
        for rule in &chain.rules {
            *left = left.checked_sub(1)?;
            if !rule.concerns(packet) {
                continue;
            }
            let is_conditional = rule.is_conditional || rule.interface.is_some() && packet.interface.is_none();
            match &rule.verdict {
                Verdict::Accept if is_conditional => *maybe = true,
                Verdict::Accept => return Some(true),
                Verdict::Drop if !is_conditional => return Some(false),
                Verdict::Jump(target) => match self.walk(target, packet, maybe, left, depth + 1) {
                    Some(true) if is_conditional => *maybe = true,
                    found @ Some(_) if !is_conditional => return found,
                    _ => {}
                },
                Verdict::Return if !is_conditional => return None,
                Verdict::Drop | Verdict::Return | Verdict::None => {}
            }
        }
        None
    }
}

/// The first packet of a client. Without an interface it may come by any but loopback.
struct Packet<'a> {
    transport: Transport,
    port: u16,
    interface: Option<&'a str>,
}

const fn empty() -> Rule {
    Rule { transports: None, ports: None, interface: None, is_for_answers: false, is_conditional: false, verdict: Verdict::None }
}

impl Rule {
    fn concerns(&self, packet: &Packet<'_>) -> bool {
        let by = |wanted: &String| match (packet.interface, wanted.strip_suffix(['*', '+'])) {
            (Some(name), Some(prefix)) => name.starts_with(prefix),
            (Some(name), None) => name == wanted,
            (None, _) => wanted != "lo",
        };
        !self.is_for_answers
            && self.transports.as_ref().is_none_or(|some| some.contains(&packet.transport))
            && self.ports.as_ref().is_none_or(|some| some.iter().any(|(first, last)| (*first..=*last).contains(&packet.port)))
            && self.interface.as_ref().is_none_or(by)
    }
}

/// The output of `nft -j list ruleset`, as far as it is about packets of this family.
#[must_use]
pub fn of_nft(text: &str, family: Family) -> Option<Rules> {
    let own = if family == Family::V4 { "ip" } else { "ip6" };
    let value: Value = serde_json::from_str(text).ok()?;
    let mut rules = Rules::default();
    for object in value.get("nftables")?.as_array()? {
        let word = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let table = |object: &Value| format!("{} {}", word(object, "family"), word(object, "table"));
        if let Some(chain) = object.get("chain") {
            let name = format!("{} {}", table(chain), word(chain, "name"));
            let is_input = word(chain, "hook") == "input" && [own, "inet"].contains(&word(chain, "family").as_str());
            rules.chains.entry(name.clone()).or_default().drops = word(chain, "policy") == "drop";
            rules.input.extend(is_input.then_some(name));
        } else if let Some(rule) = object.get("rule") {
            let table = table(rule);
            let name = format!("{table} {}", word(rule, "chain"));
            let parsed = nft_rule(&table, rule.get("expr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default());
            rules.chains.entry(name).or_default().rules.push(parsed);
        }
    }
    Some(rules)
}

fn nft_rule(table: &str, expressions: &[Value]) -> Rule {
    let mut rule = empty();
    for expression in expressions {
        let jump = |key: &str| expression.pointer(&format!("/{key}/target")).and_then(Value::as_str);
        if let Some(found) = expression.get("match") {
            nft_match(found, &mut rule);
        } else if expression.get("accept").is_some() {
            rule.verdict = Verdict::Accept;
        } else if expression.get("drop").is_some() || expression.get("reject").is_some() {
            rule.verdict = Verdict::Drop;
        } else if let Some(target) = jump("jump").or_else(|| jump("goto")) {
            rule.verdict = Verdict::Jump(format!("{table} {target}"));
        } else if expression.get("return").is_some() {
            rule.verdict = Verdict::Return;
        } else if !["counter", "log", "comment"].iter().any(|harmless| expression.get(harmless).is_some()) {
            rule.is_conditional = true; // limit, vmap, and what is new
        }
    }
    rule
}

fn nft_match(found: &Value, rule: &mut Rule) {
    let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str);
    let right = found.get("right").unwrap_or(&Value::Null);
    let is_equal = matches!(text("/op"), Some("==" | "in"));
    let transport = |word: &str| match word {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        _ => None,
    };
    match (text("/left/payload/protocol"), text("/left/payload/field"), text("/left/meta/key")) {
        (Some(protocol), Some("dport"), _) if is_equal => {
            if protocol != "th" {
                rule.transports = Some(transport(protocol).into_iter().collect());
            }
            match nft_ports(right) {
                Some(ports) => rule.ports = Some(ports),
                None => rule.is_conditional = true, // a named set
            }
        }
        (_, _, Some("l4proto")) | (Some("ip"), Some("protocol"), _) if is_equal => {
            let some = match right {
                Value::String(word) => vec![word.as_str()],
                other => other.get("set").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect(),
            };
            rule.transports = Some(some.into_iter().filter_map(transport).collect());
        }
        (_, _, Some("iifname" | "iif")) if is_equal && right.is_string() => {
            rule.interface = right.as_str().map(str::to_owned);
        }
        _ if text("/left/ct/key") == Some("state") && is_equal => {
            let has_new = |value: &Value| value.as_str() == Some("new");
            let listed = right.as_array().or_else(|| right.get("set")?.as_array());
            rule.is_for_answers = !listed.map_or_else(|| has_new(right), |some| some.iter().any(has_new));
        }
        _ => rule.is_conditional = true,
    }
}

fn nft_ports(value: &Value) -> Option<Vec<(u16, u16)>> {
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    if let Some(port) = number(value) {
        return Some(vec![(port, port)]);
    }
    if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        return Some(vec![(number(first)?, number(last)?)]);
    }
    let set = value.get("set")?.as_array()?;
    set.iter().map(nft_ports).collect::<Option<Vec<_>>>().map(|ports| ports.concat())
}

/// The output of `iptables-save`, or of `ip6tables-save`. Only the table `filter` is looked at.
#[must_use]
pub fn of_iptables(text: &str) -> Rules {
    let mut rules = Rules::default();
    let mut is_filter = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(table) if table.starts_with('*') => is_filter = table == "*filter",
            Some(chain) if chain.starts_with(':') && is_filter => {
                let name = chain.trim_start_matches(':').to_owned();
                rules.chains.entry(name.clone()).or_default().drops = words.next() == Some("DROP");
                rules.input.extend((name == "INPUT").then_some(name));
            }
            Some("-A") if is_filter => {
                let name = words.next().unwrap_or_default().to_owned();
                let rule = iptables_rule(words);
                rules.chains.entry(name).or_default().rules.push(rule);
            }
            _ => {}
        }
    }
    rules
}

fn iptables_rule<'w>(mut words: impl Iterator<Item = &'w str>) -> Rule {
    let mut rule = empty();
    while let Some(word) = words.next() {
        match word {
            "-p" => {
                rule.transports = Some(match words.next() {
                    Some("udp") => vec![Transport::Udp],
                    Some("tcp") => vec![Transport::Tcp],
                    _ => Vec::new(),
                });
            }
            "-m" => {
                let module = words.next().unwrap_or_default();
                rule.is_conditional |= !matches!(module, "udp" | "tcp" | "multiport" | "comment" | "state" | "conntrack");
            }
            "-i" => rule.interface = words.next().map(str::to_owned),
            "--state" | "--ctstate" => {
                rule.is_for_answers = words.next().is_some_and(|states| !states.split(',').any(|state| state == "NEW"));
            }
            "--dport" | "--dports" => rule.ports = words.next().map(iptables_ports),
            "--comment" => rule.is_conditional |= words.next().is_none(),
            "-j" | "-g" => {
                rule.verdict = match words.next() {
                    Some("ACCEPT") => Verdict::Accept,
                    Some("DROP" | "REJECT") => Verdict::Drop,
                    Some("RETURN") => Verdict::Return,
                    Some("LOG" | "NFLOG") | None => Verdict::None,
                    Some(chain) => Verdict::Jump(chain.to_owned()),
                };
                break; // what follows are the target's own words
            }
            _ => rule.is_conditional = true,
        }
    }
    rule
}

fn iptables_ports(text: &str) -> Vec<(u16, u16)> {
    let range = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use Family::{V4, V6};
    use Transport::{Tcp, Udp};

    use super::*;

    const NFT: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "filter"}},
        {"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        {"chain": {"family": "inet", "table": "filter", "name": "lan"}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [
            {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": {"set": [67, {"range": [69, 70]}]}}},
            {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 9}}, {"drop": null}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [{"jump": {"target": "lan"}}]}},
        {"rule": {"family": "inet", "table": "filter", "chain": "lan", "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 7080}}, {"accept": null}]}}
    ]}"#;

    #[test]
    fn rules_of_nftables_open_and_close_ports() {
        let rules = of_nft(NFT, V4).unwrap();
        let closed = || Passage::Closed("inet filter input".to_owned());
        for (transport, port, passage) in [
            (Udp, 67, Passage::Open),
            (Udp, 69, Passage::Open),
            (Udp, 514, closed()),
            (Tcp, 67, closed()),
            (Tcp, 7080, Passage::Open),
        ] {
            assert_eq!(rules.of(transport, port, None), passage, "{transport:?} {port}");
        }
        assert_eq!(of_nft("{}", V4), None);
        assert_eq!(of_nft(r#"{"nftables": []}"#, V4).unwrap().of(Udp, 67, None), Passage::Open, "no rules");
    }

    #[test]
    fn a_table_of_one_family_closes_no_port_of_the_other() {
        let text = NFT.replace("inet", "ip6");
        assert_eq!(of_nft(&text, V4).unwrap().of(Udp, 514, None), Passage::Open);
        assert_eq!(of_nft(&text, V6).unwrap().of(Udp, 514, None), Passage::Closed("ip6 filter input".to_owned()));
        assert_eq!(of_nft(NFT, V6).unwrap().of(Udp, 547, None), Passage::Closed("inet filter input".to_owned()));
    }

    #[test]
    fn rules_of_iptables_open_and_close_ports() {
        let text = "# Generated\n*nat\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT DROP [5:1]\n:LAN - [0:0]\n:FORWARD DROP [0:0]\n\
                    -A INPUT -p udp -m udp --dport 67 -j ACCEPT\n-A INPUT -p tcp -m multiport --dports 6443,7080:7081 -j ACCEPT\n\
                    -A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -i eth9 -p udp -m udp --dport 69 -j ACCEPT\n-A INPUT -j LAN\n\
                    -A LAN -p udp -m udp --dport 514 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
        let rules = of_iptables(text);
        for (transport, port, passage) in [
            (Udp, 67, Passage::Open),
            (Tcp, 7081, Passage::Open),
            (Tcp, 42113, Passage::Closed("INPUT".to_owned())),
            (Udp, 69, Passage::Unclear("INPUT".to_owned())),
            (Udp, 514, Passage::Closed("INPUT".to_owned())),
        ] {
            assert_eq!(rules.of(transport, port, None), passage, "{transport:?} {port}");
        }
        assert_eq!(rules.of(Udp, 69, Some("eth9")), Passage::Open);
        assert_eq!(rules.of(Udp, 69, Some("eth0")), Passage::Closed("INPUT".to_owned()));
        assert_eq!(of_iptables("").of(Udp, 67, None), Passage::Open);
    }

    #[test]
    fn chains_that_call_each_other_end() {
        let rules = of_iptables("*filter\n:INPUT DROP\n:A -\n-A INPUT -j A\n-A A -j A\n");
        assert_eq!(rules.of(Udp, 67, None), Passage::Closed("INPUT".to_owned()));
    }

    #[test]
    fn the_name_of_a_chain_acts_on_no_terminal() {
        let text = NFT.replace(r#""name": "input""#, r#""name": "in\u001b[2J\nput""#);
        assert_eq!(of_nft(&text, V4).unwrap().of(Udp, 514, None), Passage::Closed("inet filter in?[2J put".to_owned()));
    }

    /// Each chain calls the next one in fifty places: 50 to the 8th power ways.
    #[test]
    fn many_chains_that_call_each_other_are_not_followed_for_ever() {
        let mut text = "*filter\n:INPUT DROP\n".to_owned();
        (0..9).for_each(|chain| text += &format!(":C{chain} -\n"));
        for chain in 0..8 {
            let from = if chain == 0 { "INPUT".to_owned() } else { format!("C{chain}") };
            text += &format!("-A {from} -j C{}\n", chain + 1).repeat(50);
        }
        let began = std::time::Instant::now();
        assert_eq!(of_iptables(&text).of(Udp, 67, None), Passage::Unclear("INPUT".to_owned()));
        text += &":INPUT DROP\n".repeat(1000);
        assert_eq!(of_iptables(&text).of(Udp, 67, None), Passage::Unclear("INPUT".to_owned()), "a chain that is named often");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
