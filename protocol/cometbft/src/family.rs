//! The family's numbers and tables. Rows are in the order of their numbers, which never change.

use crate::{
    duty::{PARTS, Words},
    mark,
    payload::{self, CONNECTION_BYTES},
    public_key,
    refusal::OwnRefusals,
    request::{MAX_PROPOSAL_BYTES, MAX_VOTE_BYTES},
    settings::Spec,
};
use signonce_protocol::{
    Algorithm, ClaimSpec, ClassSpec, DutyClass, Family, FamilyId, KeyType, KeyTypeSpec, KindSpec,
    PayloadKind, Rule, Scheme, SchemeSpec,
};

/// The family's number.
pub const ID: FamilyId = FamilyId(2);

/// The feature level from which a cluster has the family: the first one.
const LEVEL: u32 = 1;

/// CometBFT chains.
pub static FAMILY: Family = Family {
    id: ID,
    name: "cometbft",
    level: LEVEL,
    schemes: &SCHEMES,
    key_types: &KEY_TYPES,
    classes: &CLASSES,
    kinds: &KINDS,
    settings: &Spec,
    methods: &[],
};

/// Installs this family alone: for tests. A signer lists all of its families.
pub fn install() {
    static ALONE: [&Family; 1] = [&FAMILY];
    signonce_protocol::install(&ALONE);
}

/// What nodes call `tendermint/PubKeyEd25519`.
pub const ED25519: Scheme = Scheme::new(ID, 0);
/// What nodes call `tendermint/PubKeySecp256k1`.
pub const SECP256K1: Scheme = Scheme::new(ID, 1);

/// Nodes have others: secp256k1eth, BLS12-381, ML-DSA-65. Each needs one more row once there is an algorithm for it.
static SCHEMES: [SchemeSpec; 2] = [
    SchemeSpec {
        id: ED25519,
        name: "cometEd25519",
        about: "Plain Ed25519, as nearly all validators have it; 32-byte public keys, 64-byte signatures.",
        algorithm: Algorithm::Ed25519,
        show: Some(public_key::show_ed25519),
    },
    SchemeSpec {
        id: SECP256K1,
        name: "cometSecp256k1",
        about: "ECDSA over secp256k1 and SHA-256; 33-byte public keys, 64-byte signatures (r, s) with a low s.",
        algorithm: Algorithm::Secp256k1Compact,
        show: Some(public_key::show_secp256k1),
    },
];

/// A validator's consensus key.
pub const CONSENSUS: KeyType = KeyType::new(ID, 0);

static KEY_TYPES: [KeyTypeSpec; 1] = [KeyTypeSpec {
    id: CONSENSUS,
    name: "comet",
    about: "A validator's consensus key.",
    level: LEVEL,
    schemes: &[ED25519, SECP256K1],
}];

/// A prevote or precommit: claimed, and signed with its extension where it can have one.
pub const VOTE: DutyClass = DutyClass::new(ID, 0);
/// A proposal: claimed.
pub const PROPOSAL: DutyClass = DutyClass::new(ID, 1);

static CLASSES: [ClassSpec; 2] = [
    ClassSpec {
        id: VOTE,
        name: "cometVote",
        about: "A prevote or precommit: one per height, round and step, and none against the lock of its height.",
        level: LEVEL,
        key_types: &[CONSENSUS],
        claim: Some(ClaimSpec { by_everyone: true, ..claim(&Words(VOTE)) }),
    },
    ClassSpec {
        id: PROPOSAL,
        name: "cometProposal",
        about: "A proposal: one per height and round, before its votes.",
        level: LEVEL,
        key_types: &[CONSENSUS],
        claim: Some(claim(&Words(PROPOSAL))),
    },
];

/// Both classes share one mark.
const fn claim(words: &'static Words) -> ClaimSpec {
    ClaimSpec {
        parts: &PARTS,
        prefix: "",
        mark: VOTE,
        slots: None,
        rule: Rule::Own(mark::start),
        by_everyone: false,
        words,
        refusals: Some(&OwnRefusals),
        alone: Some(mark::alone),
    }
}

/// A node's request for a vote.
pub const VOTE_KIND: PayloadKind = PayloadKind::new(ID, 0);
/// A node's request for a proposal.
pub const PROPOSAL_KIND: PayloadKind = PayloadKind::new(ID, 1);

static KINDS: [KindSpec; 2] = [
    KindSpec {
        id: VOTE_KIND,
        name: "cometVote",
        about: "`connection u64, little-endian ‖ SignVoteRequest`, as the node sent it",
        class: VOTE,
        max_len: CONNECTION_BYTES + MAX_VOTE_BYTES,
        digest: payload::vote_digest,
        decode: payload::decode_vote,
    },
    KindSpec {
        id: PROPOSAL_KIND,
        name: "cometProposal",
        about: "`connection u64, little-endian ‖ SignProposalRequest`, as the node sent it",
        class: PROPOSAL,
        max_len: CONNECTION_BYTES + MAX_PROPOSAL_BYTES,
        digest: payload::proposal_digest,
        decode: payload::decode_proposal,
    },
];
