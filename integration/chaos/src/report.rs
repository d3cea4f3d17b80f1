//! The results of a run: a table to read, and one JSON document.

use crate::scenario::{Outcome, Verdict};
use std::fmt::Write as _;

/// The table's head.
pub fn head() -> String {
    format!(
        "{:<15} {:<8} {:>5} {:>7} {:>6} {:>8} {:>8} {:>8} {:>8} {:>7} {:>9} {:>10} {:>8} {:>6}",
        "scenario",
        "verdict",
        "nodes",
        "clients",
        "faults",
        "requests",
        "granted",
        "repeated",
        "refused",
        "unknown",
        "not ready",
        "outage ms",
        "heal ms",
        "s"
    )
}

/// One scenario's line, and what is wrong with it.
pub fn row(outcome: &Outcome) -> String {
    let Outcome { scenario, verdict, why, nodes, clients, seconds, faults, longest_heal_ms, figures, .. } =
        outcome;
    if *verdict == Verdict::Skipped {
        return format!("{scenario:<15} skipped  {}", why.join("; "));
    }
    let verdict = if *verdict == Verdict::Passed { "passed" } else { "FAILED" };
    let mut text = format!(
        "{scenario:<15} {verdict:<8} {nodes:>5} {clients:>7} {faults:>6} {:>8} {:>8} {:>8} {:>8} {:>7} {:>9} {:>10} \
         {longest_heal_ms:>8} {seconds:>6.0}",
        figures.requests,
        figures.granted,
        figures.repeated,
        figures.refused,
        figures.unknown,
        figures.not_ready,
        figures.longest_outage_ms,
    );
    for why in why {
        let _ = write!(text, "\n    {why}");
    }
    if let Some(kept) = &outcome.kept {
        let _ = write!(text, "\n    seed {}; everything is kept in {}", outcome.seed, kept.display());
    }
    text
}

/// The last line.
pub fn sum(outcomes: &[Outcome]) -> String {
    let count = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    let total = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    format!(
        "{} passed, {} failed, {} skipped; {} requests over {} duties, {} answers asked for again afterwards: {} the \
         same bytes, {} older than what a key keeps",
        count(Verdict::Passed),
        count(Verdict::Failed),
        count(Verdict::Skipped),
        total(|outcome| outcome.figures.requests),
        total(|outcome| outcome.figures.duties),
        total(|outcome| outcome.figures.asked_again),
        total(|outcome| outcome.figures.known_again),
        total(|outcome| outcome.figures.forgotten),
    )
}
