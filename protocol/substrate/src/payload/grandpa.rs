//! GRANDPA votes: `stage ‖ target hash 32 ‖ target number LE ‖ round LE8 ‖ set id LE8` (53 bytes; 57 where block
//! numbers have 64 bits), as `sp_consensus_grandpa::localized_payload` makes them. No genesis hash: a vote is not
//! bound to its chain, which is why a key is.

use super::{
    Kind, PayloadError,
    kind::{Fields, SigningForm, Spec},
    reader::Reader,
};
use crate::{BlockNumber, ChainFormat, Duty, GRANDPA_VOTE, GrandpaStage, NumberWidth, Round, SetId};
use signonce_protocol::Hash;

/// A vote of a GRANDPA round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrandpaVote {
    /// Which vote of the round.
    pub stage: GrandpaStage,
    /// The block voted for.
    pub target_hash: Hash,
    /// Its number.
    pub target: BlockNumber,
    /// The round within the set; the first is 1 (`finality_grandpa`: round 0 is the completed base of a set).
    pub round: Round,
    /// The authority set.
    pub set_id: SetId,
}

impl GrandpaVote {
    /// The bytes that are signed.
    ///
    /// # Panics
    /// If the target does not fit the chain's block numbers.
    pub fn encode(&self, format: &ChainFormat) -> Vec<u8> {
        let mut out = Vec::with_capacity(57);
        out.push(match self.stage {
            GrandpaStage::Prevote => 0,
            GrandpaStage::Precommit => 1,
            GrandpaStage::PrimaryPropose => 2,
        });
        out.extend_from_slice(&self.target_hash.0);
        push_number(&mut out, self.target, format.number_width);
        out.extend_from_slice(&self.round.0.to_le_bytes());
        out.extend_from_slice(&self.set_id.0.to_le_bytes());
        out
    }
}

impl Fields for GrandpaVote {
    const SPEC: Spec = Spec {
        name: "grandpaVote",
        about: "`stage ‖ hash ‖ number ‖ round ‖ set id`",
        class: GRANDPA_VOTE,
        magic: None,
        max_len: 57,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(Kind::GrandpaVote, bytes);
        let stage = match reader.u8("stage")? {
            0 => GrandpaStage::Prevote,
            1 => GrandpaStage::Precommit,
            2 => GrandpaStage::PrimaryPropose,
            other => return Err(reader.out_of_range("stage", other.into(), "0, 1 or 2")),
        };
        let target_hash = reader.hash("target hash")?;
        let target = reader.number("target number", format.number_width)?;
        let round = reader.u64("round")?;
        if round == 0 {
            return Err(reader.out_of_range("round", round, "1 and up"));
        }
        let set_id = SetId(reader.u64("set id")?);
        reader.end()?;
        Ok(Self { stage, target_hash, target, round: Round(round), set_id })
    }

    fn write(&self, format: &ChainFormat) -> Vec<u8> {
        self.encode(format)
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        let Self { stage, target_hash: _, target, round, set_id } = *self;
        Some(Duty::GrandpaVote { set_id, round, stage, target })
    }

    fn summary(&self) -> String {
        let Self { stage, target_hash, target, round, set_id } = self;
        format!("GRANDPA {stage:?} for block {target} ({target_hash}) in set {set_id} round {round}")
    }
}

/// Appends a block number of fixed width.
pub(super) fn push_number(out: &mut Vec<u8>, number: BlockNumber, width: NumberWidth) {
    match width {
        NumberWidth::U32 => {
            assert!(number.0 <= u32::MAX.into(), "block number {number} on a chain with 32-bit numbers");
            out.extend_from_slice(&number.0.to_le_bytes()[..4]);
        }
        NumberWidth::U64 => out.extend_from_slice(&number.0.to_le_bytes()),
    }
}
