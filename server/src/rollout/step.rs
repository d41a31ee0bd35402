//! What a rollout does next. Pure: no clock, no store.

use api::{MemberState, Rollout, RolloutState};

/// A machine of a rollout, as the store shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub state: MemberState,
    pub message: String,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step<'r> {
    /// The Hardware to order now.
    pub begin: Vec<&'r str>,
    /// The new state of the rollout, and the reason.
    pub becomes: Option<(RolloutState, String)>,
}

/// The next step of a rollout. A wave begins when every machine of the previous wave has ended. `seen` returns the state of
/// a machine.
pub fn step<'r>(rollout: &'r Rollout, seen: impl Fn(&str) -> Seen) -> Step<'r> {
    if rollout.state != RolloutState::Running {
        return Step::default();
    }
    let members: Vec<Vec<(&str, Seen)>> =
        rollout.waves.iter().map(|wave| wave.iter().map(|name| (name.as_str(), seen(name))).collect()).collect();
    let count = |state| members.iter().flatten().filter(|(_, seen)| seen.state == state).count();
    let failures = count(MemberState::Failed);
    let limit = rollout.spec.stop_after.saturating_add(rollout.forgiven);
    if rollout.spec.stop_after > 0 && failures >= usize::try_from(limit).unwrap_or(usize::MAX) {
        return Step { begin: Vec::new(), becomes: Some((RolloutState::Stopped, why_stopped(&members, failures))) };
    }
    let ended = |seen: &Seen| matches!(seen.state, MemberState::Succeeded | MemberState::Failed | MemberState::Withdrawn);
    let Some(wave) = members.iter().find(|wave| wave.iter().any(|(_, seen)| !ended(seen))) else {
        let withdrawn = count(MemberState::Withdrawn);
        let reason = format!("{} succeeded, {failures} failed, {withdrawn} withdrawn", count(MemberState::Succeeded));
        return Step { begin: Vec::new(), becomes: Some((RolloutState::Done, reason)) };
    };
    let working = count(MemberState::Ordered);
    let free = usize::try_from(rollout.spec.at_once).unwrap_or(usize::MAX).saturating_sub(working);
    let waiting = wave.iter().filter(|(_, seen)| seen.state == MemberState::Waiting).map(|(name, _)| *name);
    Step { begin: waiting.take(free).collect(), becomes: None }
}

/// Names the failed machines, the first ones with their reasons.
fn why_stopped(members: &[Vec<(&str, Seen)>], failures: usize) -> String {
    const NAMED: usize = 3;
    let failed = members.iter().flatten().filter(|(_, seen)| seen.state == MemberState::Failed);
    let named: Vec<String> = failed.take(NAMED).map(|(name, seen)| format!("{name} ({})", seen.message)).collect();
    let more = failures.saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let machines = if failures == 1 { "machine" } else { "machines" };
    format!("{failures} {machines} failed: {}{more}; see to them, then `thimble rollout resume`", named.join(", "))
}

/// Cuts the selected machines into waves of these sizes. All remaining machines form the last wave.
#[must_use]
pub fn waves(mut hardware: Vec<String>, sizes: &[u32]) -> Vec<Vec<String>> {
    let mut waves = Vec::new();
    for size in sizes {
        let size = usize::try_from(*size).unwrap_or(usize::MAX).min(hardware.len());
        let rest = hardware.split_off(size);
        waves.push(std::mem::replace(&mut hardware, rest));
    }
    waves.push(hardware);
    waves.retain(|wave| !wave.is_empty());
    waves
}

#[cfg(test)]
mod tests {
    use api::RolloutSpec;
    use jiff::Timestamp;

    use super::*;

    fn rollout(waves: &[&str], at_once: u32, stop_after: u32) -> Rollout {
        let spec = RolloutSpec {
            selector: "rack=7".into(),
            template_ref: "t".into(),
            worker_key: "device_1".into(),
            at_once,
            waves: Vec::new(),
            stop_after,
            machine_timeout: 0,
        };
        let waves = waves.iter().map(|wave| wave.split(' ').map(str::to_owned).collect()).collect();
        Rollout {
            namespace: "default".into(),
            name: "r".into(),
            spec,
            state: RolloutState::Running,
            reason: String::new(),
            by: "ada".into(),
            at: Timestamp::UNIX_EPOCH,
            forgiven: 0,
            waves,
        }
    }

    /// `a=o` means that machine `a` is ordered. A machine without an entry waits.
    fn seen(text: &'static str) -> impl Fn(&str) -> Seen {
        move |name| {
            let word = text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            let state = match word {
                None => MemberState::Waiting,
                Some("o") => MemberState::Ordered,
                Some("s") => MemberState::Succeeded,
                Some("w") => MemberState::Withdrawn,
                Some(_) => MemberState::Failed,
            };
            Seen { state, message: "no disk".into() }
        }
    }

    #[test]
    fn machines_begin_wave_by_wave_and_never_more_than_allowed_at_once() {
        let rollout = rollout(&["a", "b c d", "e"], 2, 0);
        for (machines, begin) in [
            ("", "a"),
            ("a=o", ""),
            ("a=s", "b c"),
            ("a=f", "b c"),
            ("a=w", "b c"),
            ("a=s b=o", "c"),
            ("a=s b=o c=o", ""),
            ("a=s b=s c=o", "d"),
            ("a=s b=s c=s d=o", ""),
            ("a=s b=s c=s d=s", "e"),
            ("a=o b=o c=o", ""),
        ] {
            assert_eq!(step(&rollout, seen(machines)), Step { begin: words(begin), becomes: None }, "{machines}");
        }
    }

    fn words(text: &'static str) -> Vec<&'static str> {
        text.split(' ').filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn it_ends_when_every_machine_has_ended() {
        let rollout = rollout(&["a b", "c"], 9, 0);
        let done = step(&rollout, seen("a=s b=f c=w"));
        assert_eq!(done.becomes, Some((RolloutState::Done, "1 succeeded, 1 failed, 1 withdrawn".into())));
    }

    #[test]
    fn it_stops_at_its_limit_of_failures_and_continues_when_they_are_forgiven() {
        let mut rollout = rollout(&["a b c d"], 1, 2);
        assert_eq!(step(&rollout, seen("a=f")).begin, ["b"]);
        let (state, reason) = step(&rollout, seen("a=f b=f")).becomes.unwrap();
        assert_eq!(state, RolloutState::Stopped);
        assert_eq!(reason, "2 machines failed: a (no disk), b (no disk); see to them, then `thimble rollout resume`");
        rollout.forgiven = 2;
        assert_eq!(step(&rollout, seen("a=f b=f")).begin, ["c"]);
        assert_eq!(step(&rollout, seen("a=f b=f c=f d=f")).becomes.unwrap().0, RolloutState::Stopped);
    }

    #[test]
    fn only_a_running_rollout_takes_steps() {
        for state in RolloutState::ALL {
            let rollout = Rollout { state, ..rollout(&["a"], 1, 1) };
            assert_eq!(step(&rollout, seen("")) != Step::default(), state == RolloutState::Running, "{state}");
        }
    }

    #[test]
    fn waves_take_all_machines_in_order() {
        let machines = |text: &'static str| words(text).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let cut = |sizes: &[u32]| waves(machines("a b c d"), sizes).iter().map(|wave| wave.join(" ")).collect::<Vec<_>>();
        assert_eq!(cut(&[]), ["a b c d"]);
        assert_eq!(cut(&[1, 2]), ["a", "b c", "d"]);
        assert_eq!(cut(&[1, 3, 5]), ["a", "b c d"]);
        assert_eq!(cut(&[u32::MAX]), ["a b c d"]);
    }
}
