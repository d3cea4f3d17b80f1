//! The output while the demo runs, and its summary.

use super::validator::Tally;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    time::Instant,
};

/// The lines of the block that is redrawn on a terminal.
const BLOCK_LINES: usize = 5;

/// The live view: a block that is redrawn on a terminal, one line a second elsewhere, nothing with `--json`.
pub struct View {
    mode: Mode,
    began: Instant,
    drawn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    Block,
}

/// The leader, as the validators hear it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leadership {
    /// The leader.
    pub leader: Option<u64>,
    /// The raft term.
    pub term: u64,
}

impl View {
    /// A view that starts now.
    pub fn new(silent: bool) -> Self {
        let mode = match (silent, io::stdout().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Block,
            (false, false) => Mode::Lines,
        };
        Self { mode, began: Instant::now(), drawn: false }
    }

    /// Reports an event.
    pub fn event(&mut self, text: &str) {
        if self.mode != Mode::Silent {
            self.wipe();
            put(&format!("{:>5.1} s  {text}", self.began.elapsed().as_secs_f64()));
        }
    }

    /// Shows the figures of a second.
    pub fn second(&mut self, leadership: Leadership, second: &Tally, total: &Tally) {
        let at = self.began.elapsed().as_secs_f64();
        let leader = leadership.leader.map_or("none".into(), |node| format!("node {node}"));
        let term = leadership.term;
        let [p50, p99] = [0.5, 0.99].map(|quantile| second.latency_ms(quantile));
        match self.mode {
            Mode::Silent => {}
            Mode::Lines => put(&format!(
                "{at:>5.1} s  leader {leader}, term {term} | {} signed, {} repeated, refused: {} | p50 {p50:.1} ms, \
                 p99 {p99:.1} ms",
                second.signed,
                second.repeated,
                reasons(&second.refused),
            )),
            Mode::Block => {
                self.wipe();
                put(&format!("{at:>5.1} s  leader {leader}, term {term}"));
                put(&format!("         signed    {:>8}  ({} this second)", total.signed, second.signed));
                put(&format!("         repeated  {:>8}  ({} this second)", total.repeated, second.repeated));
                put(&format!("         refused   {:>8}  {}", total.refusals(), reasons(&total.refused)));
                put(&format!("         latency   p50 {p50:.1} ms, p99 {p99:.1} ms"));
                self.drawn = true;
            }
        }
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.drawn) {
            // Up over the block, then clear to the end of the screen.
            let _ = write!(io::stdout(), "\x1b[{BLOCK_LINES}A\x1b[J");
        }
    }
}

/// Prints a line. A closed pipe must not end the demo before its verdict.
pub fn put(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn reasons(refused: &BTreeMap<String, u64>) -> String {
    if refused.is_empty() {
        return "none".into();
    }
    refused.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")
}

/// The summary, which is also the JSON object of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Seconds the race took.
    pub seconds: f64,
    /// New payloads signed: one for each duty, but several for a side on a candidate.
    pub signed: u64,
    /// Repeated requests that were answered.
    pub repeated: u64,
    /// Refusals by code.
    pub refused: BTreeMap<String, u64>,
    /// Requests without a final answer, by kind.
    pub unanswered: BTreeMap<&'static str, u64>,
    /// VRF outputs received.
    pub vrfs: u64,
    /// VRF outputs that did not verify or differed.
    pub vrf_faults: u64,
    /// The signatures that the checker checked.
    pub checked: u64,
    /// The duties among them.
    pub duties: u64,
    /// Duties signed twice, and other violations.
    pub violations: Vec<String>,
    /// The median latency of a new signature, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The slowest, which includes the killed leader.
    pub max_ms: f64,
    /// What was done to the nodes.
    pub events: Vec<String>,
    /// Highest term seen.
    pub term: u64,
}

impl Summary {
    /// Whether the demo has shown what it is meant to show.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.vrf_faults == 0 && self.signed > 0 && self.checked > 0
    }

    /// Prints it as text.
    pub fn print(&self) {
        put("");
        put(&format!(
            "{} payloads signed in {:.0} s, {} repeats, refused: {}",
            self.signed,
            self.seconds,
            self.repeated,
            reasons(&self.refused)
        ));
        put(&format!(
            "latency p50 {:.1} ms, p99 {:.1} ms, max {:.0} ms; {} VRFs; requests without a final answer: {}",
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.vrfs,
            self.unanswered.values().sum::<u64>()
        ));
        put(&format!(
            "checked {} signatures over {} duties that the two validators received:",
            self.checked, self.duties
        ));
        self.violations.iter().take(20).for_each(|violation| put(&format!("  VIOLATION: {violation}")));
        if self.vrf_faults > 0 {
            put(&format!("  VIOLATION: {} VRF outputs are wrong or differ", self.vrf_faults));
        }
        if self.signed == 0 {
            put("  nothing was signed, so nothing was shown");
        }
        let verdict = if self.is_good() { "every signature verifies" } else { "FAILED" };
        put(&format!("{} duties signed twice; {verdict}", self.violations.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Summary {
        Summary {
            seconds: 1.0,
            signed: 1,
            repeated: 0,
            refused: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            vrfs: 1,
            vrf_faults: 0,
            checked: 1,
            duties: 1,
            violations: vec![],
            p50_ms: 1.0,
            p99_ms: 1.0,
            max_ms: 1.0,
            events: vec![],
            term: 1,
        }
    }

    #[test]
    fn a_demo_fails_if_anything_was_signed_twice_or_nothing_at_all() {
        assert!(good().is_good());
        for bad in [
            Summary { violations: vec!["signed twice".into()], ..good() },
            Summary { vrf_faults: 1, ..good() },
            Summary { signed: 0, ..good() },
            Summary { checked: 0, ..good() },
        ] {
            assert!(!bad.is_good(), "{bad:?}");
        }
    }
}
