//! The trait a signer implements, and the module a server serves. The server puts what it knows of the TLS client
//! into the connection's request extensions; every method gets them.

use super::{
    ChainRef, DISCOVER, GenerateKeyReply, KeyInfo, LastSigned, PayloadParam, RpcError, SignReply, StatusReply,
};
use crate::{KeyType, PublicKey};
use jsonrpsee::{RpcModule, core::SubscriptionResult, proc_macros::rpc};

/// What validators may ask. Parameters are objects by name (arrays in the same order are read too).
///
/// Each method gets the request's `Extensions` first, which say who asks. The handler of [`sign`](Self::sign) reads
/// its payload with [`PayloadParam::read`].
#[rpc(server, namespace = "signer")]
pub trait SignerApi {
    /// The keys this client may use, with chain, scheme, state and watermarks.
    #[method(name = "keys", with_extensions)]
    async fn keys(&self) -> Result<Vec<KeyInfo>, RpcError>;

    /// Signs one payload, once per duty. `lastSigned` shows an earlier signature that the cluster must know of.
    #[method(name = "sign", param_kind = map, with_extensions)]
    async fn sign(
        &self,
        chain: ChainRef,
        key: PublicKey,
        payload: PayloadParam,
        #[argument(rename = "lastSigned")] last_signed: Option<LastSigned>,
    ) -> Result<SignReply, RpcError>;

    /// Makes a session key that never was anywhere else, armed, for this client to use.
    #[method(name = "generateKey", param_kind = map, with_extensions)]
    async fn generate_key(
        &self,
        chain: ChainRef,
        #[argument(rename = "type")] key_type: KeyType,
    ) -> Result<GenerateKeyReply, RpcError>;

    /// This node, its leader and whether it serves.
    #[method(name = "status", with_extensions)]
    async fn status(&self) -> Result<StatusReply, RpcError>;

    /// Sends changes of keys and watermarks; the first event is the whole list.
    #[subscription(name = "subscribeKeys", unsubscribe = "unsubscribeKeys", item = super::KeysEvent, with_extensions)]
    async fn subscribe_keys(&self) -> SubscriptionResult;
}

/// The methods that a signer serves to validators whatever the chain: those of `api`, and `rpc_discover`. The server
/// merges in what families add to these ([`Family::methods`](crate::Family::methods)).
///
/// # Panics
/// If `rpc_discover` is taken, which no method of the trait is.
pub fn rpc_module<A: SignerApiServer>(api: A) -> RpcModule<A> {
    let mut module = api.into_rpc();
    // Made once: it never changes while the process runs.
    let document = super::openrpc_document();
    let added = module.register_method(DISCOVER, move |_, _, _| document.clone()).is_ok();
    assert!(added, "{DISCOVER} is registered twice");
    module
}
