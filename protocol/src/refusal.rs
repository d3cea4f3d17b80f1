//! Why a claim is refused.

use crate::{
    ClientId, Digest, Duty, DutyClass, ErrorCode, KeyId, KeyState, LogIndex, Position, RefusalDetails, Slot,
};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use std::fmt;

/// Why a claim is refused. It is replicated, so it never tells what to type: the signer adds that. [`Self::is_final`]
/// tells whether any node may give it from its own state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// Other bytes were signed for this duty.
    #[error(
        "{duty}: {signed} was signed already (log entry {at}, {client}), {asked} would equivocate; \
         look for a second process that uses this key"
    )]
    #[codec(index = 0)]
    Equivocation {
        /// The duty, as asked now.
        duty: Duty,
        /// The digest that was signed.
        signed: Digest,
        /// The digest asked for now.
        asked: Digest,
        /// The log entry that granted it.
        at: LogIndex,
        /// When, in Unix milliseconds of the node that served it.
        time_ms: u64,
        /// The client that asked first.
        client: ClientId,
    },
    /// The duty is older than what the ledger knows exactly.
    #[error("{asked} is below the watermark: nothing below {floor} may be signed any more")]
    #[codec(index = 1)]
    BelowWatermark {
        /// The position asked for.
        asked: Position,
        /// The lowest position that may still be signed.
        floor: Position,
    },
    /// The duty is implausibly far ahead.
    #[error(
        "{asked} is more than {limit} past {reference}, the farthest this key has come; if the chain is really \
         there, raise the key's watermark"
    )]
    #[codec(index = 2)]
    JumpTooFar {
        /// The position asked for.
        asked: Position,
        /// What the jump is measured from.
        reference: Position,
        /// The limit it breaks, in the unit that jumps: sets, rounds, blocks or sessions.
        limit: u64,
        /// The highest position that would be accepted.
        bound: Position,
    },
    /// The position holds as many entries as honest work can make.
    #[error(
        "{position} has {limit} entries already: no honest node signs more there, so look for what asks so much with \
         this key; positions further on are free"
    )]
    #[codec(index = 3)]
    Crowded {
        /// The position.
        position: Position,
        /// The most entries a position holds.
        limit: u32,
    },
    /// No such key on this cluster.
    #[error("no key {key} is registered: import it, or check which cluster holds it")]
    #[codec(index = 4)]
    UnknownKey {
        /// The key.
        key: KeyId,
    },
    /// The key is registered or disabled.
    #[error("key {key} is {state}: arm it with explicit floors before it signs")]
    #[codec(index = 5)]
    KeyNotArmed {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
    },
    /// The key was removed permanently.
    #[error("key {key} was removed and never signs again")]
    #[codec(index = 6)]
    KeyRemoved {
        /// The key.
        key: KeyId,
    },
    /// The key or its chain does no such duties, or the duty is not well-formed for its class.
    #[error("key {key} does no {class} work of this form on its chain")]
    #[codec(index = 7)]
    WrongDuty {
        /// The key.
        key: KeyId,
        /// The class asked for.
        class: DutyClass,
    },
    /// The chain's slots have another length from some moment on, and by that count the slot is over.
    #[error(
        "slot {asked} begins before something that this key has signed, or before the moment from which the chain's slots \
         last {slot_duration_ms} ms: as slots are counted from then on, nothing before slot {floor} may be signed any more"
    )]
    #[codec(index = 8)]
    PastCounting {
        /// The slot asked for.
        asked: Slot,
        /// The first slot that may be signed.
        floor: Slot,
        /// The slot length, in milliseconds, by which the number is counted.
        slot_duration_ms: u64,
    },
    /// A client has shown a signature that this state does not know: the cluster was rolled back.
    #[error(
        "key {key} is halted since log entry {at}: a client was given a signature for {duty} that this cluster has \
         forgotten, so it was rolled back to an older state; raise the key's watermark past everything that was \
         signed since, which lifts the halt"
    )]
    #[codec(index = 9)]
    KeyHalted {
        /// The key.
        key: KeyId,
        /// The duty that was forgotten.
        duty: Duty,
        /// The log entry that halted it.
        at: LogIndex,
    },
    /// The position of something that was signed without this cluster's ledger: two officers have ended the halt that
    /// it caused, and nothing is ever signed there.
    #[error(
        "{asked} is permanently barred for key {key}, since log entry {at}: something was signed there that this cluster \
         has no record of"
    )]
    #[codec(index = 10)]
    Barred {
        /// The key.
        key: KeyId,
        /// The position asked for.
        asked: Position,
        /// The log entry that barred it.
        at: LogIndex,
    },
    /// A refusal that only this class has.
    #[error("{0}")]
    #[codec(index = 11)]
    #[serde(untagged)]
    Rule(RuleRefusal),
}

/// A refusal that only one class has. Its family gives its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RuleRefusal {
    /// The class.
    pub class: DutyClass,
    /// The number of the refusal within that class.
    pub code: u8,
    /// The facts, in the family's own encoding.
    pub facts: Vec<u8>,
}

impl RuleRefusal {
    /// The meaning of the refusal; `None` if the family does not know it.
    pub fn tell(&self) -> Option<RefusalDetails> {
        self.class.claim()?.refusals?.tell(self.code, &self.facts)
    }
}

impl fmt::Display for RuleRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tell() {
            Some(told) => f.write_str(&told.text),
            None => write!(f, "{} refuses by its rule {}", self.class, self.code),
        }
    }
}

/// In JSON: the family's name for the reason with its facts, and the raw bytes beside them so that nothing is lost.
impl Serialize for RuleRefusal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let told = self.tell();
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("reason", told.as_ref().map_or("rule", |told| told.reason))?;
        map.serialize_entry("class", &self.class)?;
        map.serialize_entry("rule", &self.code)?;
        map.serialize_entry("ruleFacts", &crate::HexBytes(self.facts.clone()))?;
        for (name, value) in told.map(|told| told.facts).unwrap_or_default() {
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RuleRefusal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let shown: Map<String, Value> = Map::deserialize(d)?;
        let take = |name: &'static str| shown.get(name).cloned().ok_or_else(|| D::Error::missing_field(name));
        let class = DutyClass::deserialize(take("class")?).map_err(D::Error::custom)?;
        let code = u8::deserialize(take("rule")?).map_err(D::Error::custom)?;
        let facts = crate::HexBytes::deserialize(take("ruleFacts")?).map_err(D::Error::custom)?.0;
        Ok(Self { class, code, facts })
    }
}

impl Refusal {
    /// Whether no later entry of the log can change it: any node that has applied this far may give it, and a client
    /// need not retry. The others can change (the key is armed, the watermark raised, another key goes on).
    pub fn is_final(&self) -> bool {
        match self {
            Self::Equivocation { .. }
            | Self::BelowWatermark { .. }
            | Self::Crowded { .. }
            | Self::Barred { .. }
            | Self::KeyRemoved { .. }
            | Self::WrongDuty { .. } => true,
            // A moment that was set wrongly can be taken back.
            Self::PastCounting { .. }
            | Self::JumpTooFar { .. }
            | Self::UnknownKey { .. }
            | Self::KeyNotArmed { .. }
            | Self::KeyHalted { .. } => false,
            Self::Rule(refusal) => refusal.tell().is_some_and(|told| told.is_final),
        }
    }

    /// Whether something else was signed for the duty that this claim contradicts.
    pub fn contradicts(&self) -> bool {
        match self {
            Self::Equivocation { .. } => true,
            Self::Rule(refusal) => refusal.tell().is_some_and(|told| told.contradicts),
            Self::BelowWatermark { .. }
            | Self::Crowded { .. }
            | Self::Barred { .. }
            | Self::KeyRemoved { .. }
            | Self::WrongDuty { .. }
            | Self::PastCounting { .. }
            | Self::JumpTooFar { .. }
            | Self::UnknownKey { .. }
            | Self::KeyNotArmed { .. }
            | Self::KeyHalted { .. } => false,
        }
    }

    /// The code that a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Equivocation { .. } => ErrorCode::Equivocation,
            Self::BelowWatermark { .. } | Self::PastCounting { .. } | Self::Barred { .. } => {
                ErrorCode::BelowWatermark
            }
            Self::JumpTooFar { .. } => ErrorCode::JumpTooFar,
            Self::Crowded { .. } => ErrorCode::RateLimited,
            Self::UnknownKey { .. } => ErrorCode::UnknownKey,
            Self::KeyNotArmed { .. } | Self::KeyRemoved { .. } => ErrorCode::KeyNotArmed,
            Self::WrongDuty { .. } => ErrorCode::WrongKeyType,
            Self::KeyHalted { .. } => ErrorCode::KeyHalted,
            Self::Rule(refusal) => refusal.tell().map_or(ErrorCode::Internal, |told| told.code),
        }
    }
}
