//! What a client may use of the cluster, and the certificates it has beside its first one.

use super::Registry;
use crate::model::Fingerprint;
use crate::model::{ClientId, ClientLimits};
use parity_scale_codec::{Decode, Encode};

/// The record beside the client's own. That of [`ClientId`] 0, which no client has, is everybody's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ClientTerms {
    pub(crate) client: ClientId,
    /// Instead of the default.
    pub(crate) limits: Option<ClientLimits>,
    /// The certificate that is to replace the client's; until then both are accepted.
    pub(crate) next: Option<Fingerprint>,
    /// Certificates that were taken from it, never accepted again. Oldest first.
    pub(crate) revoked: Vec<Fingerprint>,
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
    pub fn next_certificate(&self, client: ClientId) -> Option<&Fingerprint> {
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
    pub(super) fn certificates_of(&self, client: ClientId) -> Vec<Fingerprint> {
        let first = self.clients.get(&client).map(|client| client.spki);
        let terms = self.terms.get(&client);
        let more = terms.into_iter().flat_map(|terms| terms.next.iter().chain(&terms.revoked).copied());
        first.into_iter().chain(more).collect()
    }
}
