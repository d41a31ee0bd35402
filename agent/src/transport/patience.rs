//! How long the agent waits for an answer while there is no work. It says so in each call, and a server that understands holds
//! the call as long. A proxy between both may not: then the agent asks as Tinkerbell's agents do. Pure.

use std::time::Duration;

/// What the server is told.
const LONG: Duration = Duration::from_secs(240);
/// Without being told, a server holds the call for about 60 s. Tinkerbell's server holds every failing report as long.
pub const USUAL: Duration = Duration::from_secs(90);
/// A proxy ends a call that is silent for a fixed time.
const SAME: Duration = Duration::from_secs(3);
/// A call that ends sooner did not end because it was silent.
const SILENT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Patience {
    /// After how long the last silent call was cut.
    cut: Option<Duration>,
    short: bool,
}

impl Patience {
    /// The deadline to send, if any.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.short).then_some(LONG)
    }

    /// After which the agent gives up.
    pub fn limit(&self) -> Duration {
        self.deadline().unwrap_or(USUAL)
    }

    /// The connection failed `after` this time. Returns whether it is the second time in a row, so that something on the way cuts
    /// silent calls.
    pub fn was_cut(&mut self, after: Duration) -> bool {
        let again = self.cut.is_some_and(|last| last.abs_diff(after) <= SAME);
        self.cut = (after >= SILENT).then_some(after);
        let found = again && !self.short && after < LONG;
        self.short |= found;
        found
    }

    pub fn was_answered(&mut self) {
        self.cut = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: &[u64]) -> Patience {
        let mut patience = Patience::default();
        for seconds in seconds {
            patience.was_cut(Duration::from_secs(*seconds));
        }
        patience
    }

    #[test]
    fn calls_that_are_cut_after_the_same_time_make_the_agent_ask_as_others_do() {
        for (cuts, short) in [
            (&[][..], false),
            (&[60], false),
            (&[60, 61], true),
            (&[60, 30], false),
            (&[60, 30, 31], true),
            (&[1, 1], false),
            (&[240, 240], false),
        ] {
            assert_eq!(after(cuts).deadline().is_none(), short, "{cuts:?}");
        }
        assert_eq!(after(&[60, 60]).limit(), USUAL);
    }

    #[test]
    fn an_answer_between_two_cuts_says_that_they_were_chance() {
        let mut patience = after(&[60]);
        patience.was_answered();
        assert!(!patience.was_cut(Duration::from_secs(60)));
        assert!(patience.was_cut(Duration::from_secs(60)), "the second in a row is told once");
        assert!(!patience.was_cut(Duration::from_secs(60)));
    }
}
