//! The BABE VRF: a pre-output and a proof for (slot, epoch, randomness), equal on every node.
//!
//! Transcript and proof are those of `sp_core::sr25519` (`vrf_sign` over `make_vrf_transcript` of
//! `sp-consensus-babe`): any Substrate node verifies what is made here. The pre-output is unique by construction;
//! the proof is made without randomness, like the signatures of [`crate::scheme`].

use crate::{
    scheme::{SignError, sr25519},
    secret::SecretKey,
};
use merlin::Transcript;
use schnorrkel::vrf::{VRFPreOut, VRFProof};
use signonce_protocol::{Algorithm, Hash, PublicKey, Slot};
use signonce_substrate::{EpochIndex, VRF_PRE_OUTPUT_LEN, VRF_PROOF_LEN, VRF_TRANSCRIPT_LABEL, VrfRequest};
use std::fmt;

/// Substrate keeps the order of commitments that Kusama started with.
const KUSAMA_ORDER: bool = true;

/// What a BABE pre-digest carries to show that its author won the slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VrfSignature {
    /// The compressed point the chain takes its randomness from.
    pub pre_output: [u8; VRF_PRE_OUTPUT_LEN],
    /// The proof that the point belongs to the key and the input.
    pub proof: [u8; VRF_PROOF_LEN],
}

impl fmt::Debug for VrfSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VrfSignature")
            .field("pre_output", &format_args!("0x{}", hex::encode(self.pre_output)))
            .field("proof", &format_args!("0x{}", hex::encode(self.proof)))
            .finish()
    }
}

impl SecretKey {
    /// The BABE VRF of this key for a slot, verified before it is returned. Only sr25519 keys have one.
    pub fn babe_vrf(
        &self,
        slot: Slot,
        epoch: EpochIndex,
        randomness: &[u8; 32],
    ) -> Result<VrfSignature, SignError> {
        if self.scheme().algorithm() != Algorithm::Sr25519 {
            return Err(SignError::NoVrf(self.scheme()));
        }
        let public = self.public();
        let pair = self.with_material(|material| sr25519::pair(material, public.as_bytes()));
        let pair = pair.ok_or(self.damaged())?;
        let in_out = pair.vrf_create_hash(transcript(slot, epoch, randomness));
        let (proof, _) = pair.dleq_proove(sr25519::attach(proof_transcript()), &in_out, KUSAMA_ORDER);
        let signature = VrfSignature { pre_output: in_out.to_preout().to_bytes(), proof: proof.to_bytes() };
        if verify_babe_vrf(&public, slot, epoch, randomness, &signature) {
            Ok(signature)
        } else {
            Err(self.self_check())
        }
    }
}

/// Whether `signature` is `public`'s BABE VRF for the slot, as the chain checks it.
pub fn verify_babe_vrf(
    public: &PublicKey,
    slot: Slot,
    epoch: EpochIndex,
    randomness: &[u8; 32],
    signature: &VrfSignature,
) -> bool {
    let (Ok(public), Ok(pre_output), Ok(proof)) = (
        schnorrkel::PublicKey::from_bytes(public.as_bytes()),
        VRFPreOut::from_bytes(&signature.pre_output),
        VRFProof::from_bytes(&signature.proof),
    ) else {
        return false;
    };
    pre_output
        .attach_input_hash(&public, transcript(slot, epoch, randomness))
        .and_then(|in_out| public.dleq_verify(proof_transcript(), &in_out, &proof, KUSAMA_ORDER))
        .is_ok()
}

/// The VRF input of BABE (`sp-consensus-babe`, `make_vrf_transcript`).
fn transcript(slot: Slot, epoch: EpochIndex, randomness: &[u8; 32]) -> Transcript {
    let request = VrfRequest { slot, epoch_index: epoch, randomness: Hash(*randomness) };
    let mut transcript = Transcript::new(VRF_TRANSCRIPT_LABEL);
    for (label, message) in request.transcript() {
        transcript.append_message(label, message.as_ref());
    }
    transcript
}

/// The transcript of the proof where the caller adds nothing of its own (`sp_core::sr25519::vrf`).
fn proof_transcript() -> Transcript {
    Transcript::new(b"VRF")
}
