//! What clients ask to have signed: duties by key, and several payloads that contend for each.
//!
//! The bytes are laid out here, by the layouts of `sp_runtime`, `sp_consensus_grandpa`, `sp_consensus_beefy` and
//! `polkadot_primitives`, and not by the product's encoders: the checker knows the duty of every payload because it
//! was made for it, not because somebody's decoder said so.

use signonce_protocol::{RawPayload, blake2_256};
use signonce_substrate::{Kind, keccak_256};
use std::fmt;

/// A duty: where a key may speak only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DutyId {
    /// One block per slot.
    Slot(u64),
    /// One GRANDPA vote per set, round and stage (0 prevote, 1 precommit, 2 primary proposal).
    Vote {
        /// The authority set.
        set: u64,
        /// The round.
        round: u64,
        /// The stage byte.
        stage: u8,
    },
    /// One BEEFY commitment per set and block.
    Commitment {
        /// The validator set.
        set: u64,
        /// The block.
        block: u32,
    },
    /// One side per session and candidate.
    Candidate {
        /// The session.
        session: u32,
        /// Which of the session's candidates.
        number: u32,
    },
}

impl DutyId {
    /// The position that floors count in.
    pub fn step(&self) -> (u64, u64) {
        match *self {
            Self::Slot(slot) => (0, slot),
            Self::Vote { set, round, stage: _ } => (set, round),
            Self::Commitment { set, block } => (set, block.into()),
            Self::Candidate { session, number: _ } => (0, session.into()),
        }
    }

    /// The first duty of the next step.
    pub fn above(&self) -> Self {
        match *self {
            Self::Slot(slot) => Self::Slot(slot + 1),
            Self::Vote { set, round, .. } => Self::Vote { set, round: round + 1, stage: 0 },
            Self::Commitment { set, block } => Self::Commitment { set, block: block + 1 },
            Self::Candidate { session, .. } => Self::Candidate { session: session + 1, number: 0 },
        }
    }

    /// Its step, as `signonce watermarks raise --to` reads it.
    pub fn coordinate(&self) -> String {
        match self {
            Self::Slot(number) => number.to_string(),
            Self::Vote { set, round, .. } => format!("{set}:{round}"),
            Self::Commitment { set, block } => format!("{set}:{block}"),
            Self::Candidate { session, .. } => session.to_string(),
        }
    }

    /// How many of its newest steps a key never forgets, as the signer's documentation promises.
    pub fn kept_steps(&self) -> usize {
        match self {
            Self::Slot(_) => 64,
            Self::Vote { .. } | Self::Commitment { .. } => 256,
            Self::Candidate { .. } => 9,
        }
    }

    /// After how many more signatures of its key the same payload may be granted as new again, as the signer's
    /// documentation says: of sides it keeps no bytes for longer. Elsewhere never.
    pub fn bytes_kept(&self) -> Option<u64> {
        matches!(self, Self::Candidate { .. }).then_some(512)
    }

    /// How many different payloads contend for a duty.
    pub const SIDES: u8 = 3;

    /// The payload of a side.
    pub fn payload(&self, side: u8) -> RawPayload {
        let (kind, bytes) = self.bytes(side);
        RawPayload::new(kind.into(), bytes)
    }

    /// Whether two payloads of this place may both be signed: the statements on a candidate that take one side.
    pub fn agree(&self, one: u8, other: u8) -> bool {
        match self {
            Self::Candidate { .. } => (one == AGAINST) == (other == AGAINST),
            _ => one == other,
        }
    }

    /// The digest that names a payload in refusals: blake2b-256 of what the signature scheme is given.
    pub fn digest(&self, side: u8) -> [u8; 32] {
        blake2_256(&self.signed_bytes(side))
    }

    /// What the signature scheme is given.
    pub fn signed_bytes(&self, side: u8) -> Vec<u8> {
        let (kind, bytes) = self.bytes(side);
        match kind {
            Kind::BabeHeader => blake2_256(&bytes).to_vec(),
            Kind::BeefyCommitment => keccak_256(&bytes).to_vec(),
            _ => bytes,
        }
    }

    fn bytes(&self, side: u8) -> (Kind, Vec<u8>) {
        match *self {
            Self::Slot(slot) => (Kind::BabeHeader, header(slot, side)),
            Self::Vote { set, round, stage } => {
                let mut bytes = vec![stage];
                bytes.extend(hash("block", &[set, round, side.into()]));
                let target = u32::try_from(round % 1_000_000).unwrap_or_default() + u32::from(side);
                bytes.extend(target.to_le_bytes());
                bytes.extend(round.to_le_bytes());
                bytes.extend(set.to_le_bytes());
                (Kind::GrandpaVote, bytes)
            }
            Self::Commitment { set, block } => {
                let mut bytes = compact(1);
                bytes.extend(b"mh");
                bytes.extend(compact(32));
                bytes.extend(hash("mmr", &[block.into(), side.into()]));
                bytes.extend(block.to_le_bytes());
                bytes.extend(set.to_le_bytes());
                (Kind::BeefyCommitment, bytes)
            }
            Self::Candidate { session, number } => candidate(session, number, side),
        }
    }
}

/// Of a candidate's payloads, the one that calls it invalid; the others take its side.
const AGAINST: u8 = 1;
/// The backing statement, beside the two sides of a dispute.
const BACKING: u8 = 2;

fn candidate(session: u32, number: u32, side: u8) -> (Kind, Vec<u8>) {
    let about = hash("candidate", &[session.into(), number.into()]);
    if side == BACKING {
        let valid = 2;
        let mut bytes = [b"BKNG".as_slice(), &[valid], &about, &session.to_le_bytes()].concat();
        bytes.extend(hash("relay parent", &[number.into()]));
        return (Kind::Statement, bytes);
    }
    let valid = u8::from(side != AGAINST);
    (Kind::Dispute, [b"DISP".as_slice(), &[valid], &about, &session.to_le_bytes()].concat())
}

/// An approval of several of a session's candidates at once.
pub fn approval(session: u32, numbers: &[u32]) -> RawPayload {
    let count = compact(u32::try_from(numbers.len()).unwrap_or_default());
    let candidates = numbers.iter().flat_map(|number| hash("candidate", &[session.into(), (*number).into()]));
    let bytes = b"APPR".iter().copied().chain(count).chain(candidates).chain(session.to_le_bytes());
    RawPayload::new(Kind::Approval.into(), bytes.collect::<Vec<u8>>())
}

/// A header with a primary BABE pre-digest; the sides differ in the state root.
fn header(slot: u64, side: u8) -> Vec<u8> {
    let (primary, authority_index) = (1u8, 0u32);
    let mut claim = vec![primary];
    claim.extend(authority_index.to_le_bytes());
    claim.extend(slot.to_le_bytes());
    // The VRF: nobody on the way to a signature can judge it without the chain.
    claim.extend([7; 96]);
    let mut bytes = hash("parent", &[slot]).to_vec();
    bytes.extend(compact(u32::try_from(slot % 1_000).unwrap_or_default()));
    bytes.extend(hash("state", &[slot, side.into()]));
    bytes.extend(hash("extrinsics", &[slot]));
    bytes.extend(compact(1));
    let pre_runtime = 6;
    bytes.push(pre_runtime);
    bytes.extend(b"BABE");
    bytes.extend(compact(u32::try_from(claim.len()).unwrap_or_default()));
    bytes.extend(claim);
    bytes
}

/// SCALE's compact form of numbers below 2^14.
fn compact(number: u32) -> Vec<u8> {
    match u8::try_from(number << 2) {
        Ok(byte) => vec![byte],
        Err(_) => u16::try_from(number << 2 | 1).unwrap_or_default().to_le_bytes().to_vec(),
    }
}

fn hash(what: &str, of: &[u64]) -> [u8; 32] {
    let mut bytes = what.as_bytes().to_vec();
    of.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    blake2_256(&bytes)
}

impl fmt::Display for DutyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "slot {slot}"),
            Self::Vote { set, round, stage } => write!(f, "set {set} round {round} stage {stage}"),
            Self::Commitment { set, block } => write!(f, "set {set} block {block}"),
            Self::Candidate { session, number } => write!(f, "session {session} candidate {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{ChainId, Payload};
    use signonce_substrate::{ChainFormat, ChainSettings, Duty, Limits};

    fn decode(payload: &RawPayload) -> Payload {
        signonce_substrate::install();
        let (format, limits) = (ChainFormat::default(), Limits::default());
        let settings = ChainSettings { format, slot_duration_ms: 6_000, limits };
        payload.decode(&settings.chain(ChainId([1; 32]), "test")).unwrap()
    }

    fn duty(payload: &Payload) -> Option<Duty> {
        Duty::of(payload.duty()?)
    }

    const PLACES: [DutyId; 4] = [
        DutyId::Slot(1_700_000_123),
        DutyId::Vote { set: 3, round: 70, stage: 1 },
        DutyId::Commitment { set: 3, block: 900 },
        DutyId::Candidate { session: 4, number: 5 },
    ];

    #[test]
    fn the_sides_of_a_place_are_one_duty_to_the_signers_decoder_with_the_digest_known_here() {
        for place in PLACES {
            let decoded = [0, 1, 2].map(|side| decode(&place.payload(side)));
            for (side, payload) in (0u8..).zip(&decoded) {
                assert_eq!(payload.digest().0, place.digest(side), "{place} side {side}");
            }
            match place {
                DutyId::Candidate { .. } => {
                    let about = decoded.each_ref().map(|payload| match duty(payload) {
                        Some(Duty::ParaSide { session, candidates, .. }) => (session, candidates),
                        other => panic!("{other:?}"),
                    });
                    assert_eq!(about[0], about[1]);
                    assert_eq!(about[0], about[2]);
                }
                DutyId::Vote { set, round, .. } => {
                    for payload in &decoded {
                        let Some(Duty::GrandpaVote { set_id, round: at, .. }) = duty(payload) else {
                            panic!("{place}")
                        };
                        assert_eq!((set_id.0, at.0), (set, round));
                    }
                }
                _ => assert_eq!(decoded[0].duty(), decoded[1].duty()),
            }
        }
    }

    #[test]
    fn an_approval_takes_the_side_of_the_candidates_that_single_words_are_about() {
        let about = |payload: RawPayload| match duty(&decode(&payload)) {
            Some(Duty::ParaSide { session, candidates, .. }) => (session, candidates),
            other => panic!("{other:?}"),
        };
        let (session, both) = about(approval(4, &[5, 6]));
        for (number, candidate) in [5, 6].into_iter().zip(both) {
            let place = DutyId::Candidate { session: 4, number };
            assert_eq!(about(place.payload(0)), (session, vec![candidate]));
        }
    }

    #[test]
    fn sides_agree_only_with_themselves_but_for_a_candidates_two_good_words() {
        for place in PLACES {
            assert!(!place.agree(0, 1) && !place.agree(1, 2));
            assert_eq!(place.agree(0, 2), matches!(place, DutyId::Candidate { .. }));
        }
    }
}
