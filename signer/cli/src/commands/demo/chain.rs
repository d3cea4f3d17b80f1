//! A pretend relay chain: the payloads that a validator's node software would ask to have signed.
//!
//! They are complete and in the real layouts, so that the signer's strict decoders accept them. Two validators that see
//! different states of the chain have different [`Flavour`]s: their payloads for the same duty conflict.

use signonce_protocol::{Hash, RawPayload, Slot, blake2_256};
use signonce_substrate::{
    BlockNumber, CandidateHash, ChainFormat, EpochIndex, GrandpaStage, Kind, Round, SessionIndex, SetId,
    Side, payload,
};

/// The number of slots in an epoch: few, so that a short demo sees the randomness change.
const EPOCH_SLOTS: u64 = 10;

/// A validator's view of the chain. Views differ in every root and block hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavour(pub u64);

fn hash(what: &str, of: &[u64]) -> Hash {
    let mut bytes = what.as_bytes().to_vec();
    of.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    Hash(blake2_256(&bytes))
}

/// The epoch of a slot.
pub fn epoch_of(slot: Slot) -> EpochIndex {
    EpochIndex(slot.0 / EPOCH_SLOTS)
}

/// The randomness of an epoch, as both validators know it.
pub fn randomness(epoch: EpochIndex) -> Hash {
    hash("randomness", &[epoch.0])
}

/// A block header for `slot` by a primary author with this VRF. All views agree on the parent; the block, and so its
/// state root, differs by view.
pub fn header(slot: Slot, vrf_output: &[u8; 32], vrf_proof: &[u8; 64], view: Flavour) -> RawPayload {
    let (primary, authority_index) = (1u8, 0u32);
    let mut claim = vec![primary];
    claim.extend_from_slice(&authority_index.to_le_bytes());
    claim.extend_from_slice(&slot.0.to_le_bytes());
    claim.extend_from_slice(vrf_output);
    claim.extend_from_slice(vrf_proof);
    let header = payload::Header {
        parent: hash("block", &[slot.0 - 1]),
        number: BlockNumber(slot.0 % 100_000_000),
        state_root: hash("state", &[slot.0, view.0]),
        extrinsics_root: hash("extrinsics", &[slot.0]),
        digest: vec![payload::DigestItem::PreRuntime(payload::BABE_ENGINE, claim)],
    };
    RawPayload::new(Kind::BabeHeader.into(), header.encode())
}

/// A GRANDPA vote for block number `target` in this view.
pub fn vote(set_id: SetId, round: Round, stage: GrandpaStage, target: u64, view: Flavour) -> RawPayload {
    let target_hash = hash("block", &[target, view.0]);
    let vote = payload::GrandpaVote { stage, target_hash, target: BlockNumber(target), round, set_id };
    RawPayload::new(Kind::GrandpaVote.into(), vote.encode(&ChainFormat::default()))
}

/// A BEEFY commitment to this view's Merkle mountain range at `block`.
pub fn commitment(set_id: SetId, block: u64, view: Flavour) -> RawPayload {
    let root = hash("mmr", &[block, view.0]).0.to_vec();
    let commitment =
        payload::BeefyCommitment { payload: vec![(*b"mh", root)], block: BlockNumber(block), set_id };
    RawPayload::new(Kind::BeefyCommitment.into(), commitment.encode(&ChainFormat::default()))
}

fn candidate(session: SessionIndex, number: u64) -> CandidateHash {
    CandidateHash(hash("candidate", &[session.0.into(), number]).0)
}

/// A dispute statement on a session's candidate.
pub fn dispute(session: SessionIndex, number: u64, valid: bool) -> RawPayload {
    let side = if valid { Side::Valid } else { Side::Invalid };
    let dispute = payload::Dispute { side, candidate: candidate(session, number), session };
    RawPayload::new(Kind::Dispute.into(), dispute.encode())
}

/// A backing statement on the same candidate: `Valid`.
pub fn backing(session: SessionIndex, number: u64) -> RawPayload {
    let statement = payload::Statement {
        statement: payload::StatementKind::Valid,
        candidate: candidate(session, number),
        session,
        parent: hash("block", &[number]),
    };
    RawPayload::new(Kind::Statement.into(), statement.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{Chain, ChainId};
    use signonce_substrate::{ChainSettings, Duty, Limits};

    fn chain() -> Chain {
        signonce_shared::families::install();
        let (format, limits) = (ChainFormat::default(), Limits::default());
        ChainSettings { format, slot_duration_ms: 6_000, limits }.chain(ChainId([1; 32]), "demo")
    }

    #[test]
    fn every_payload_decodes_and_the_two_views_conflict_on_one_duty() {
        signonce_shared::families::install();
        let stage = GrandpaStage::Prevote;
        for (one, other) in [
            (
                header(Slot(8), &[1; 32], &[2; 64], Flavour(0)),
                header(Slot(8), &[1; 32], &[2; 64], Flavour(1)),
            ),
            (vote(1.into(), 2.into(), stage, 5, Flavour(0)), vote(1.into(), 2.into(), stage, 5, Flavour(1))),
            (commitment(1.into(), 7, Flavour(0)), commitment(1.into(), 7, Flavour(1))),
        ] {
            let [one, other] = [one, other].map(|raw| raw.decode(&chain()).unwrap());
            assert!(one.duty().is_some());
            assert_eq!(one.duty(), other.duty());
            assert_ne!(one.digest(), other.digest());
        }
    }

    #[test]
    fn the_two_sides_of_a_dispute_are_about_one_candidate() {
        let sides = [true, false].map(|valid| dispute(1.into(), 2, valid).decode(&chain()));
        let candidates = sides.map(|side| match side.unwrap().duty().and_then(Duty::of) {
            Some(Duty::ParaSide { candidates, .. }) => candidates,
            other => panic!("{other:?}"),
        });
        assert_eq!(candidates[0], candidates[1]);
    }
}
