//! The method that a signer serves for validators of Substrate chains, beside those of every chain (feature `server`).

use crate::{EpochIndex, VrfReply};
use jsonrpsee::proc_macros::rpc;
use signonce_protocol::{
    Hash, PublicKey, Slot,
    rpc::{ChainRef, RpcError},
};

/// What validators of Substrate chains may ask beside signatures. The server merges `into_rpc` into the module of
/// [`SignerApiServer`](signonce_protocol::rpc::SignerApiServer); the caller is found as there.
#[rpc(server, namespace = "signer")]
pub trait SubstrateApi {
    /// Evaluates the BABE VRF of a slot.
    #[method(name = "vrf", param_kind = map, with_extensions)]
    async fn vrf(
        &self,
        chain: ChainRef,
        key: PublicKey,
        slot: Slot,
        #[argument(rename = "epochIndex")] epoch_index: EpochIndex,
        randomness: Hash,
    ) -> Result<VrfReply, RpcError>;
}
