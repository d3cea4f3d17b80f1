//! Who signs.

use signonce_protocol::rpc::{KeyInfo, RpcError, SignParams, SignReply};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Who signs for the nodes: a cluster behind JSON-RPC, or the signer that dials them itself.
pub trait Signers: Send + Sync + 'static {
    /// Has one payload signed, within this time.
    fn sign(
        &self,
        params: &SignParams,
        within: Duration,
    ) -> impl Future<Output = Result<SignReply, Unsigned>> + Send;

    /// The keys that the nodes may use, as they are known now; `None` while they were never seen. Known keys stay
    /// known while no signer can be reached.
    fn keys(&self) -> watch::Receiver<Option<Arc<Vec<KeyInfo>>>>;

    /// Ends once new duties can be signed.
    fn ready(&self) -> impl Future<Output = ()> + Send;
}

/// Why there is no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// A signer refused.
    #[error(transparent)]
    Refused(RpcError),
    /// No signer answered in time. The duty may be taken: ask for the same payload again.
    #[error("{0}")]
    NotNow(String),
}
