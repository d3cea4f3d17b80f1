//! Unsealed block headers: what BABE and AURA authors sign the hash of.
//!
//! Layout (`sp_runtime::generic::Header`): `parent 32 ‖ compact number ‖ state root 32 ‖ extrinsics root 32 ‖ digest`,
//! the digest a SCALE vector of items. The author signs the blake2b-256 of all that, *before* the seal is appended.

use super::{
    Kind, PayloadError,
    kind::{Fields, SigningForm, Spec},
    reader::Reader,
};
use crate::{AURA_BLOCK, AuraMode, BABE_BLOCK, BlockNumber, ChainFormat, Duty, NumberWidth};
use parity_scale_codec::{Compact, Encode};
use signonce_protocol::{Hash, Slot, blake2_256};

/// The engine id of BABE in digests.
pub const BABE_ENGINE: [u8; 4] = *b"BABE";
/// The engine id of AURA in digests.
pub const AURA_ENGINE: [u8; 4] = *b"aura";
/// Digest items read from one header at most; honest ones have fewer than ten.
const MAX_DIGEST_ITEMS: u64 = 1024;
/// Bytes of a header at most: a session change on Polkadot makes headers of about 70 kB.
const MAX_LEN: usize = 1024 * 1024;

/// One item of a header's digest (`sp_runtime::generic::DigestItem`; its encoded indexes are not in order).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestItem {
    /// Index 0: anything.
    Other(Vec<u8>),
    /// Index 4: from the runtime to an engine.
    Consensus([u8; 4], Vec<u8>),
    /// Index 5: the author's signature. Never part of what is signed.
    Seal([u8; 4], Vec<u8>),
    /// Index 6: from an engine to the runtime; carries the slot.
    PreRuntime([u8; 4], Vec<u8>),
    /// Index 8: the runtime was upgraded.
    RuntimeEnvironmentUpdated,
}

impl DigestItem {
    fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Other(data) => {
                out.push(0);
                data.encode_to(out);
            }
            Self::Consensus(engine, data) => (4u8, engine, data).encode_to(out),
            Self::Seal(engine, data) => (5u8, engine, data).encode_to(out),
            Self::PreRuntime(engine, data) => (6u8, engine, data).encode_to(out),
            Self::RuntimeEnvironmentUpdated => out.push(8),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, PayloadError> {
        let index = reader.u8("digest item index")?;
        let engine = match index {
            4..=6 => reader.array("digest engine")?,
            0 => [0; 4],
            8 => return Ok(Self::RuntimeEnvironmentUpdated),
            _ => return Err(PayloadError::UnknownDigestItem { kind: reader.kind(), index }),
        };
        let len = reader.compact("digest data length")?;
        let data = reader.bytes("digest data", len)?.to_vec();
        Ok(match index {
            0 => Self::Other(data),
            4 => Self::Consensus(engine, data),
            5 => Self::Seal(engine, data),
            _ => Self::PreRuntime(engine, data),
        })
    }
}

/// A block header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The parent block's hash.
    pub parent: Hash,
    /// The block's number.
    pub number: BlockNumber,
    /// The root of the state after the block.
    pub state_root: Hash,
    /// The root of the block's extrinsics.
    pub extrinsics_root: Hash,
    /// The digest, in order.
    pub digest: Vec<DigestItem>,
}

impl Header {
    /// SCALE bytes. Numbers are compact, so both widths give the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&self.parent.0);
        Compact(self.number.0).encode_to(&mut out);
        out.extend_from_slice(&self.state_root.0);
        out.extend_from_slice(&self.extrinsics_root.0);
        Compact(self.digest.len() as u64).encode_to(&mut out);
        for item in &self.digest {
            item.encode_to(&mut out);
        }
        out
    }

    /// The blake2b-256 hash of the bytes: what an author signs if there is no seal yet.
    pub fn hash(&self) -> Hash {
        Hash(blake2_256(&self.encode()))
    }

    fn read(kind: Kind, bytes: &[u8], width: NumberWidth) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(kind, bytes);
        let parent = reader.hash("parent hash")?;
        let number = reader.compact("block number")?;
        if width == NumberWidth::U32 && number > u32::MAX.into() {
            return Err(reader.out_of_range("block number", number, "32 bits on this chain"));
        }
        let state_root = reader.hash("state root")?;
        let extrinsics_root = reader.hash("extrinsics root")?;
        let items = reader.compact("digest item count")?;
        if items > MAX_DIGEST_ITEMS {
            return Err(reader.out_of_range("digest item count", items, "0 to 1024"));
        }
        let digest = (0..items).map(|_| DigestItem::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { parent, number: BlockNumber(number), state_root, extrinsics_root, digest })
    }

    /// The data of the only pre-runtime digest of `engine`, in a header without any seal.
    fn pre_runtime(&self, kind: Kind, engine: [u8; 4]) -> Result<&[u8], PayloadError> {
        let mut found = None;
        let mut count = 0;
        for item in &self.digest {
            match item {
                DigestItem::Seal(engine, _) => {
                    return Err(PayloadError::Sealed { kind, engine: engine.escape_ascii().to_string() });
                }
                DigestItem::PreRuntime(id, data) if *id == engine => {
                    count += 1;
                    found = Some(data.as_slice());
                }
                DigestItem::PreRuntime(..)
                | DigestItem::Other(_)
                | DigestItem::Consensus(..)
                | DigestItem::RuntimeEnvironmentUpdated => {}
            }
        }
        match (count, found) {
            (1, Some(data)) => Ok(data),
            (count, _) => Err(PayloadError::PreRuntimeDigests { kind, found: count }),
        }
    }
}

/// How a BABE author claims its slot; the first byte of the pre-digest (`sp_consensus_babe::digests::PreDigest`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabeClaim {
    /// 1: the VRF output was below the threshold.
    Primary,
    /// 2: by rota, without a VRF.
    SecondaryPlain,
    /// 3: by rota, with a VRF.
    SecondaryVrf,
}

/// An unsealed BABE header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BabeHeader {
    /// The header.
    pub header: Header,
    /// The slot in its pre-digest.
    pub slot: Slot,
    /// The author's index in the epoch.
    pub authority_index: u32,
    /// How the slot is claimed.
    pub claim: BabeClaim,
}

impl Fields for BabeHeader {
    const SPEC: Spec = Spec {
        name: "babeHeader",
        about: "SCALE `Header` without a seal, with a BABE pre-runtime digest",
        class: BABE_BLOCK,
        magic: None,
        max_len: MAX_LEN,
        form: SigningForm::Blake2,
    };

    fn read(bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        const KIND: Kind = Kind::BabeHeader;
        let header = Header::read(KIND, bytes, format.number_width)?;
        let data = header.pre_runtime(KIND, BABE_ENGINE)?;
        let mut reader = Reader::new(KIND, data);
        let (claim, expected) = match reader.u8("BABE pre-digest variant")? {
            // variant ‖ authority index u32 ‖ slot u64 [‖ VRF pre-output 32 ‖ proof 64]
            1 => (BabeClaim::Primary, 1 + 4 + 8 + 96),
            2 => (BabeClaim::SecondaryPlain, 1 + 4 + 8),
            3 => (BabeClaim::SecondaryVrf, 1 + 4 + 8 + 96),
            other => return Err(reader.out_of_range("BABE pre-digest variant", other.into(), "1, 2 or 3")),
        };
        if data.len() != expected {
            return Err(PayloadError::PreDigestLength { kind: KIND, got: data.len(), expected });
        }
        let authority_index = reader.u32("authority index")?;
        let slot = Slot(reader.u64("slot")?);
        Ok(Self { header, slot, authority_index, claim })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.header.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        Some(Duty::BabeBlock { slot: self.slot })
    }

    fn summary(&self) -> String {
        let Self { header, slot, authority_index, claim } = self;
        format!(
            "BABE block {} at slot {slot} on {} by authority {authority_index} ({claim:?})",
            header.number, header.parent
        )
    }
}

/// An unsealed AURA header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuraHeader {
    /// The header.
    pub header: Header,
    /// The slot in its pre-digest.
    pub slot: Slot,
}

impl Fields for AuraHeader {
    const SPEC: Spec = Spec {
        name: "auraHeader",
        about: "SCALE `Header` without a seal, with an AURA pre-runtime digest",
        class: AURA_BLOCK,
        magic: None,
        max_len: MAX_LEN,
        form: SigningForm::Blake2,
    };

    fn read(bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        const KIND: Kind = Kind::AuraHeader;
        let header = Header::read(KIND, bytes, format.number_width)?;
        let data = header.pre_runtime(KIND, AURA_ENGINE)?;
        let slot: [u8; 8] = data.try_into().map_err(|_| PayloadError::PreDigestLength {
            kind: KIND,
            got: data.len(),
            expected: 8,
        })?;
        Ok(Self { slot: Slot(u64::from_le_bytes(slot)), header })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.header.encode()
    }

    fn duty(&self, format: &ChainFormat) -> Option<Duty> {
        let collation = match format.aura_mode {
            AuraMode::Slot => None,
            AuraMode::Collator => Some((self.header.number, self.header.parent)),
        };
        Some(Duty::AuraBlock { slot: self.slot, collation })
    }

    fn summary(&self) -> String {
        let Self { header, slot } = self;
        format!("AURA block {} at slot {slot} on {}", header.number, header.parent)
    }
}
