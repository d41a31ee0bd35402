//! What goes wrong during a storm, as data.

use serde::{Deserialize, Serialize};

/// All times are in seconds. Those of the host count from the first power-on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share of the packets that is lost, in each direction.
    pub loss: f64,
    pub slow_link: Option<SlowLink>,
    pub power_cut: Option<PowerCut>,
    /// So many machines have a second one with the same MAC.
    pub twins: u32,
    pub wrong_dhcp: Option<WrongDhcp>,
    pub registry_down: Vec<Outage>,
    pub server_killed: Vec<Outage>,
    /// Of a site with several hosts.
    pub killed: Vec<Killed>,
    /// These end by SIGTERM, and are started again.
    pub restarted: Vec<Killed>,
    /// No packet comes to these hosts or leaves them.
    pub cut_off: Vec<CutOff>,
}

/// A program of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    Server,
    Boots,
    Etcd,
}

/// A program of a site is killed (SIGKILL) at this time and started again after these seconds. Hosts count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Killed {
    pub program: Program,
    pub host: usize,
    pub at: f64,
    #[serde(rename = "for", default)]
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutOff {
    pub host: usize,
    pub at: f64,
    #[serde(rename = "for", default)]
    pub seconds: f64,
}

impl Faults {
    /// Every program of a site is killed in turn, and then each host is cut off: one thing at a time.
    #[must_use]
    pub fn in_turn(hosts: usize, members: usize, first: f64, every: f64, seconds: f64) -> Self {
        let programs = [(Program::Server, hosts), (Program::Boots, hosts), (Program::Etcd, members)];
        let all = programs.into_iter().flat_map(|(program, count)| (1..=count).map(move |host| (program, host)));
        let mut times = std::iter::successors(Some(first), |at| Some(at + every));
        let killed = all.zip(&mut times).map(|((program, host), at)| Killed { program, host, at, seconds }).collect();
        let cut_off = (1..=members).zip(times).map(|(host, at)| CutOff { host, at, seconds }).collect();
        Self { killed, cut_off, ..Self::default() }
    }
}

impl Faults {
    /// A rolling upgrade, several times: each server and each boots is ended and started again, one after the other.
    #[must_use]
    pub fn upgrade(hosts: usize, rounds: usize, first: f64, every: f64, seconds: f64) -> Self {
        let of_a_host = |host| [(Program::Server, host), (Program::Boots, host)];
        let programs = (0..rounds).flat_map(|_| (1..=hosts).flat_map(of_a_host));
        let times = std::iter::successors(Some(first), |at| Some(at + every));
        let restarted = programs.zip(times).map(|((program, host), at)| Killed { program, host, at, seconds }).collect();
        Self { restarted, ..Self::default() }
    }
}

/// A share of the machines receives this many bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowLink {
    pub share: f64,
    pub bytes_per_second: u32,
}

/// A share of the machines loses its power once, within this time after its power-on, and starts again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerCut {
    pub share: f64,
    pub within: f64,
}

/// Another DHCP server offers an address without a boot file to this share of the DISCOVERs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrongDhcp {
    pub share: f64,
}

/// A program is killed (SIGKILL) at this time and started again after these seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    pub at: f64,
    #[serde(rename = "for", default)]
    pub seconds: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    #[error("the faults are not the YAML that docs/lab.md shows")]
    Yaml(#[from] serde_saphyr::Error),
    #[error("{field} is {value}; it must be {wanted}")]
    Value { field: &'static str, value: f64, wanted: &'static str },
}

impl Faults {
    /// # Errors
    /// If a name is unknown, or a value makes no sense.
    pub fn parse(yaml: &str) -> Result<Self, Mistake> {
        let faults: Self = if yaml.trim().is_empty() { Self::default() } else { serde_saphyr::from_str(yaml)? };
        faults.check()?;
        Ok(faults)
    }

    fn check(&self) -> Result<(), Mistake> {
        let share = |field, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Mistake::Value { field, value, wanted: "a share between 0 and 1" }),
        };
        let time = |field, value: f64| match (0.0..=86_400.0).contains(&value) {
            true => Ok(()),
            false => Err(Mistake::Value { field, value, wanted: "a time between 0 and 86400 seconds" }),
        };
        share("loss", self.loss)?;
        share("wrong_dhcp.share", self.wrong_dhcp.map_or(0.0, |wrong| wrong.share))?;
        if let Some(slow) = self.slow_link {
            share("slow_link.share", slow.share)?;
            if slow.bytes_per_second == 0 {
                return Err(Mistake::Value { field: "slow_link.bytes_per_second", value: 0.0, wanted: "1 or more" });
            }
        }
        if let Some(cut) = self.power_cut {
            share("power_cut.share", cut.share)?;
            time("power_cut.within", cut.within)?;
        }
        let outages = self.registry_down.iter().chain(&self.server_killed).map(|outage| (outage.at, outage.seconds));
        let killed = self.killed.iter().chain(&self.restarted).map(|killed| (killed.at, killed.seconds));
        let cut_off = self.cut_off.iter().map(|cut| (cut.at, cut.seconds));
        for (at, seconds) in outages.chain(killed).chain(cut_off) {
            time("at", at)?;
            time("for", seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let faults = Faults::parse(
            "loss: 0.01\nslow_link: {share: 0.1, bytes_per_second: 100000}\npower_cut: {share: 0.05, within: 30}\ntwins: 2\n\
             wrong_dhcp: {share: 0.5}\nregistry_down: [{at: 5, for: 10}]\nserver_killed: [{at: 8}, {at: 20, for: 3}]\n",
        )
        .unwrap();
        assert_eq!(faults.loss, 0.01);
        assert_eq!(faults.server_killed, [Outage { at: 8.0, seconds: 0.0 }, Outage { at: 20.0, seconds: 3.0 }]);
        assert_eq!(faults.power_cut, Some(PowerCut { share: 0.05, within: 30.0 }));
        assert_eq!(Faults::parse("").unwrap(), Faults::default());
    }

    #[test]
    fn in_turn_means_each_program_and_each_host_at_a_time_of_its_own() {
        let faults = Faults::in_turn(2, 3, 10.0, 8.0, 4.0);
        let killed: Vec<_> = faults.killed.iter().map(|one| (one.program, one.host, one.at)).collect();
        assert_eq!(killed.len(), 7);
        assert_eq!((killed[0], killed[6]), ((Program::Server, 1, 10.0), (Program::Etcd, 3, 58.0)));
        assert_eq!(faults.cut_off.iter().map(|one| (one.host, one.at)).collect::<Vec<_>>(), [(1, 66.0), (2, 74.0), (3, 82.0)]);
        let text = serde_json::to_string(&faults).unwrap();
        assert_eq!(Faults::parse(&text).unwrap(), faults, "and it is written as it is read");
    }

    #[test]
    fn an_upgrade_ends_each_server_and_each_boots_in_turn() {
        let faults = Faults::upgrade(2, 2, 5.0, 6.0, 1.0);
        let ended: Vec<_> = faults.restarted.iter().map(|one| (one.program, one.host, one.at)).collect();
        assert_eq!(ended.len(), 8);
        assert_eq!((ended[0], ended[7]), ((Program::Server, 1, 5.0), (Program::Boots, 2, 47.0)));
        assert_eq!(Faults::parse(&serde_json::to_string(&faults).unwrap()).unwrap(), faults);
    }

    #[test]
    fn mistakes_are_refused_with_the_name_of_the_field() {
        for (yaml, said) in [
            ("loss: 2", "loss is 2"),
            ("loss: -0.1", "loss is -0.1"),
            ("power_cut: {share: 0.1, within: -1}", "power_cut.within"),
            ("slow_link: {share: 0.1, bytes_per_second: 0}", "slow_link.bytes_per_second"),
            ("server_killed: [{at: 1, for: 1e9}]", "for is"),
            ("lost: 0.1", "YAML"),
            ("wrong_dhcp: {share: x}", "YAML"),
        ] {
            let error = Faults::parse(yaml).unwrap_err().to_string();
            assert!(error.contains(said), "{yaml}: {error}");
        }
    }
}
