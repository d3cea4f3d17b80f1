//! Changes of what clients may use, and of their certificates.

use super::State;
use crate::model::Fingerprint;
use crate::{
    log::{ChangeError, error::ClientError},
    model::{Client, ClientId, ClientLimits, MAX_CLIENT_LIMIT},
    registry::{ClientTerms, EVERYBODY},
};

/// Certificates remembered as revoked, of one client. Whoever changes them more often forgets the oldest.
const MAX_REVOKED: usize = 256;

impl State {
    /// `name` is a client, or nobody for everybody's default.
    pub(super) fn set_client_limits(
        &mut self,
        name: Option<&str>,
        limits: Option<ClientLimits>,
    ) -> Result<Option<ClientId>, ChangeError> {
        let client = name.map(|name| self.active_client(name).map(|client| client.id)).transpose()?;
        if let Some(ClientLimits { per_second, burst, in_flight }) = limits {
            for asked in [per_second, burst, in_flight] {
                if !(1..=MAX_CLIENT_LIMIT).contains(&asked) {
                    return Err(ClientError::BadClientLimit { asked, most: MAX_CLIENT_LIMIT }.into());
                }
            }
        }
        let terms = ClientTerms { limits, ..self.registry.terms_of(client.unwrap_or(EVERYBODY)) };
        self.registry.put_terms(terms, &mut self.journal);
        Ok(client)
    }

    /// From now on the client has two certificates.
    pub(super) fn rotate_client(&mut self, name: &str, spki: Fingerprint) -> Result<ClientId, ChangeError> {
        let client = self.active_client(name)?.id;
        if self.registry.next_certificate(client).is_some() {
            return Err(ClientError::RotationUnderWay { name: name.to_owned() }.into());
        }
        self.check_certificate(&spki, None)?;
        let terms = ClientTerms { next: Some(spki), ..self.registry.terms_of(client) };
        self.registry.put_terms(terms, &mut self.journal);
        Ok(client)
    }

    /// From now on it has one: the new one if `keep_new`. The other is never accepted again.
    pub(super) fn finish_rotation(&mut self, name: &str, keep_new: bool) -> Result<ClientId, ChangeError> {
        let client = self.active_client(name)?.clone();
        let mut terms = self.registry.terms_of(client.id);
        let next = terms
            .next
            .take()
            .ok_or_else(|| ChangeError::Client(ClientError::NoRotation { name: name.to_owned() }))?;
        let id = client.id;
        revoke(&mut terms, if keep_new { client.spki } else { next });
        self.registry.put_terms(terms, &mut self.journal);
        if keep_new {
            self.registry.put_client(Client { spki: next, ..client }, &mut self.journal);
        }
        Ok(id)
    }

    /// Notes that `old` was taken from the client at once, for another certificate.
    pub(super) fn revoke_certificate(&mut self, client: ClientId, old: Fingerprint) {
        let mut terms = self.registry.terms_of(client);
        revoke(&mut terms, old);
        self.registry.put_terms(terms, &mut self.journal);
    }
}

fn revoke(terms: &mut ClientTerms, certificate: Fingerprint) {
    terms.revoked.push(certificate);
    let surplus = terms.revoked.len().saturating_sub(MAX_REVOKED);
    terms.revoked.drain(..surplus);
}
