//! What a client may use of the cluster, and the certificates it has beside its first one.

use super::{ClientId, Registry};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How much a client may ask of one signer. Kept by the node that serves it, before anything goes into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientLimits {
    /// Requests per second, in the long run.
    pub per_second: u32,
    /// Requests that may come at once after a pause.
    pub burst: u32,
    /// Claims that may wait for the cluster at a time.
    pub in_flight: u32,
}

/// The highest of any limit.
pub const MAX_CLIENT_LIMIT: u32 = 1_000_000;

/// What a client may use unless an operator says otherwise. A Polkadot validator with every kind of work asks for tens
/// of signatures a second, a hundred in a burst; a cluster on plain machines grants thousands.
impl Default for ClientLimits {
    fn default() -> Self {
        Self { per_second: 1_000, burst: 2_000, in_flight: 256 }
    }
}

/// The record beside the client's own. That of [`ClientId`] 0, which no client has, is everybody's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ClientTerms {
    pub(crate) client: ClientId,
    /// Instead of the default.
    pub(crate) limits: Option<ClientLimits>,
    /// The certificate that is to replace the client's; until then both are accepted.
    pub(crate) next: Option<[u8; 32]>,
    /// Certificates that were taken from it, never accepted again. Oldest first.
    pub(crate) revoked: Vec<[u8; 32]>,
}

/// Everybody's default stands under this number.
pub(crate) const EVERYBODY: ClientId = ClientId(0);

impl Registry {
    /// What the client may use.
    pub fn limits_of(&self, client: ClientId) -> ClientLimits {
        self.own_limits(client).unwrap_or_else(|| self.default_limits())
    }

    /// What it may use by a word of its own.
    pub fn own_limits(&self, client: ClientId) -> Option<ClientLimits> {
        self.terms.get(&client).and_then(|terms| terms.limits)
    }

    /// What clients without a word of their own may use.
    pub fn default_limits(&self) -> ClientLimits {
        self.own_limits(EVERYBODY).unwrap_or_default()
    }

    /// The certificate that is to replace the client's, while a rotation is under way.
    pub fn next_certificate(&self, client: ClientId) -> Option<&[u8; 32]> {
        self.terms.get(&client).and_then(|terms| terms.next.as_ref())
    }

    pub(crate) fn terms_of(&self, client: ClientId) -> ClientTerms {
        self.terms.get(&client).cloned().unwrap_or(ClientTerms { client, ..ClientTerms::default() })
    }

    /// Every client's, by number.
    pub(crate) fn all_terms(&self) -> impl Iterator<Item = &ClientTerms> {
        self.terms.values()
    }

    /// Every certificate that is, or was, the client's.
    pub(super) fn certificates_of(&self, client: ClientId) -> Vec<[u8; 32]> {
        let first = self.clients.get(&client).map(|client| client.spki);
        let terms = self.terms.get(&client);
        let more = terms.into_iter().flat_map(|terms| terms.next.iter().chain(&terms.revoked).copied());
        first.into_iter().chain(more).collect()
    }
}
