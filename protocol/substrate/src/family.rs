//! The family itself: its numbers and its tables. Rows are in the order of their numbers, which never change.

use crate::{
    duty::Words, para, payload, refusal::OwnRefusals, settings::ChainSettings, settings::Spec, shield,
    vrf::VrfParams,
};
use signonce_protocol::{
    Algorithm, ClaimSpec, ClassSpec, DutyClass, Family, FamilyId, Jump, KeyType, KeyTypeSpec, Part, Rule,
    Scheme, SchemeSpec, Settings, SlotRule, WindowRule, rpc::Method,
};

/// The family's number.
pub const ID: FamilyId = FamilyId(1);

/// The feature level from which on a cluster may use the family: the first.
const LEVEL: u32 = 1;

/// Substrate chains: Polkadot, Kusama, their parachains, solochains.
pub static FAMILY: Family = Family {
    id: ID,
    name: "substrate",
    level: LEVEL,
    schemes: &SCHEMES,
    key_types: &KEY_TYPES,
    classes: &CLASSES,
    kinds: &payload::ROWS,
    methods: &METHODS,
    settings: &Spec,
};

static METHODS: [Method; 1] = [Method::of::<VrfParams>("The BABE VRF pre-output and proof for a slot.")];

/// Installs this family alone: for validators and tests. A signer lists all of its families.
pub fn install() {
    static ALONE: [&Family; 1] = [&FAMILY];
    signonce_protocol::install(&ALONE);
}

/// sr25519.
pub const SR25519: Scheme = Scheme::new(ID, 0);
/// ed25519.
pub const ED25519: Scheme = Scheme::new(ID, 1);
/// ECDSA over secp256k1.
pub const ECDSA: Scheme = Scheme::new(ID, 2);

static SCHEMES: [SchemeSpec; 3] = [
    SchemeSpec {
        id: SR25519,
        name: "sr25519",
        about: "Schnorr over Ristretto; 32-byte public keys, 64-byte signatures. Signed here without randomness.",
        algorithm: Algorithm::Sr25519,
        show: None,
    },
    SchemeSpec {
        id: ED25519,
        name: "ed25519",
        about: "Plain Ed25519; 32-byte public keys, 64-byte signatures.",
        algorithm: Algorithm::Ed25519,
        show: None,
    },
    SchemeSpec {
        id: ECDSA,
        name: "ecdsa",
        about: "ECDSA over secp256k1 with RFC 6979 nonces; 33-byte public keys, 65-byte recoverable signatures.",
        algorithm: Algorithm::Secp256k1Recoverable,
        show: None,
    },
];

/// Block production with BABE.
pub const BABE: KeyType = KeyType::new(ID, 0);
/// Block production with AURA.
pub const AURA: KeyType = KeyType::new(ID, 1);
/// Finality.
pub const GRANDPA: KeyType = KeyType::new(ID, 2);
/// Bridge finality.
pub const BEEFY: KeyType = KeyType::new(ID, 3);
/// Parachain validation.
pub const PARA: KeyType = KeyType::new(ID, 4);
/// Authority discovery.
pub const AUTHORITY_DISCOVERY: KeyType = KeyType::new(ID, 5);
/// Heartbeats.
pub const IM_ONLINE: KeyType = KeyType::new(ID, 6);

/// The four characters in a keystore file's name. `asgn` is missing on purpose: approval assignment is not slashable
/// and needs the secret in the node.
static KEY_TYPES: [KeyTypeSpec; 7] = [
    key_type(BABE, "babe", "Block production with BABE.", &[SR25519]),
    key_type(AURA, "aura", "Block production with AURA.", &[SR25519, ED25519]),
    key_type(GRANDPA, "gran", "Finality.", &[ED25519]),
    key_type(BEEFY, "beef", "Bridge finality.", &[ECDSA]),
    key_type(PARA, "para", "Parachain validation.", &[SR25519]),
    key_type(AUTHORITY_DISCOVERY, "audi", "Authority discovery.", &[SR25519]),
    key_type(IM_ONLINE, "imon", "Heartbeats.", &[SR25519]),
];

/// Every key type.
pub const ALL_KEY_TYPES: [KeyType; 7] = [BABE, AURA, GRANDPA, BEEFY, PARA, AUTHORITY_DISCOVERY, IM_ONLINE];

const fn key_type(
    id: KeyType,
    name: &'static str,
    about: &'static str,
    schemes: &'static [Scheme],
) -> KeyTypeSpec {
    KeyTypeSpec { id, name, about, level: LEVEL, schemes }
}

/// Sealing a BABE block. Claimed.
pub const BABE_BLOCK: DutyClass = DutyClass::new(ID, 0);
/// Sealing an AURA block. Claimed.
pub const AURA_BLOCK: DutyClass = DutyClass::new(ID, 1);
/// A GRANDPA prevote, precommit or primary proposal. Claimed.
pub const GRANDPA_VOTE: DutyClass = DutyClass::new(ID, 2);
/// A BEEFY vote. Claimed.
pub const BEEFY_VOTE: DutyClass = DutyClass::new(ID, 3);
/// Taking a side on a parachain candidate. Claimed.
pub const PARA_SIDE: DutyClass = DutyClass::new(ID, 4);
/// A BABE VRF output. Free.
pub const BABE_VRF: DutyClass = DutyClass::new(ID, 5);
/// An availability bitfield. Free.
pub const BITFIELD: DutyClass = DutyClass::new(ID, 6);
/// A vote on parachain code. Free.
pub const PVF_CHECK: DutyClass = DutyClass::new(ID, 7);
/// An authority-discovery record. Free.
pub const AUTHORITY_RECORD: DutyClass = DutyClass::new(ID, 8);
/// An im-online heartbeat. Free.
pub const HEARTBEAT: DutyClass = DutyClass::new(ID, 9);
/// A proof that the key's holder agrees to be registered by an owner. Free.
pub const OWNERSHIP_PROOF: DutyClass = DutyClass::new(ID, 10);

static CLASSES: [ClassSpec; 11] = [
    ClassSpec {
        id: BABE_BLOCK,
        name: "babeBlock",
        about: "Sealing a BABE block: one header per slot.",
        level: LEVEL,
        key_types: &[BABE],
        claim: Some(ClaimSpec {
            parts: &[SLOT],
            prefix: "",
            mark: BABE_BLOCK,
            slots: Some(SlotRule { may_be_retimed: false }),
            rule: Rule::Window(WindowRule { fits: None, ..BLOCKS }),
            by_everyone: false,
            words: &Words("babeBlock"),
            refusals: None,
            alone: None,
        }),
    },
    ClassSpec {
        id: AURA_BLOCK,
        name: "auraBlock",
        about: "Sealing an AURA block: one header per slot; for collators one per (slot, number, parent).",
        level: LEVEL,
        key_types: &[AURA],
        claim: Some(ClaimSpec {
            parts: &[SLOT],
            prefix: "",
            mark: AURA_BLOCK,
            slots: Some(SlotRule { may_be_retimed: true }),
            rule: Rule::Window(WindowRule { fits: Some(shield::collation_fits), ..BLOCKS }),
            by_everyone: false,
            words: &Words("auraBlock"),
            refusals: None,
            alone: None,
        }),
    },
    ClassSpec {
        id: GRANDPA_VOTE,
        name: "grandpaVote",
        about: "A GRANDPA prevote, precommit or primary proposal: one per (set, round, stage).",
        level: LEVEL,
        key_types: &[GRANDPA],
        claim: Some(ClaimSpec {
            parts: &[SET, Part { name: "round", word: "round", max: u64::MAX }],
            prefix: "GRANDPA ",
            mark: GRANDPA_VOTE,
            slots: None,
            rule: Rule::Window(WindowRule {
                // Rounds with entries, across sets: the last rounds of the previous set stay until the present one has
                // come this far.
                keep: 256,
                per_step: None,
                jumps: &[
                    Jump { part: 0, limit: |of| limits(of).grandpa_sets, restarts: false },
                    // Rounds restart at 1 with every set.
                    Jump { part: 1, limit: |of| limits(of).grandpa_rounds, restarts: true },
                ],
                fits: None,
                shield: None,
            }),
            by_everyone: true,
            words: &Words("grandpaVote"),
            refusals: None,
            alone: None,
        }),
    },
    ClassSpec {
        id: BEEFY_VOTE,
        name: "beefyVote",
        about: "A BEEFY vote: one per (set, block).",
        level: LEVEL,
        key_types: &[BEEFY],
        claim: Some(ClaimSpec {
            parts: &[SET, Part { name: "block", word: "block", max: u64::MAX }],
            prefix: "BEEFY ",
            mark: BEEFY_VOTE,
            slots: None,
            rule: Rule::Window(WindowRule {
                keep: 256,
                per_step: None,
                jumps: &[
                    Jump { part: 0, limit: |of| limits(of).beefy_sets, restarts: false },
                    // Block numbers go on across sets.
                    Jump { part: 1, limit: |of| limits(of).beefy_blocks, restarts: false },
                ],
                fits: None,
                shield: Some(shield::ahead_of_grandpa),
            }),
            by_everyone: true,
            words: &Words("beefyVote"),
            refusals: Some(&OwnRefusals),
            alone: None,
        }),
    },
    ClassSpec {
        id: PARA_SIDE,
        name: "paraSide",
        about: "Taking a side on a parachain candidate: one per (session, candidate), and one backing statement.",
        level: LEVEL,
        key_types: &[PARA],
        claim: Some(ClaimSpec {
            parts: &[Part { name: "session", word: "session", max: u32::MAX as u64 }],
            prefix: "",
            mark: PARA_SIDE,
            slots: None,
            rule: Rule::Own(para::start),
            by_everyone: false,
            words: &Words("paraSide"),
            refusals: Some(&OwnRefusals),
            alone: None,
        }),
    },
    free(BABE_VRF, "babeVrf", "A BABE VRF output.", &[BABE]),
    free(BITFIELD, "bitfield", "An availability bitfield.", &[PARA]),
    free(PVF_CHECK, "pvfCheck", "A vote on parachain code.", &[PARA]),
    free(AUTHORITY_RECORD, "authorityRecord", "An authority-discovery record.", &[AUTHORITY_DISCOVERY]),
    free(HEARTBEAT, "heartbeat", "An im-online heartbeat.", &[IM_ONLINE]),
    free(
        OWNERSHIP_PROOF,
        "ownershipProof",
        "A proof that the key's holder agrees to be registered by an owner.",
        &ALL_KEY_TYPES,
    ),
];

const SLOT: Part = Part { name: "slot", word: "slot", max: u64::MAX };
const SET: Part = Part { name: "setId", word: "set", max: u64::MAX };

/// Blocks: no jump limit, as slots are bound to wall-clock time. Collators honestly seal several blocks in a slot: four
/// times what cumulus allows.
const BLOCKS: WindowRule = WindowRule { keep: 64, per_step: Some(64), jumps: &[], fits: None, shield: None };

const fn free(
    id: DutyClass,
    name: &'static str,
    about: &'static str,
    key_types: &'static [KeyType],
) -> ClassSpec {
    ClassSpec { id, name, about, level: LEVEL, key_types, claim: None }
}

pub(crate) fn limits(settings: &Settings) -> crate::Limits {
    ChainSettings::decode(settings).expect("settings were judged when the chain was added").limits
}
