//! The results of a run: a table to read, and one JSON document.

use crate::case::{Outcome, Verdict};

/// One outcome in a few words.
pub fn words(outcome: &Outcome) -> String {
    let figures = &outcome.figures;
    match outcome.verdict {
        Verdict::Held if figures.out_of_service > 0 && figures.served_after == 0 => {
            "held, by not serving".to_owned()
        }
        Verdict::Held if figures.out_of_service > 0 => "held, at times by not serving".to_owned(),
        Verdict::Held => "held".to_owned(),
        Verdict::Broke if outcome.broken == 0 => "BROKE: two signatures of one payload".to_owned(),
        Verdict::Broke => format!("BROKE: {} of {} duties", outcome.broken, figures.contended),
        Verdict::NotApplicable => "not applicable".to_owned(),
        Verdict::Skipped => "skipped".to_owned(),
        Verdict::Undecided => "undecided".to_owned(),
    }
}

/// One outcome with all that is to be told of it.
pub fn line(outcome: &Outcome) -> String {
    let figures = &outcome.figures;
    let mut text = format!("{:<18} {:<10} {:<32}", outcome.case, outcome.signer, words(outcome));
    if figures.asked > 0 {
        text += &format!(
            " asked {}, signed {}, refused {}, hung up {}, silent {}; {:.0} s",
            figures.asked, figures.signed, figures.refused, figures.closed, figures.silent, outcome.seconds
        );
    }
    for told in outcome.why.iter().chain(&outcome.notes) {
        text += &format!("\n    {told}");
    }
    if let Some(evidence) = &outcome.evidence {
        text += &format!("\n    {} of key {}", evidence.duty, evidence.public);
        for signed in [&evidence.first, &evidence.second] {
            text += &format!(
                "\n      {}: {}\n        signature {}",
                signed.says, signed.payload, signed.signature
            );
        }
    }
    text
}

/// Cases as rows, signers as columns.
pub fn table(outcomes: &[Outcome], signers: &[&str]) -> String {
    let mut text = format!("{:<18}", "case");
    signers.iter().for_each(|signer| text += &format!(" | {signer:<32}"));
    let mut cases: Vec<&str> = outcomes.iter().map(|outcome| outcome.case).collect();
    cases.dedup();
    for case in cases {
        text += &format!("\n{case:<18}");
        for signer in signers {
            let found = outcomes.iter().find(|outcome| outcome.case == case && outcome.signer == *signer);
            text += &format!(" | {:<32}", found.map_or_else(|| "skipped".to_owned(), words));
        }
    }
    text
}
