//! What BEEFY commits to on this chain.

use polkadot_sdk::*;
use signonce_validator_runtime::opaque::Block;
use sp_consensus_beefy::{Payload, PayloadProvider, known_payloads::MMR_ROOT_ID};
use sp_runtime::traits::Block as BlockT;

/// The block's hash in the place of an MMR root: the chain keeps no MMR, and the bytes have the same shape.
#[derive(Clone)]
pub struct HeaderPayload;

impl PayloadProvider<Block> for HeaderPayload {
    fn payload(&self, header: &<Block as BlockT>::Header) -> Option<Payload> {
        Some(Payload::from_single_entry(MMR_ROOT_ID, header.hash().as_bytes().to_vec()))
    }
}
