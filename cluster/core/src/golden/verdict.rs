//! What the ledger says: every verdict and every refusal.

use super::{File, sample::*, variants};
use crate::{KeyState, Refusal, Verdict};
use signonce_protocol::{BlockNumber, CandidateHash, DutyClass, SessionIndex, Side, Slot, StatementKind};

variants! {
    pub(super) fn refusals() -> Refusal {
        Equivocation => Refusal::Equivocation {
            duty: duty(),
            signed: DIGEST,
            asked: signonce_protocol::Digest([0xd2; 32]),
            at: AT,
            time_ms: TIME_MS,
            client: CLIENT,
        };
        BelowWatermark => Refusal::BelowWatermark { asked: position(), floor: higher() };
        JumpTooFar => Refusal::JumpTooFar { asked: higher(), reference: position(), limit: 5 };
        BeefyAheadOfGrandpa => Refusal::BeefyAheadOfGrandpa {
            asked: BlockNumber(30),
            precommitted: BlockNumber(10),
            slack: 16,
        };
        CrossedSides => Refusal::CrossedSides {
            session: SessionIndex(21),
            candidate: CandidateHash([0xca; 32]),
            signed: Side::Valid,
            asked: Side::Invalid,
            digest: DIGEST,
            at: AT,
            time_ms: TIME_MS,
            client: CLIENT,
        };
        Crowded => Refusal::Crowded { position: position(), limit: 64 };
        UnknownKey => Refusal::UnknownKey { key: key() };
        KeyNotArmed => Refusal::KeyNotArmed { key: key(), state: KeyState::Disabled };
        KeyRemoved => Refusal::KeyRemoved { key: key() };
        WrongDuty => Refusal::WrongDuty { key: key(), class: DutyClass::BeefyVote };
        PastCounting => Refusal::PastCounting { asked: Slot(1), floor: Slot(2), slot_duration_ms: 24_000 };
        KeyHalted => Refusal::KeyHalted { key: key(), duty: duty(), at: AT };
        Barred => Refusal::Barred { key: key(), asked: position(), at: AT };
        OtherSide => Refusal::OtherSide {
            session: SessionIndex(21),
            candidate: CandidateHash([0xca; 32]),
            signed: Side::Valid,
            asked: Side::Invalid,
        };
        OtherStatement => Refusal::OtherStatement {
            session: SessionIndex(21),
            candidate: CandidateHash([0xca; 32]),
            signed: Some(StatementKind::Seconded),
            asked: StatementKind::Valid,
        };
    }
}

variants! {
    pub(super) fn verdicts() -> Verdict {
        Granted => Verdict::Granted;
        Repeated => Verdict::Repeated { at: AT };
        Refused => Verdict::Refused(Refusal::UnknownKey { key: key() });
    }
}

#[test]
fn every_verdict_has_the_bytes_it_always_had() {
    let mut file = File::new("verdicts");
    file.values("Verdict", verdicts());
    file.values("Refusal", refusals());
    file.check();
}

/// As of errors: what a person types is the signer's business.
#[test]
fn no_refusal_says_what_to_type() {
    for (name, refusal) in refusals() {
        let text = refusal.to_string();
        assert!(!text.contains('`') && !text.contains("signonce "), "{name}: {text}");
    }
}
