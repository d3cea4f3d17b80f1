//! What a parachain validator signs, made by `polkadot-primitives`.

use super::{Case, Reread, Signed, hex};
use crate::random::Random;
use bitvec::{order::Lsb0, vec::BitVec};
use parity_scale_codec::{DecodeAll as _, Encode as _};
use polkadot_primitives::{
    ApprovalVote, ApprovalVoteMultipleCandidates, AvailabilityBitfield, CandidateHash, CompactStatement,
    ExplicitDisputeStatement, PvfCheckStatement, SigningContext, ValidationCodeHash, ValidatorIndex,
};
use serde_json::{Value, json};
use signonce_protocol::Hash;
use signonce_substrate::{
    CandidateHash as OurCandidate, ChainFormat, SessionIndex, Side,
    payload::{Approval, Bitfield, Content, Dispute, PvfCheck, Statement, StatementKind},
};

fn free(
    format: ChainFormat,
    bytes: Vec<u8>,
    content: Content,
    reread: fn(&[u8], &ChainFormat) -> Option<Reread>,
) -> Case {
    Case { format, content, duty: Value::Null, signed: Signed::Message(bytes.clone()), bytes, reread }
}

fn side_duty(session: u32, candidates: &[CandidateHash], side: &str) -> Value {
    let candidates: Vec<_> = candidates.iter().map(|it| hex(it.0)).collect();
    json!({ "class": "paraSide", "session": session, "candidates": candidates, "side": side })
}

fn statement_duty(context: &SigningContext, statement: &CompactStatement) -> Value {
    let mut duty = side_duty(context.session_index, &[*statement.candidate_hash()], "valid");
    let kind = match statement {
        CompactStatement::Seconded(_) => "seconded",
        CompactStatement::Valid(_) => "valid",
    };
    duty["statement"] = json!(kind);
    duty
}

/// `CompactStatement` under a `SigningContext`.
pub fn statement(random: &mut Random, format: ChainFormat) -> Case {
    let candidate = CandidateHash(random.hash());
    let context = SigningContext { session_index: random.u32(), parent_hash: random.hash() };
    let (compact, statement) = match random.flag() {
        true => (CompactStatement::Seconded(candidate), StatementKind::Seconded),
        false => (CompactStatement::Valid(candidate), StatementKind::Valid),
    };
    let bytes = compact.signing_payload(&context);
    let content = Content::Statement(Statement {
        statement,
        candidate: OurCandidate(candidate.0.0),
        session: SessionIndex(context.session_index),
        parent: Hash(context.parent_hash.0),
    });
    let duty = statement_duty(&context, &compact);
    Case { format, content, duty, signed: Signed::Message(bytes.clone()), bytes, reread: reread_statement }
}

fn reread_statement(bytes: &[u8], _: &ChainFormat) -> Option<Reread> {
    let (it, context) = <(CompactStatement, SigningContext)>::decode_all(&mut &bytes[..]).ok()?;
    let duty = statement_duty(&context, &it);
    Some(Reread { bytes: it.signing_payload(&context), duty: Some(duty) })
}

/// `ApprovalVote` for one candidate, `ApprovalVoteMultipleCandidates` for any number.
pub fn approval(random: &mut Random, format: ChainFormat, count: usize) -> Case {
    let candidates: Vec<_> = (0..count).map(|_| CandidateHash(random.hash())).collect();
    let session = random.u32();
    let bytes = ApprovalVoteMultipleCandidates(&candidates).signing_payload(session);
    if let [one] = candidates[..] {
        assert_eq!(bytes, ApprovalVote(one).signing_payload(session), "one candidate has one form");
    }
    let content = Content::Approval(Approval {
        candidates: candidates.iter().map(|it| OurCandidate(it.0.0)).collect(),
        session: SessionIndex(session),
    });
    let duty = side_duty(session, &candidates, "valid");
    Case { format, content, duty, signed: Signed::Message(bytes.clone()), bytes, reread: reread_approval }
}

// The reference has no decoder for these payloads; their fields are its types.
fn reread_approval(bytes: &[u8], _: &ChainFormat) -> Option<Reread> {
    let one =
        <([u8; 4], CandidateHash, u32)>::decode_all(&mut &bytes[..]).map(|(m, one, s)| (m, vec![one], s));
    let many = || <([u8; 4], Vec<CandidateHash>, u32)>::decode_all(&mut &bytes[..]);
    let (magic, candidates, session) = one.or_else(|_| many()).ok()?;
    let duty = side_duty(session, &candidates, "valid");
    let bytes = ApprovalVoteMultipleCandidates(&candidates).signing_payload(session);
    (magic == *b"APPR").then_some(Reread { bytes, duty: Some(duty) })
}

/// An explicit statement of a dispute.
pub fn dispute(random: &mut Random, format: ChainFormat) -> Case {
    let it = ExplicitDisputeStatement {
        valid: random.flag(),
        candidate_hash: CandidateHash(random.hash()),
        session: random.u32(),
    };
    let bytes = it.signing_payload();
    let content = Content::Dispute(Dispute {
        side: if it.valid { Side::Valid } else { Side::Invalid },
        candidate: OurCandidate(it.candidate_hash.0.0),
        session: SessionIndex(it.session),
    });
    let duty = dispute_duty(&it);
    Case { format, content, duty, signed: Signed::Message(bytes.clone()), bytes, reread: reread_dispute }
}

fn dispute_duty(it: &ExplicitDisputeStatement) -> Value {
    side_duty(it.session, &[it.candidate_hash], if it.valid { "valid" } else { "invalid" })
}

fn reread_dispute(bytes: &[u8], _: &ChainFormat) -> Option<Reread> {
    let (magic, valid, candidate_hash, session) =
        <([u8; 4], bool, CandidateHash, u32)>::decode_all(&mut &bytes[..]).ok()?;
    let it = ExplicitDisputeStatement { valid, candidate_hash, session };
    (magic == *b"DISP").then(|| Reread { bytes: it.signing_payload(), duty: Some(dispute_duty(&it)) })
}

/// `AvailabilityBitfield` under a `SigningContext`, as `UncheckedSigned` puts them together.
pub fn bitfield(random: &mut Random, format: ChainFormat) -> Case {
    let cores = match random.below(4) {
        0 => random.below(10),
        1 => 4096 - random.below(10),
        _ => random.below(300),
    };
    let bits: Vec<bool> = (0..cores).map(|_| random.flag()).collect();
    let field = AvailabilityBitfield(bits.iter().copied().collect::<BitVec<u8, Lsb0>>());
    let context = SigningContext { session_index: random.u32(), parent_hash: random.hash() };
    let bytes = (&field, &context).encode();
    let content = Content::Bitfield(Bitfield {
        bits,
        session: SessionIndex(context.session_index),
        parent: Hash(context.parent_hash.0),
    });
    free(format, bytes, content, |bytes, _| {
        let it = <(AvailabilityBitfield, SigningContext)>::decode_all(&mut &bytes[..]).ok()?;
        Some(Reread { bytes: it.encode(), duty: None })
    })
}

/// A vote on parachain code.
pub fn pvf_check(random: &mut Random, format: ChainFormat) -> Case {
    let it = PvfCheckStatement {
        accept: random.flag(),
        subject: ValidationCodeHash::from(random.hash()),
        session_index: random.u32(),
        validator_index: ValidatorIndex(random.u32()),
    };
    let content = Content::PvfCheck(PvfCheck {
        accept: it.accept,
        code: Hash(*it.subject.as_ref().first_chunk().expect("a hash has 32 bytes")),
        session: SessionIndex(it.session_index),
        validator_index: it.validator_index.0,
    });
    free(format, it.signing_payload(), content, |bytes, _| {
        let (magic, accept, subject, session_index, validator_index) =
            <([u8; 4], bool, ValidationCodeHash, u32, ValidatorIndex)>::decode_all(&mut &bytes[..]).ok()?;
        let it = PvfCheckStatement { accept, subject, session_index, validator_index };
        (magic == *b"VCPC").then(|| Reread { bytes: it.signing_payload(), duty: None })
    })
}
