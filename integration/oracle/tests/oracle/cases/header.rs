//! Headers: `sp_runtime::generic::Header` with the digests of BABE and AURA, and of a change of sessions.

use super::{Case, Reread, Signed, hex, max_number};
use crate::random::Random;
use parity_scale_codec::{DecodeAll as _, Encode as _};
use serde_json::{Value, json};
use signonce_protocol::{Hash, Slot};
use signonce_substrate::{
    AuraMode, BlockNumber, ChainFormat, NumberWidth,
    payload::{AuraHeader, BabeClaim, BabeHeader, Content, DigestItem as OurItem, Header as OurHeader},
};
use sp_consensus_aura::digests::CompatibleDigestItem as AuraItem;
use sp_consensus_babe::{
    AllowedSlots, BABE_ENGINE_ID, ConsensusLog as BabeLog,
    digests::{
        CompatibleDigestItem as BabeItem, NextConfigDescriptor, NextEpochDescriptor, PreDigest,
        PrimaryPreDigest, SecondaryPlainPreDigest, SecondaryVRFPreDigest,
    },
};
use sp_consensus_beefy::{BEEFY_ENGINE_ID, ConsensusLog as BeefyLog, ValidatorSet, ecdsa_crypto};
use sp_consensus_grandpa::{ConsensusLog as GrandpaLog, GRANDPA_ENGINE_ID, ScheduledChange};
use sp_core::{
    ecdsa, ed25519,
    sr25519::{self, vrf::VrfSignature},
};
use sp_runtime::{
    Digest, DigestItem, generic,
    traits::{BlakeTwo256, Header as _},
};

/// The AURA signature type whose digest helpers are used; the pre-digest is the same for both schemes.
type AuraSignature = sp_consensus_aura::sr25519::AuthoritySignature;

pub type Header32 = generic::Header<u32, BlakeTwo256>;
pub type Header64 = generic::Header<u64, BlakeTwo256>;

/// Any header with a BABE pre-digest: primary, secondary plain or secondary with VRF.
pub fn babe_header(random: &mut Random, format: ChainFormat) -> Case {
    let (item, read) = babe_pre_digest(random);
    let items = with_noise(random, item);
    finish_babe(random, format, items, read)
}

/// The first header of an epoch: the next authorities of BABE, GRANDPA and BEEFY in one digest.
pub fn babe_session_change(random: &mut Random, format: ChainFormat, authorities: usize) -> Case {
    let (item, read) = babe_pre_digest(random);
    let babe = (0..authorities).map(|_| (sr25519::Public::from_raw(random.block()).into(), 1)).collect();
    let gran = (0..authorities).map(|_| (ed25519::Public::from_raw(random.block()).into(), 1)).collect();
    let beef = (0..authorities).map(|_| {
        let mut raw = [2; 33];
        raw[1..].copy_from_slice(&random.block());
        ecdsa_crypto::AuthorityId::from(ecdsa::Public::from_raw(raw))
    });
    let set = ValidatorSet::new(beef.collect::<Vec<_>>(), 7).expect("a set of some");
    let next = NextEpochDescriptor { authorities: babe, randomness: random.block() };
    let config =
        NextConfigDescriptor::V1 { c: (1, 4), allowed_slots: AllowedSlots::PrimaryAndSecondaryVRFSlots };
    let change = GrandpaLog::ScheduledChange(ScheduledChange { next_authorities: gran, delay: 0u32 });
    let root = BeefyLog::<ecdsa_crypto::AuthorityId>::MmrRoot(random.hash());
    let items = vec![
        item,
        DigestItem::Consensus(BABE_ENGINE_ID, BabeLog::NextEpochData(next).encode()),
        DigestItem::Consensus(BABE_ENGINE_ID, BabeLog::NextConfigData(config).encode()),
        DigestItem::Consensus(GRANDPA_ENGINE_ID, change.encode()),
        DigestItem::Consensus(BEEFY_ENGINE_ID, BeefyLog::AuthoritiesChange(set).encode()),
        DigestItem::Consensus(BEEFY_ENGINE_ID, root.encode()),
        DigestItem::RuntimeEnvironmentUpdated,
    ];
    finish_babe(random, format, items, read)
}

/// Any header with an AURA pre-digest.
pub fn aura_header(random: &mut Random, format: ChainFormat) -> Case {
    let slot = random.number(u64::MAX);
    let item = <DigestItem as AuraItem<AuraSignature>>::aura_pre_digest(slot.into());
    let items = with_noise(random, item);
    let (header, bytes, hash) = build(random, &format, items);
    let duty = aura_duty(slot, header.number.0, &header.parent.0, &format);
    let content = Content::AuraHeader(AuraHeader { header, slot: Slot(slot) });
    Case { format, bytes, content, duty, signed: Signed::Message(hash.to_vec()), reread: reread_aura }
}

fn finish_babe(
    random: &mut Random,
    format: ChainFormat,
    items: Vec<DigestItem>,
    (slot, authority_index, claim): (u64, u32, BabeClaim),
) -> Case {
    let (header, bytes, hash) = build(random, &format, items);
    let content = Content::BabeHeader(BabeHeader { header, slot: Slot(slot), authority_index, claim });
    Case {
        format,
        bytes,
        content,
        duty: babe_duty(slot),
        signed: Signed::Message(hash.to_vec()),
        reread: reread_babe,
    }
}

/// A pre-digest, and what it says.
fn babe_pre_digest(random: &mut Random) -> (DigestItem, (u64, u32, BabeClaim)) {
    let slot = random.number(u64::MAX);
    let authority_index = random.u32();
    let vrf_signature = vrf_signature(random);
    let (digest, claim) = match random.below(3) {
        0 => {
            let it = PrimaryPreDigest { authority_index, slot: slot.into(), vrf_signature };
            (PreDigest::Primary(it), BabeClaim::Primary)
        }
        1 => {
            let it = SecondaryPlainPreDigest { authority_index, slot: slot.into() };
            (PreDigest::SecondaryPlain(it), BabeClaim::SecondaryPlain)
        }
        _ => {
            let it = SecondaryVRFPreDigest { authority_index, slot: slot.into(), vrf_signature };
            (PreDigest::SecondaryVRF(it), BabeClaim::SecondaryVrf)
        }
    };
    (DigestItem::babe_pre_digest(digest), (slot, authority_index, claim))
}

/// The form of a VRF: the reference's own are random, and a case must be the same at every run. Real ones are judged
/// in `vrf`.
fn vrf_signature(random: &mut Random) -> VrfSignature {
    let mut bytes = random.bytes(96);
    // The proof is two scalars below the group order.
    bytes[63] &= 0x0f;
    bytes[95] &= 0x0f;
    VrfSignature::decode_all(&mut &bytes[..]).expect("32 bytes and two scalars")
}

/// The engine's pre-digest among items of others, in any order.
fn with_noise(random: &mut Random, own: DigestItem) -> Vec<DigestItem> {
    let mut items: Vec<_> = (0..random.below(4))
        .map(|_| {
            let len = random.below(80) as usize;
            let data = random.bytes(len);
            match random.below(5) {
                0 => DigestItem::Other(data),
                1 => DigestItem::Consensus(*b"FRNK", data),
                2 => DigestItem::Consensus(BEEFY_ENGINE_ID, data),
                3 => DigestItem::PreRuntime(*b"CMLS", data),
                _ => DigestItem::RuntimeEnvironmentUpdated,
            }
        })
        .collect();
    let at = random.below(items.len() as u64 + 1) as usize;
    items.insert(at, own);
    items
}

/// The header, its bytes and its hash, as the reference makes them.
fn build(random: &mut Random, format: &ChainFormat, logs: Vec<DigestItem>) -> (OurHeader, Vec<u8>, [u8; 32]) {
    let number = random.number(max_number(format));
    let (extrinsics, state, parent) = (random.hash(), random.hash(), random.hash());
    let ours = OurHeader {
        parent: Hash(parent.0),
        number: BlockNumber(number),
        state_root: Hash(state.0),
        extrinsics_root: Hash(extrinsics.0),
        digest: logs.iter().map(our_item).collect(),
    };
    let digest = Digest { logs };
    let (bytes, hash) = match format.number_width {
        NumberWidth::U32 => {
            let header = Header32::new(number as u32, extrinsics, state, parent, digest);
            (header.encode(), header.hash().0)
        }
        NumberWidth::U64 => {
            let header = Header64::new(number, extrinsics, state, parent, digest);
            (header.encode(), header.hash().0)
        }
    };
    (ours, bytes, hash)
}

fn our_item(item: &DigestItem) -> OurItem {
    match item.clone() {
        DigestItem::Other(data) => OurItem::Other(data),
        DigestItem::Consensus(engine, data) => OurItem::Consensus(engine, data),
        DigestItem::Seal(engine, data) => OurItem::Seal(engine, data),
        DigestItem::PreRuntime(engine, data) => OurItem::PreRuntime(engine, data),
        DigestItem::RuntimeEnvironmentUpdated => OurItem::RuntimeEnvironmentUpdated,
    }
}

fn babe_duty(slot: u64) -> Value {
    json!({ "class": "babeBlock", "slot": slot })
}

fn aura_duty(slot: u64, number: u64, parent: &[u8; 32], format: &ChainFormat) -> Value {
    match format.aura_mode {
        AuraMode::Slot => json!({ "class": "auraBlock", "slot": slot }),
        AuraMode::Collator => {
            json!({ "class": "auraBlock", "slot": slot, "collation": [number, hex(parent)] })
        }
    }
}

/// Number, parent and digest of header bytes of either width, and the header's encoding again.
fn header_parts(bytes: &[u8], format: &ChainFormat) -> Option<(u64, [u8; 32], Digest, Vec<u8>)> {
    match format.number_width {
        NumberWidth::U32 => {
            let it = Header32::decode_all(&mut &bytes[..]).ok()?;
            Some((it.number.into(), it.parent_hash.0, it.digest.clone(), it.encode()))
        }
        NumberWidth::U64 => {
            let it = Header64::decode_all(&mut &bytes[..]).ok()?;
            Some((it.number, it.parent_hash.0, it.digest.clone(), it.encode()))
        }
    }
}

/// The slot as `sp_consensus_babe::check_equivocation_proof` finds it: in the first pre-digest that decodes.
fn babe_slot(digest: &Digest) -> Option<u64> {
    digest.logs().iter().find_map(BabeItem::as_babe_pre_digest).map(|it| it.slot().into())
}

fn reread_babe(bytes: &[u8], format: &ChainFormat) -> Option<Reread> {
    let (_, _, digest, bytes) = header_parts(bytes, format)?;
    Some(Reread { bytes, duty: babe_slot(&digest).map(babe_duty) })
}

fn reread_aura(bytes: &[u8], format: &ChainFormat) -> Option<Reread> {
    let (number, parent, digest, bytes) = header_parts(bytes, format)?;
    let slot = digest.logs().iter().find_map(AuraItem::<AuraSignature>::as_aura_pre_digest);
    Some(Reread { bytes, duty: slot.map(|slot| aura_duty(slot.into(), number, &parent, format)) })
}
