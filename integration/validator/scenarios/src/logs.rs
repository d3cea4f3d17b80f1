//! What a validator's log says: equivocations found by the chain's own detector, blocks sealed, and what the remote
//! signer's part of the node told.

use std::{ops::AddAssign, path::Path};

/// What the logs of one or several nodes tell of equivocations. A line each is written by `sc-consensus-babe`
/// (`check_and_report_equivocation`), by `sc-consensus-grandpa` (`Environment::prevote_equivocation` and
/// `precommit_equivocation`), and by the test node itself, which looks where the SDK does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Equivocations {
    /// Two blocks of one slot.
    pub blocks: usize,
    /// Two prevotes of one round.
    pub prevotes: usize,
    /// Two precommits of one round.
    pub precommits: usize,
    /// Any of them, found by the test node's own judge.
    pub judged: usize,
}

impl Equivocations {
    /// In one log.
    pub fn in_log(path: &Path) -> Self {
        Self::in_text(&read(path))
    }

    /// In several logs.
    pub fn in_logs<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut all = Self::default();
        paths.into_iter().for_each(|path| all += Self::in_log(path));
        all
    }

    fn in_text(text: &str) -> Self {
        let count = |needle| text.lines().filter(|line| line.contains(needle)).count();
        Self {
            blocks: count("is equivocating at slot"),
            prevotes: count("Detected prevote equivocation"),
            precommits: count("Detected precommit equivocation"),
            judged: count("sealed two blocks of slot") + count("voted twice in round"),
        }
    }

    /// All kinds.
    pub const fn total(self) -> usize {
        self.blocks + self.prevotes + self.precommits + self.judged
    }
}

impl AddAssign for Equivocations {
    fn add_assign(&mut self, other: Self) {
        let Self { blocks, prevotes, precommits, judged } = other;
        self.blocks += blocks;
        self.prevotes += prevotes;
        self.precommits += precommits;
        self.judged += judged;
    }
}

impl std::fmt::Display for Equivocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { blocks, prevotes, precommits, judged } = self;
        write!(f, "{blocks} blocks, {prevotes} prevotes, {precommits} precommits; {judged} by the judge")
    }
}

/// How many lines hold this text.
pub fn count(path: &Path, needle: &str) -> usize {
    read(path).lines().filter(|line| line.contains(needle)).count()
}

/// How many blocks the node sealed: BABE and AURA say so after the signature was given.
pub fn sealed(path: &Path) -> usize {
    count(path, "Pre-sealed block for proposal")
}

/// What the remote signer's part of the node said, line by line, without the times.
pub fn signer_lines(path: &Path) -> Vec<String> {
    signer_lines_in(&read(path))
}

fn signer_lines_in(text: &str) -> Vec<String> {
    let said = |line: &str| line.split_once("remote-signer: ").map(|(_, said)| said.trim().to_owned());
    text.lines().filter_map(said).collect()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-11-21 12:00:00 Slot author Public(d435) is equivocating at slot Slot(7) with headers 0x01 and 0x02
2026-11-21 12:00:01 [main] Detected prevote equivocation in the finality worker: Equivocation { round_number: 3 }
2026-11-21 12:00:02 Detected precommit equivocation in the finality worker: Equivocation { round_number: 3 }
2026-11-21 12:00:02 Detected precommit equivocation in the finality worker: Equivocation { round_number: 4 }
2026-11-21 12:00:02 WARN main judge: BABE: 5Author sealed two blocks of slot 7
2026-11-21 12:00:02 WARN main judge: GRANDPA: 5Voter voted twice in round 4 of set 1
2026-11-21 12:00:03 WARN main remote-signer: no signer can be reached
2026-11-21 12:00:04 Imported #5
2026-11-21 12:00:05 remote-signer: connected again
";

    #[test]
    fn the_detectors_lines_are_told_apart() {
        let found = Equivocations::in_text(LOG);
        assert_eq!(found, Equivocations { blocks: 1, prevotes: 1, precommits: 2, judged: 2 });
        assert_eq!(found.total(), 6);
        assert_eq!(Equivocations::in_text("Imported #5\n").total(), 0);
    }

    #[test]
    fn what_was_found_in_two_logs_adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        paths.iter().for_each(|path| std::fs::write(path, LOG).unwrap());
        assert_eq!(Equivocations::in_logs(paths.iter().map(AsRef::as_ref)).precommits, 4);
        assert_eq!(count(&paths[0], "Imported"), 1);
        assert_eq!(count(&dir.path().join("missing"), "Imported"), 0);
    }

    #[test]
    fn the_lines_of_the_remote_signer_are_found_with_or_without_a_level() {
        assert_eq!(signer_lines_in(LOG), ["no signer can be reached", "connected again"]);
    }
}
