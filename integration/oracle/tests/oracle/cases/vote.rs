//! Votes of the finality gadgets: GRANDPA's localised payloads and BEEFY's commitments.

use super::{Case, Reread, Signed, max_number};
use crate::random::Random;
use finality_grandpa::{Message, Precommit, Prevote, PrimaryPropose};
use parity_scale_codec::{Codec, DecodeAll as _, Encode};
use serde_json::{Value, json};
use signonce_protocol::Hash;
use signonce_substrate::{
    BlockNumber, ChainFormat, GrandpaStage, NumberWidth, Round, SetId,
    payload::{BeefyCommitment, Content, GrandpaVote},
};
use sp_consensus_beefy::{Commitment, Payload, known_payloads::MMR_ROOT_ID};
use sp_consensus_grandpa::localized_payload;
use sp_core::H256;
use sp_runtime::traits::{Hash as _, Keccak256};

/// A GRANDPA message of a chain with such block numbers.
pub type RefMessage<N> = Message<H256, N>;

/// Any vote of any stage.
pub fn grandpa_vote(random: &mut Random, format: ChainFormat) -> Case {
    let (hash, number) = (random.hash(), random.number(max_number(&format)));
    // Voters start at round 1: round 0 is the completed base that every set begins with.
    let (round, set) = (random.number(u64::MAX).max(1), random.number(u64::MAX));
    let stage = *random.pick(&[GrandpaStage::Prevote, GrandpaStage::Precommit, GrandpaStage::PrimaryPropose]);
    let bytes = match format.number_width {
        NumberWidth::U32 => localized_payload(round, set, &message(stage, hash, number as u32)),
        NumberWidth::U64 => localized_payload(round, set, &message(stage, hash, number)),
    };
    let content = Content::GrandpaVote(GrandpaVote {
        stage,
        target_hash: Hash(hash.0),
        target: BlockNumber(number),
        round: Round(round),
        set_id: SetId(set),
    });
    let duty = grandpa_duty(stage, number, round, set);
    Case { format, content, duty, signed: Signed::Message(bytes.clone()), bytes, reread: reread_grandpa }
}

fn message<N>(stage: GrandpaStage, target_hash: H256, target_number: N) -> RefMessage<N> {
    match stage {
        GrandpaStage::Prevote => Message::Prevote(Prevote { target_hash, target_number }),
        GrandpaStage::Precommit => Message::Precommit(Precommit { target_hash, target_number }),
        GrandpaStage::PrimaryPropose => {
            Message::PrimaryPropose(PrimaryPropose { target_hash, target_number })
        }
    }
}

fn grandpa_duty(stage: GrandpaStage, target: u64, round: u64, set: u64) -> Value {
    let stage = match stage {
        GrandpaStage::Prevote => "prevote",
        GrandpaStage::Precommit => "precommit",
        GrandpaStage::PrimaryPropose => "primaryPropose",
    };
    json!({ "class": "grandpaVote", "setId": set, "round": round, "stage": stage, "target": target })
}

fn reread_grandpa(bytes: &[u8], format: &ChainFormat) -> Option<Reread> {
    fn read<N: Codec + Copy + Into<u64>>(bytes: &[u8]) -> Option<Reread> {
        let (message, round, set) = <(RefMessage<N>, u64, u64)>::decode_all(&mut &bytes[..]).ok()?;
        let stage = match message {
            Message::Prevote(_) => GrandpaStage::Prevote,
            Message::Precommit(_) => GrandpaStage::Precommit,
            Message::PrimaryPropose(_) => GrandpaStage::PrimaryPropose,
        };
        let duty = grandpa_duty(stage, message.target().1.into(), round, set);
        Some(Reread { bytes: localized_payload(round, set, &message), duty: Some(duty) })
    }
    match format.number_width {
        NumberWidth::U32 => read::<u32>(bytes),
        NumberWidth::U64 => read::<u64>(bytes),
    }
}

/// A commitment: nearly always the one entry of today's networks, sometimes more.
pub fn beefy_commitment(random: &mut Random, format: ChainFormat) -> Case {
    let mut payload = Payload::from_single_entry(MMR_ROOT_ID, random.block().to_vec());
    for id in [*b"aa", *b"zz", *b"nh"] {
        if random.below(4) == 0 {
            let len = random.below(100) as usize;
            payload = payload.push_raw(id, random.bytes(len));
        }
    }
    let entries = [*b"aa", MMR_ROOT_ID, *b"nh", *b"zz"]
        .into_iter()
        .filter_map(|id| Some((id, payload.get_raw(&id)?.clone())))
        .collect();
    let (number, set) = (random.number(max_number(&format)), random.number(u64::MAX));
    let bytes = match format.number_width {
        NumberWidth::U32 => commitment(payload, number as u32, set),
        NumberWidth::U64 => commitment(payload, number, set),
    };
    let content = Content::BeefyCommitment(BeefyCommitment {
        payload: entries,
        block: BlockNumber(number),
        set_id: SetId(set),
    });
    let signed = Signed::Prehashed(Keccak256::hash(&bytes).0);
    Case { format, bytes, content, duty: beefy_duty(number, set), signed, reread: reread_beefy }
}

fn commitment<N: Encode>(payload: Payload, block_number: N, validator_set_id: u64) -> Vec<u8> {
    Commitment { payload, block_number, validator_set_id }.encode()
}

fn beefy_duty(block: u64, set: u64) -> Value {
    json!({ "class": "beefyVote", "setId": set, "block": block })
}

fn reread_beefy(bytes: &[u8], format: &ChainFormat) -> Option<Reread> {
    fn read<N: Codec + Copy + Into<u64>>(bytes: &[u8]) -> Option<Reread> {
        let it = Commitment::<N>::decode_all(&mut &bytes[..]).ok()?;
        Some(Reread {
            bytes: it.encode(),
            duty: Some(beefy_duty(it.block_number.into(), it.validator_set_id)),
        })
    }
    match format.number_width {
        NumberWidth::U32 => read::<u32>(bytes),
        NumberWidth::U64 => read::<u64>(bytes),
    }
}
