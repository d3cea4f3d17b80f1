//! Cases: bytes that the reference crates encode, with everything they say about them.
//!
//! Duties are written as JSON by hand from the reference's values, so that nothing of ours takes part in the
//! expectation and the JSON of the RPC is checked on the way.

mod header;
mod other;
mod para;
mod vote;

pub use header::{Header32, Header64, aura_header, babe_header, babe_session_change};
pub use other::{heartbeat, ownership_proof};
pub use para::{approval, bitfield, dispute, pvf_check, statement};
pub use vote::{RefMessage, beefy_commitment, grandpa_vote};

use crate::random::Random;
use serde_json::Value;
use signonce_protocol::ToSign;
use signonce_substrate::{AuraMode, ChainFormat, NumberWidth, payload::Content};
use sp_runtime::traits::{BlakeTwo256, Hash as _};

/// What the reference hands to the keystore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    Message(Vec<u8>),
    Prehashed([u8; 32]),
}

impl Signed {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Message(bytes) => bytes,
            Self::Prehashed(hash) => hash,
        }
    }

    pub fn to_sign(&self) -> ToSign<'_> {
        match self {
            Self::Message(bytes) => ToSign::Message(bytes),
            Self::Prehashed(hash) => ToSign::Prehashed(*hash),
        }
    }
}

/// What the reference reads from bytes: their encoding again, and the duty where it can tell one.
pub struct Reread {
    pub bytes: Vec<u8>,
    pub duty: Option<Value>,
}

/// One payload made by the reference.
pub struct Case {
    pub format: ChainFormat,
    pub bytes: Vec<u8>,
    pub content: Content,
    pub duty: Value,
    pub signed: Signed,
    /// The reference's own decoder.
    pub reread: fn(&[u8], &ChainFormat) -> Option<Reread>,
}

impl Case {
    pub fn digest(&self) -> [u8; 32] {
        BlakeTwo256::hash(self.signed.bytes()).0
    }
}

/// How a kind of case is made from a seed.
pub type Maker = (&'static str, fn(&mut Random, ChainFormat) -> Case);

/// Every kind of payload the reference crates can make. (Authority records come from `sc-authority-discovery`, which
/// is a networking crate of hundreds of dependencies; their bytes are tested in `protocol`.)
pub const MAKERS: [Maker; 13] = [
    ("BABE header", babe_header),
    ("BABE session change", |random, format| babe_session_change(random, format, 40)),
    ("AURA header", aura_header),
    ("GRANDPA vote", grandpa_vote),
    ("BEEFY commitment", beefy_commitment),
    ("backing statement", statement),
    ("approval of one", |random, format| approval(random, format, 1)),
    ("approval of several", |random, format| {
        let count = 2 + random.below(15) as usize;
        approval(random, format, count)
    }),
    ("dispute", dispute),
    ("bitfield", bitfield),
    ("PVF check", pvf_check),
    ("heartbeat", heartbeat),
    ("ownership proof", ownership_proof),
];

/// All four formats a chain can have.
pub fn formats() -> impl Iterator<Item = ChainFormat> {
    [NumberWidth::U32, NumberWidth::U64].into_iter().flat_map(|number_width| {
        [AuraMode::Slot, AuraMode::Collator].map(|aura_mode| ChainFormat { number_width, aura_mode })
    })
}

/// The largest block number of a width.
pub fn max_number(format: &ChainFormat) -> u64 {
    match format.number_width {
        NumberWidth::U32 => u32::MAX.into(),
        NumberWidth::U64 => u64::MAX,
    }
}

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", ::hex::encode(bytes))
}
