//! Heartbeats and ownership proofs.

use super::{Case, Reread, Signed, max_number};
use crate::random::Random;
use parity_scale_codec::{Codec, Decode, DecodeAll as _, Encode};
use serde_json::Value;
use signonce_substrate::{
    BlockNumber, ChainFormat, NumberWidth, SessionIndex,
    payload::{Content, Heartbeat as OurHeartbeat, OwnershipProof},
};
use sp_core::proof_of_possession::statement_of_ownership;

/// `pallet_im_online::Heartbeat`, field by field as in its version 49.0.0: the pallet itself would bring all of FRAME
/// along for these four numbers.
#[derive(Encode, Decode)]
struct Heartbeat<N> {
    block_number: N,
    session_index: u32,
    authority_index: u32,
    validators_len: u32,
}

/// A heartbeat that the pallet would accept.
pub fn heartbeat(random: &mut Random, format: ChainFormat) -> Case {
    let number = random.number(max_number(&format));
    let session_index = random.u32();
    let validators_len = random.u32().max(1);
    let authority_index = random.below(validators_len.into()) as u32;
    let bytes = match format.number_width {
        NumberWidth::U32 => {
            Heartbeat { block_number: number as u32, session_index, authority_index, validators_len }.encode()
        }
        NumberWidth::U64 => {
            Heartbeat { block_number: number, session_index, authority_index, validators_len }.encode()
        }
    };
    let content = Content::Heartbeat(OurHeartbeat {
        block: BlockNumber(number),
        session: SessionIndex(session_index),
        authority_index,
        validators: validators_len,
    });
    let signed = Signed::Message(bytes.clone());
    Case { format, bytes, content, duty: Value::Null, signed, reread: reread_heartbeat }
}

fn reread_heartbeat(bytes: &[u8], format: &ChainFormat) -> Option<Reread> {
    fn read<N: Codec>(mut bytes: &[u8]) -> Option<Reread> {
        Some(Reread { bytes: Heartbeat::<N>::decode_all(&mut bytes).ok()?.encode(), duty: None })
    }
    match format.number_width {
        NumberWidth::U32 => read::<u32>(bytes),
        NumberWidth::U64 => read::<u64>(bytes),
    }
}

/// A proof of possession for an account, for nobody, or for an owner of another length.
pub fn ownership_proof(random: &mut Random, format: ChainFormat) -> Case {
    let len = match random.below(3) {
        0 => 0,
        1 => 32,
        // 28 bytes make a message of 32, which could be a block hash: no chain has such account ids.
        _ => match random.below(65) as usize {
            28 => 20,
            len => len,
        },
    };
    let owner = random.bytes(len);
    let bytes = statement_of_ownership(&owner);
    let content = Content::OwnershipProof(OwnershipProof { owner });
    let signed = Signed::Message(bytes.clone());
    Case {
        format,
        bytes,
        content,
        duty: Value::Null,
        signed,
        reread: |bytes, _| {
            bytes
                .strip_prefix(b"POP_")
                .map(|owner| Reread { bytes: statement_of_ownership(owner), duty: None })
        },
    }
}
