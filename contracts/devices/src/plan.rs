//! When each module is loaded: once, after what it needs, in parallel with everything else.

use std::collections::BTreeMap;

use crate::module::ModuleName;

/// Modules to load, in no order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub modules: Vec<Planned>,
}

impl Plan {
    /// One module after the other, each after what it needs.
    pub fn in_order(self) -> impl Iterator<Item = Planned> {
        let mut schedule = Schedule::default();
        schedule.add(self);
        std::iter::from_fn(move || {
            let module = schedule.start_next()?;
            schedule.finished(&module.name);
            Some(module)
        })
    }
}

/// Which module goes first while there is a choice: an installation waits longest for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// NICs, and the buses they may hide behind.
    Network,
    Other,
}

impl Rank {
    pub fn of_path(path: &str) -> Self {
        let early = ["drivers/net/", "drivers/virtio/", "drivers/usb/core/", "drivers/usb/host/", "drivers/hv/", "drivers/xen/"];
        if early.iter().any(|folder| path.contains(folder)) { Self::Network } else { Self::Other }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub name: ModuleName,
    /// Below the kernel's module folder.
    pub path: String,
    pub rank: Rank,
    /// Without these it does not load.
    pub needs: Vec<ModuleName>,
    /// These are loaded before it, if possible.
    pub wishes: Vec<ModuleName>,
}

/// Every module that was ever wanted, and how far it is.
#[derive(Debug, Default)]
pub struct Schedule {
    modules: BTreeMap<ModuleName, State>,
    running: usize,
}

#[derive(Debug)]
enum State {
    Waiting(Planned),
    Running,
    Done,
}

impl Schedule {
    /// Takes the new modules of a plan, and returns their number.
    pub fn add(&mut self, plan: Plan) -> usize {
        let before = self.modules.len();
        for module in plan.modules {
            self.modules.entry(module.name.clone()).or_insert(State::Waiting(module));
        }
        self.modules.len() - before
    }

    /// The next module to load now, which then counts as running. While no module runs, wishes that block each other are
    /// passed over. So are needs: the kernel then says what is wrong with them.
    pub fn start_next(&mut self) -> Option<Planned> {
        let ready = |module: &Planned, wishes: bool| {
            module.needs.iter().all(|name| self.is_past(name)) && (!wishes || module.wishes.iter().all(|name| self.is_past(name)))
        };
        let find = |allowed: &dyn Fn(&Planned) -> bool| {
            let waiting = self.modules.values().filter_map(|state| match state {
                State::Waiting(module) if allowed(module) => Some(module),
                _ => None,
            });
            waiting.min_by_key(|module| module.rank).cloned()
        };
        let next = find(&|module| ready(module, true));
        let next = match next {
            None if self.running == 0 => find(&|module| ready(module, false)).or_else(|| find(&|_| true)),
            next => next,
        }?;
        self.modules.insert(next.name.clone(), State::Running);
        self.running += 1;
        Some(next)
    }

    pub fn finished(&mut self, name: &ModuleName) {
        if matches!(self.modules.insert(name.clone(), State::Done), Some(State::Running)) {
            self.running -= 1;
        }
    }

    pub fn is_idle(&self) -> bool {
        self.running == 0 && !self.modules.values().any(|state| matches!(state, State::Waiting(_)))
    }

    /// Those that wait for a module that is still running.
    pub fn behind(&self, name: &ModuleName) -> Vec<&ModuleName> {
        let waiting = self.modules.values().filter_map(|state| match state {
            State::Waiting(module) => Some(module),
            _ => None,
        });
        waiting.filter(|module| module.needs.contains(name) || module.wishes.contains(name)).map(|module| &module.name).collect()
    }

    /// Whether it is loaded, failed, or not among those to load.
    fn is_past(&self, name: &ModuleName) -> bool {
        !matches!(self.modules.get(name), Some(State::Waiting(_) | State::Running))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planned(name: &str, needs: &[&str], wishes: &[&str]) -> Planned {
        let names = |names: &[&str]| names.iter().map(|name| ModuleName::new(name)).collect();
        Planned {
            name: ModuleName::new(name),
            path: format!("{name}.ko"),
            rank: Rank::Other,
            needs: names(needs),
            wishes: names(wishes),
        }
    }

    fn start_all(schedule: &mut Schedule) -> Vec<String> {
        std::iter::from_fn(|| schedule.start_next()).map(|module| module.name.to_string()).collect()
    }

    #[test]
    fn independent_modules_run_beside_each_other_and_dependent_ones_wait() {
        let mut schedule = Schedule::default();
        let modules = vec![
            planned("net", &["bus"], &[]),
            planned("bus", &[], &[]),
            planned("disk", &["bus"], &["net"]),
            planned("usb", &[], &[]),
        ];
        assert_eq!(schedule.add(Plan { modules: modules.clone() }), 4);
        assert_eq!(start_all(&mut schedule), ["bus", "usb"]);
        assert_eq!(schedule.behind(&ModuleName::new("bus")).len(), 2);
        schedule.finished(&ModuleName::new("bus"));
        assert_eq!(start_all(&mut schedule), ["net"], "usb hangs, and no module waits for it");
        schedule.finished(&ModuleName::new("net"));
        assert_eq!(start_all(&mut schedule), ["disk"]);
        assert!(!schedule.is_idle());
        schedule.finished(&ModuleName::new("disk"));
        schedule.finished(&ModuleName::new("usb"));
        assert!(schedule.is_idle());
        assert_eq!(schedule.add(Plan { modules }), 0, "each once");
        assert_eq!(schedule.start_next(), None);
    }

    #[test]
    fn the_network_goes_first() {
        let mut schedule = Schedule::default();
        let nic = Planned { rank: Rank::of_path("kernel/drivers/net/ethernet/intel/igb/igb.ko"), ..planned("igb", &[], &[]) };
        schedule.add(Plan { modules: vec![planned("ahci", &[], &[]), nic] });
        assert_eq!(start_all(&mut schedule), ["igb", "ahci"]);
    }

    #[test]
    fn circles_are_broken_when_nothing_else_runs() {
        let mut schedule = Schedule::default();
        schedule.add(Plan { modules: vec![planned("a", &[], &["b"]), planned("b", &["c"], &["a"]), planned("c", &["b"], &[])] });
        for expected in ["a", "b", "c"] {
            assert_eq!(start_all(&mut schedule), [expected]);
            schedule.finished(&ModuleName::new(expected));
        }
        assert!(schedule.is_idle());
    }

    proptest! {
        #[test]
        fn everything_is_loaded_once_and_after_its_needs(needs in proptest::collection::vec(proptest::collection::vec(0usize..12, 0..4), 1..12)) {
            // Module N needs modules with lower numbers only, so there is always an order.
            let modules: Vec<Planned> = needs.iter().enumerate().map(|(n, list)| {
                let names: Vec<String> = list.iter().filter(|of| **of < n).map(|of| format!("m{of}")).collect();
                planned(&format!("m{n}"), &names.iter().map(String::as_str).collect::<Vec<_>>(), &[])
            }).collect();
            let mut done: Vec<ModuleName> = Vec::new();
            for module in (Plan { modules }).in_order() {
                prop_assert!(module.needs.iter().all(|need| done.contains(need)));
                prop_assert!(!done.contains(&module.name));
                done.push(module.name);
            }
            prop_assert_eq!(done.len(), needs.len());
        }
    }
}
