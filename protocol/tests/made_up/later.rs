//! A family that clusters have from feature level 2 on: no program supports that so far.

use super::{COUNT, WINDOW, Words, claim};
use signonce_protocol::{
    Algorithm, Chain, ChainId, ClassSpec, Digest, Duty, DutyClass, Family, FamilyId, KeyType, KeyTypeSpec,
    KindSpec, Message, Payload, PayloadKind, Rule, Scheme, SchemeSpec, Settings,
};

/// Beside the other one.
pub const ID: FamilyId = FamilyId(201);

/// What no program supports so far.
pub const LEVEL: u32 = 2;

/// The family.
pub static FAMILY: Family = Family {
    id: ID,
    name: "later",
    level: LEVEL,
    schemes: &[SchemeSpec {
        id: PLAIN,
        name: "laterPlain",
        about: "Plain Ed25519.",
        algorithm: Algorithm::Ed25519,
        show: None,
    }],
    key_types: &[KeyTypeSpec {
        id: KEY,
        name: "late",
        about: "A key type of tests.",
        level: LEVEL,
        schemes: &[PLAIN],
    }],
    classes: &[
        ClassSpec {
            id: VOTE,
            name: "laterVote",
            about: "A class of tests.",
            level: LEVEL,
            key_types: &[KEY],
            claim: Some(claim(VOTE, &[COUNT], Rule::Window(WINDOW), &Words("laterVote"))),
        },
        ClassSpec {
            id: NOTE,
            name: "laterNote",
            about: "A class of tests.",
            level: LEVEL,
            key_types: &[KEY],
            claim: None,
        },
    ],
    kinds: &[KindSpec {
        id: FREE,
        name: "laterFree",
        about: "anything",
        class: NOTE,
        max_len: 64,
        digest: |bytes| Digest::of(bytes),
        decode: |bytes, _| Ok(Payload::new(FREE, None, Message::Bytes(bytes.into()), "a note")),
    }],
    methods: &[],
    settings: &super::Spec,
};

pub const PLAIN: Scheme = Scheme::new(ID, 0);
pub const KEY: KeyType = KeyType::new(ID, 0);
pub const VOTE: DutyClass = DutyClass::new(ID, 0);
pub const NOTE: DutyClass = DutyClass::new(ID, 1);
pub const FREE: PayloadKind = PayloadKind::new(ID, 0);

/// A chain of the family.
pub fn chain(genesis: ChainId, name: &str) -> Chain {
    Chain {
        family: &FAMILY,
        settings: Settings::new(6_000_u64.to_le_bytes().into()),
        ..super::chain(genesis, name)
    }
}

/// A vote.
pub fn vote(count: u64) -> Duty {
    super::duty(VOTE, &[count])
}
