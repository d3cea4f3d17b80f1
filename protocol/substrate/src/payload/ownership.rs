//! Proofs of possession: `POP_ ‖ owner` (`sp_core::proof_of_possession`), made when session keys are registered.
//! `author_rotateKeys` leaves the owner empty; `author_rotateKeysWithOwner` puts the stash account there.

use super::{
    Kind, PayloadError,
    kind::{Fields, SigningForm, Spec},
    reader::Reader,
};
use crate::{ChainFormat, Duty, OWNERSHIP_PROOF};

/// Agreement of a key's holder to be registered by an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipProof {
    /// The owner as the runtime encodes it; at most 64 bytes, often 32 or none.
    pub owner: Vec<u8>,
}

impl OwnershipProof {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        [b"POP_", self.owner.as_slice()].concat()
    }
}

impl Fields for OwnershipProof {
    const SPEC: Spec = Spec {
        name: "ownershipProof",
        about: "`POP_ ‖ owner`",
        class: OWNERSHIP_PROOF,
        magic: Some("POP_"),
        max_len: 4 + 64,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(Kind::OwnershipProof, bytes);
        reader.array::<4>("magic")?;
        // The length is bounded by the kind's limit; every owner is as good as any other.
        let owner = reader.bytes("owner", reader.left() as u64)?.to_vec();
        reader.end()?;
        Ok(Self { owner })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        None
    }

    fn summary(&self) -> String {
        match self.owner.as_slice() {
            [] => "ownership proof without owner".into(),
            owner => format!("ownership proof for 0x{}", hex::encode(owner)),
        }
    }
}
