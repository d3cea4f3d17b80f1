//! The limits of a client on this node, and the keys it may use.

use super::{
    Lists, Signer, errors,
    lookup::{self, ClientView},
};
use crate::limits::{InFlightClaim, SubscriptionPlace};
use signonce_core::ClientId;
use signonce_listen::caller::Caller;
use signonce_protocol::rpc::{KeyInfo, RpcError};
use std::time::Instant;

impl Signer {
    /// The calling client.
    pub(super) fn enter(&self, caller: &Caller) -> Result<ClientView, RpcError> {
        let client = self.handle.read(|state| lookup::client(state, caller));
        client.map_err(|error| self.if_caught_up(error))
    }

    /// Takes one request from the client's limit.
    pub(super) fn spend(&self, client: &ClientView, now: Instant) -> Result<(), RpcError> {
        let spent = self.limiter.request(client.id, client.limits, now);
        spent.map_err(|too_much| errors::too_much(client, too_much))
    }

    /// Takes a place for one claim of the client, which leaves a record.
    pub(super) fn may_claim(&self, client: &ClientView) -> Result<InFlightClaim<'_>, RpcError> {
        let ClientView { id, name: _, limits } = client;
        let place = self.limiter.claim(*id, *limits);
        let place = place.and_then(|place| self.limiter.record(*id, *limits, Instant::now()).map(|()| place));
        place.map_err(|too_much| errors::too_much(client, too_much))
    }

    /// Takes the cost of an answer, in plain requests, from the client's limit. For methods that do not record refusals
    /// themselves.
    ///
    /// # Errors
    /// `forbidden` for a certificate that no client has, `rateLimited`.
    pub fn pay(&self, caller: &Caller, cost: u32) -> Result<(), RpcError> {
        let client = self.enter(caller)?;
        let paid = self.limiter.work(client.id, client.limits, cost, Instant::now());
        paid.map_err(|too_much| {
            self.observers.too_much(caller, client.id);
            errors::too_much(&client, too_much)
        })
    }

    /// The keys this client may use. A long list costs more than one request.
    ///
    /// # Errors
    /// `forbidden` for a certificate that no client has, `rateLimited`.
    pub fn keys(&self, caller: &Caller) -> Result<Vec<KeyInfo>, RpcError> {
        self.client(caller)?;
        let list = self.lists.now(&self.handle, caller);
        self.pay(caller, list.cost())?;
        Ok(list.keys.values().cloned().collect())
    }

    /// Lets the client follow its keys, and takes what the first list costs.
    ///
    /// # Errors
    /// `forbidden` for a certificate that no client has, `rateLimited`.
    pub fn subscribe(&self, caller: &Caller) -> Result<SubscriptionPlace<'_>, RpcError> {
        let client = self.enter(caller)?;
        let place = self.limiter.subscription(client.id, client.limits);
        let place = place.map_err(|most| errors::too_many_subscriptions(&client, most))?;
        self.pay(caller, self.lists.now(&self.handle, caller).cost())?;
        Ok(place)
    }

    /// The lists of keys, for those who follow them.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Whether the certificate is a client's.
    pub fn is_client(&self, caller: &Caller) -> bool {
        self.handle.read(|state| caller.client(state).is_some())
    }

    /// The client behind the certificate.
    ///
    /// # Errors
    /// `forbidden` for a certificate that no client has.
    pub fn client(&self, caller: &Caller) -> Result<ClientId, RpcError> {
        let client = self.handle.read(|state| lookup::client(state, caller));
        client.map(|client| client.id).map_err(|error| self.if_caught_up(error))
    }

    /// The error, if this node knows the present registry: a refusal from an outdated one is worth nothing.
    pub(super) fn if_caught_up(&self, error: RpcError) -> RpcError {
        self.gate.check_caught_up().err().unwrap_or(error)
    }

    pub(super) fn client_name(&self, id: ClientId) -> String {
        self.handle.read(|state| lookup::client_name(state, id))
    }
}
