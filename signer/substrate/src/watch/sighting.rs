//! Finds our keys in what a chain shows: pure functions from headers and justifications to the signatures of registered
//! keys in them. Each signature is verified here, so that no endpoint can make one up.

use parity_scale_codec::{Compact, Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_keys::verify;
use signonce_protocol::{Digest, Hash, HexBytes, KeyId, Scheme, Slot, blake2_256};
use signonce_substrate::{
    AURA, BABE, BEEFY, BlockNumber, ChainFormat, Duty, GRANDPA, GrandpaStage, Kind, NumberWidth, Payload,
    Round, SetId, payload::GrandpaVote,
};

/// A key to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedKey {
    /// Type and public key.
    pub id: KeyId,
    /// Its scheme.
    pub scheme: Scheme,
}

/// A signature of one of our keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// The key.
    pub key: KeyId,
    /// What it signed.
    pub duty: Duty,
    /// The digest of the signed bytes, as the audit has it.
    pub digest: Digest,
    /// Where it was seen.
    pub seen_in: String,
}

/// A header in the JSON form that nodes give.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JsonHeader {
    /// The parent's hash.
    pub parent_hash: Hash,
    number: String,
    state_root: Hash,
    extrinsics_root: Hash,
    digest: JsonDigest,
}

#[derive(Clone, Debug, Deserialize)]
struct JsonDigest {
    /// The digest items, each SCALE-encoded.
    logs: Vec<HexBytes>,
}

impl JsonHeader {
    /// The block's number.
    pub fn number(&self) -> Option<u64> {
        u64::from_str_radix(self.number.trim_start_matches("0x"), 16).ok()
    }

    /// The slot that its author claimed, from the pre-runtime digest of BABE or AURA.
    pub fn slot(&self) -> Option<Slot> {
        self.digest.logs.iter().find_map(|log| {
            let (index, engine, data) = <(u8, [u8; 4], Vec<u8>)>::decode(&mut &log.0[..]).ok()?;
            let at = match (index, &engine) {
                // The kind of claim and the author's index come before it.
                (6, b"BABE") => data.get(5..13)?,
                (6, b"aura") if data.len() == 8 => &data,
                _ => return None,
            };
            Some(Slot(u64::from_le_bytes(at.try_into().ok()?)))
        })
    }

    fn encode(&self, logs: &[HexBytes]) -> Option<Vec<u8>> {
        let mut bytes = self.parent_hash.encode();
        Compact(self.number()?).encode_to(&mut bytes);
        bytes.extend_from_slice(&self.state_root.0);
        bytes.extend_from_slice(&self.extrinsics_root.0);
        Compact(logs.len() as u64).encode_to(&mut bytes);
        logs.iter().for_each(|log| bytes.extend_from_slice(&log.0));
        Some(bytes)
    }

    /// The block's hash.
    pub fn hash(&self) -> Option<Hash> {
        Some(Hash(blake2_256(&self.encode(&self.digest.logs)?)))
    }

    /// The signature in the seal, if it is by one of `keys`.
    pub fn sighting(&self, keys: &[WatchedKey], format: &ChainFormat) -> Option<Sighting> {
        // The last digest item is the seal: index 5, engine, signature.
        let (last, others) = self.digest.logs.split_last()?;
        let (index, engine, seal) = <(u8, [u8; 4], Vec<u8>)>::decode(&mut &last.0[..]).ok()?;
        let (key_type, kind) = match (index, &engine) {
            (5, b"BABE") => (BABE, Kind::BabeHeader),
            (5, b"aura") => (AURA, Kind::AuraHeader),
            _ => return None,
        };
        let mut of_type = keys.iter().filter(|key| key.id.key_type == key_type).peekable();
        of_type.peek()?;
        let payload = Payload::decode(kind, &self.encode(others)?, format).ok()?;
        let seen_in = format!("block {} ({})", self.number()?, self.hash()?);
        signed_by(of_type, &payload, &seal, seen_in)
    }
}

fn signed_by<'a>(
    mut keys: impl Iterator<Item = &'a WatchedKey>,
    payload: &Payload,
    signature: &[u8],
    seen_in: String,
) -> Option<Sighting> {
    let key = keys.find(|key| verify(key.scheme, &key.id.public, payload.to_sign(), signature))?;
    let duty = payload.duty()?.clone();
    Some(Sighting { key: key.id, duty, digest: payload.digest(), seen_in })
}

/// A precommit of one of our keys in a justification, which does not name the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precommit {
    key: WatchedKey,
    /// The block voted for.
    pub target: (Hash, BlockNumber),
    round: Round,
    signature: [u8; 64],
}

/// The precommits of our keys in a GRANDPA justification: `round, commit { target, precommits }, ancestries`. `None` if
/// it cannot be read.
pub fn precommits(mut bytes: &[u8], keys: &[WatchedKey], width: NumberWidth) -> Option<Vec<Precommit>> {
    let input = &mut bytes;
    let number = |input: &mut &[u8]| match width {
        NumberWidth::U32 => u32::decode(input).ok().map(u64::from),
        NumberWidth::U64 => u64::decode(input).ok(),
    };
    let round = Round(u64::decode(input).ok()?);
    let _target = (Hash::decode(input).ok()?, number(input)?);
    let count = Compact::<u32>::decode(input).ok()?.0;
    let mut ours = Vec::new();
    for _ in 0..count {
        let target = (Hash::decode(input).ok()?, BlockNumber(number(input)?));
        let (signature, voter) = <([u8; 64], [u8; 32])>::decode(input).ok()?;
        let is_it = |key: &&WatchedKey| key.id.key_type == GRANDPA && key.id.public.as_bytes() == &voter[..];
        ours.extend(keys.iter().find(is_it).map(|key| Precommit { key: *key, target, round, signature }));
    }
    Some(ours)
}

impl Precommit {
    /// The sighting, if the signature is valid for one of `sets`.
    pub fn sighting(
        &self,
        sets: impl IntoIterator<Item = SetId>,
        format: &ChainFormat,
    ) -> Option<(SetId, Sighting)> {
        let Self { key, target: (target_hash, target), round, signature } = self;
        let (target_hash, target, round) = (*target_hash, *target, *round);
        sets.into_iter().find_map(|set_id| {
            let vote = GrandpaVote { stage: GrandpaStage::Precommit, target_hash, target, round, set_id };
            let payload = Payload::decode(Kind::GrandpaVote, &vote.encode(format), format).ok()?;
            let seen_in = format!("a GRANDPA justification of block {target}");
            let found = signed_by(std::iter::once(key), &payload, signature, seen_in)?;
            Some((set_id, found))
        })
    }
}

/// The votes of our keys in a BEEFY finality proof: `01, commitment, bit field, set length, signatures`. `None` if it
/// cannot be read.
pub fn beefy_votes(bytes: &[u8], keys: &[WatchedKey], format: &ChainFormat) -> Option<Vec<Sighting>> {
    let (version, body) = bytes.split_first()?;
    if *version != 1 {
        return None;
    }
    let mut rest = body;
    Vec::<([u8; 2], Vec<u8>)>::decode(&mut rest).ok()?;
    let number_bytes = match format.number_width {
        NumberWidth::U32 => 4,
        NumberWidth::U64 => 8,
    };
    rest = rest.get(number_bytes + 8..)?;
    let commitment = &body[..body.len() - rest.len()];
    let (_from, _set_len, signatures) = <(Vec<u8>, u32, Vec<[u8; 65]>)>::decode(&mut rest).ok()?;
    let payload = Payload::decode(Kind::BeefyCommitment, commitment, format).ok()?;
    let of_type = || keys.iter().filter(|key| key.id.key_type == BEEFY);
    let Some(Duty::BeefyVote { block, .. }) = payload.duty() else { return None };
    let seen_in = format!("a BEEFY justification of block {block}");
    let ours = signatures.iter().filter_map(|one| signed_by(of_type(), &payload, one, seen_in.clone()));
    Some(ours.collect())
}

#[cfg(test)]
mod tests;
