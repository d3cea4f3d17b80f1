//! What the ledger says: every verdict and every refusal.

use super::{File, sample::*, variants};
use crate::{KeyState, Refusal, Verdict};
use parity_scale_codec::Encode as _;
use signonce_protocol::{Carry, RuleRefusal, Slot};
use signonce_substrate::{
    BEEFY_VOTE, BlockNumber, CandidateHash, OwnRefusal, PARA_SIDE, SessionIndex, SetId, Side, StatementKind,
};

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
        JumpTooFar => Refusal::JumpTooFar {
            asked: higher(),
            reference: position(),
            limit: 5,
            bound: at(signonce_substrate::BABE_BLOCK, &[28]),
        };
        Crowded => Refusal::Crowded { position: position(), limit: 64 };
        UnknownKey => Refusal::UnknownKey { key: key() };
        KeyNotArmed => Refusal::KeyNotArmed { key: key(), state: KeyState::Disabled };
        KeyRemoved => Refusal::KeyRemoved { key: key() };
        WrongDuty => Refusal::WrongDuty { key: key(), class: BEEFY_VOTE };
        PastCounting => Refusal::PastCounting { asked: Slot(1), floor: Slot(2), slot_duration_ms: 24_000 };
        KeyHalted => Refusal::KeyHalted { key: key(), duty: duty(), at: AT };
        Barred => Refusal::Barred { key: key(), asked: position(), at: AT };
        Rule => Refusal::Rule(own_refusals().remove(0).1);
    }
}

variants! {
    fn typed_own() -> OwnRefusal {
        AheadOfGrandpa => OwnRefusal::AheadOfGrandpa {
            set_id: SetId(19),
            asked: BlockNumber(30),
            precommitted: BlockNumber(10),
            slack: 16,
        };
        OtherSide => OwnRefusal::OtherSide {
            session: SessionIndex(21),
            candidate: CandidateHash([0xca; 32]),
            signed: Side::Valid,
            asked: Side::Invalid,
        };
        OtherStatement => OwnRefusal::OtherStatement {
            session: SessionIndex(21),
            candidate: CandidateHash([0xca; 32]),
            signed: StatementKind::Seconded,
            asked: StatementKind::Valid,
        };
    }
}

/// As the ledger gives them: the family's SCALE, under the number that it begins with.
fn own_refusals() -> Vec<(String, RuleRefusal)> {
    let class = |own: &OwnRefusal| match own {
        OwnRefusal::AheadOfGrandpa { .. } => BEEFY_VOTE,
        OwnRefusal::OtherSide { .. } | OwnRefusal::OtherStatement { .. } => PARA_SIDE,
    };
    let refusal = |(name, own): (String, OwnRefusal)| {
        let (class, facts) = (class(&own), own.encode());
        let refusal = RuleRefusal { class, code: facts[0], facts };
        assert_eq!(OwnRefusal::of(&Refusal::Rule(refusal.clone())), Some(own), "{name} is read back");
        (name, refusal)
    };
    typed_own().into_iter().map(refusal).collect()
}

variants! {
    pub(super) fn verdicts() -> Verdict {
        Granted => Verdict::Granted;
        Repeated =>
            Verdict::Repeated { at: AT, carry: Carry::default() },
            Verdict::Repeated { at: AT, carry: carry() };
        Refused => Verdict::Refused(Refusal::UnknownKey { key: key() });
    }
}

#[test]
fn every_verdict_has_the_bytes_it_always_had() {
    let mut file = File::new("verdicts");
    file.values("Verdict", verdicts());
    file.values("Refusal", refusals());
    file.values("Rule", own_refusals());
    for (name, refusal) in refusals().into_iter().chain(of_rules()) {
        let json = serde_json::to_string(&refusal).expect("a refusal is JSON");
        let read = serde_json::from_str::<Refusal>(&json);
        assert_eq!(read.ok().as_ref(), Some(&refusal), "{name} is read back");
        file.text(format!("json/{name}"), json);
    }
    file.check();
}

fn of_rules() -> impl Iterator<Item = (String, Refusal)> {
    own_refusals().into_iter().map(|(name, own)| (format!("Rule/{name}"), Refusal::Rule(own)))
}

/// As of errors: what a person types is the signer's business.
#[test]
fn no_refusal_says_what_to_type() {
    for (name, refusal) in refusals().into_iter().chain(of_rules()) {
        let text = refusal.to_string();
        assert!(!text.contains('`') && !text.contains("signonce "), "{name}: {text}");
    }
}
