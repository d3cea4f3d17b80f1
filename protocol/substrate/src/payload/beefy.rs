//! BEEFY commitments: SCALE `Commitment { payload: Vec<([u8; 2], Vec<u8>)>, block number LE, set id LE8 }`
//! (`sp_consensus_beefy::Commitment`). The keccak-256 of the bytes is what ECDSA signs.

use super::{
    Kind, PayloadError,
    grandpa::push_number,
    kind::{Fields, SigningForm, Spec},
    reader::Reader,
};
use crate::{BEEFY_VOTE, BlockNumber, ChainFormat, Duty, SetId};
use parity_scale_codec::{Compact, Encode};

/// Payload entries at most; today's networks have one, `mh`.
const MAX_ENTRIES: u64 = 16;
/// Bytes of one entry at most; an MMR root has 32.
const MAX_ENTRY_BYTES: u64 = 512;

/// A commitment of the BEEFY voters to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeefyCommitment {
    /// What is committed to: (id, data), sorted by id. `mh` is the root of the Merkle mountain range.
    pub payload: Vec<([u8; 2], Vec<u8>)>,
    /// The block.
    pub block: BlockNumber,
    /// The validator set.
    pub set_id: SetId,
}

impl BeefyCommitment {
    /// SCALE bytes.
    ///
    /// # Panics
    /// If the block does not fit the chain's block numbers.
    pub fn encode(&self, format: &ChainFormat) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        Compact(self.payload.len() as u64).encode_to(&mut out);
        for entry in &self.payload {
            entry.encode_to(&mut out);
        }
        push_number(&mut out, self.block, format.number_width);
        out.extend_from_slice(&self.set_id.0.to_le_bytes());
        out
    }
}

impl Fields for BeefyCommitment {
    const SPEC: Spec = Spec {
        name: "beefyCommitment",
        about: "SCALE `Commitment`",
        class: BEEFY_VOTE,
        magic: None,
        max_len: 16 * 1024,
        form: SigningForm::KeccakPrehashed,
    };

    fn read(bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        const KIND: Kind = Kind::BeefyCommitment;
        let mut reader = Reader::new(KIND, bytes);
        let count = reader.compact("payload entry count")?;
        if !(1..=MAX_ENTRIES).contains(&count) {
            return Err(reader.out_of_range("payload entry count", count, "1 to 16"));
        }
        let mut payload: Vec<([u8; 2], Vec<u8>)> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let id = reader.array("payload entry id")?;
            let len = reader.compact("payload entry length")?;
            if len > MAX_ENTRY_BYTES {
                return Err(reader.out_of_range("payload entry length", len, "0 to 512"));
            }
            // The reference encoder sorts the entries and lookups are by binary search.
            if payload.last().is_some_and(|(last, _)| *last >= id) {
                return Err(PayloadError::NotSorted { kind: KIND, field: "payload entries" });
            }
            payload.push((id, reader.bytes("payload entry", len)?.to_vec()));
        }
        let block = reader.number("block number", format.number_width)?;
        let set_id = SetId(reader.u64("set id")?);
        reader.end()?;
        Ok(Self { payload, block, set_id })
    }

    fn write(&self, format: &ChainFormat) -> Vec<u8> {
        self.encode(format)
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        Some(Duty::BeefyVote { set_id: self.set_id, block: self.block })
    }

    fn summary(&self) -> String {
        let Self { payload: _, block, set_id } = self;
        format!("BEEFY commitment to block {block} in set {set_id}")
    }
}
