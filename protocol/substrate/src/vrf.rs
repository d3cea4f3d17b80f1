//! BABE's VRF: the input for claiming a slot, the transcript that it goes through, and how clients ask for it. Free:
//! showing a VRF output twice harms nobody, and the same input gives the same output.

use crate::EpochIndex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use signonce_protocol::{
    Hash, HexArray, PublicKey, Slot,
    rpc::{ChainRef, Question},
};

/// The label of the transcript (`sp_consensus_babe::make_vrf_transcript`).
pub const VRF_TRANSCRIPT_LABEL: &[u8] = b"BABE";
/// First message: the slot, 8 bytes little-endian.
pub const VRF_SLOT_LABEL: &[u8] = b"slot number";
/// Second message: the epoch index, 8 bytes little-endian.
pub const VRF_EPOCH_LABEL: &[u8] = b"current epoch";
/// Third message: the epoch's 32 random bytes.
pub const VRF_RANDOMNESS_LABEL: &[u8] = b"chain randomness";
/// Bytes of a VRF pre-output.
pub const VRF_PRE_OUTPUT_LEN: usize = 32;
/// Bytes of a VRF proof.
pub const VRF_PROOF_LEN: usize = 64;

/// What a BABE VRF is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VrfRequest {
    /// The slot to claim.
    pub slot: Slot,
    /// The epoch the slot is in.
    pub epoch_index: EpochIndex,
    /// The randomness of that epoch.
    pub randomness: Hash,
}

impl VrfRequest {
    /// The messages of the transcript in order: append each `(label, bytes)` after [`VRF_TRANSCRIPT_LABEL`].
    pub fn transcript(&self) -> [(&'static [u8], VrfMessage); 3] {
        [
            (VRF_SLOT_LABEL, VrfMessage::Number(self.slot.0.to_le_bytes())),
            (VRF_EPOCH_LABEL, VrfMessage::Number(self.epoch_index.0.to_le_bytes())),
            (VRF_RANDOMNESS_LABEL, VrfMessage::Randomness(self.randomness.0)),
        ]
    }
}

/// One message of the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrfMessage {
    /// A number, little-endian.
    Number([u8; 8]),
    /// Randomness.
    Randomness([u8; 32]),
}

impl AsRef<[u8]> for VrfMessage {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Number(bytes) => bytes,
            Self::Randomness(bytes) => bytes,
        }
    }
}

/// Parameters of `signer_vrf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VrfParams {
    /// The chain of the slot; must be the key's.
    pub chain: ChainRef,
    /// The BABE key.
    pub key: PublicKey,
    /// The slot to claim.
    pub slot: Slot,
    /// The epoch the slot is in.
    pub epoch_index: EpochIndex,
    /// The randomness of that epoch.
    pub randomness: Hash,
}

impl VrfParams {
    /// What the VRF is evaluated on.
    pub const fn request(&self) -> VrfRequest {
        VrfRequest { slot: self.slot, epoch_index: self.epoch_index, randomness: self.randomness }
    }
}

impl Question for VrfParams {
    const METHOD: &'static str = "signer_vrf";
    type Answer = VrfReply;
}

/// Answer of `signer_vrf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VrfReply {
    /// The VRF pre-output.
    pub pre_output: HexArray<VRF_PRE_OUTPUT_LEN>,
    /// The proof.
    pub proof: HexArray<VRF_PROOF_LEN>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transcript_has_the_messages_of_the_reference_in_order() {
        let request =
            VrfRequest { slot: Slot(0x0102), epoch_index: EpochIndex(3), randomness: Hash([9; 32]) };
        let messages =
            request.transcript().map(|(label, message)| (label.to_vec(), message.as_ref().to_vec()));
        assert_eq!(
            messages,
            [
                (b"slot number".to_vec(), vec![2, 1, 0, 0, 0, 0, 0, 0]),
                (b"current epoch".to_vec(), vec![3, 0, 0, 0, 0, 0, 0, 0]),
                (b"chain randomness".to_vec(), vec![9; 32]),
            ]
        );
    }
}
