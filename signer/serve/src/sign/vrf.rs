//! The path of a VRF request: that of a sign request, without a claim. Showing a VRF output twice harms nobody.

use super::{
    Signer, errors,
    journal::Entry,
    lookup::{self, ClientView},
};
use crate::metrics::Method;
use signonce_listen::caller::Caller;
use signonce_protocol::{
    DutyClass,
    rpc::{RpcError, SignVerdict},
};
use signonce_substrate::{BABE_VRF, VrfParams, VrfReply};
use std::time::Instant;
use tracing::Instrument as _;

const CLASS: DutyClass = BABE_VRF;

impl Signer {
    /// Evaluates the BABE VRF of a slot.
    ///
    /// # Errors
    /// Every refusal that is not about a duty.
    pub async fn vrf(&self, caller: &Caller, request: VrfParams) -> Result<VrfReply, RpcError> {
        let started = Instant::now();
        let id = self.handle.next_request();
        let span = tracing::info_span!("vrf", request = %id);
        let client = self.enter(caller);
        let known = client.as_ref().ok().map(|client| client.id);
        let entry = self.observers.open(id, caller, known, (Method::Vrf, started));
        let result = match client.and_then(|client| self.spend(&client, started).map(|()| client)) {
            Ok(client) => self.vrf_inner(&entry, client, &request).instrument(span).await,
            Err(error) => Err(error),
        };
        let result = result.inspect_err(|error| entry.refused(Some(request.key), error));
        let verdict = result.as_ref().map(|_| SignVerdict::Free).map_err(|error| error.code);
        entry.ended(Some(CLASS), verdict, None);
        result.map_err(|error| error.with_request(id))
    }

    async fn vrf_inner(
        &self,
        entry: &Entry<'_>,
        client: ClientView,
        request: &VrfParams,
    ) -> Result<VrfReply, RpcError> {
        let VrfParams { chain, key, slot, epoch_index, randomness } = request;
        let found = self.handle.read(|state| {
            let genesis = lookup::chain(state, chain)?.genesis;
            let key = lookup::key(state, &client, genesis, key, (CLASS, CLASS.key_types()))?;
            Ok((client, key))
        });
        let (_, key) = found.map_err(|error| self.if_caught_up(error))?;
        self.gate.check()?;
        self.open(key).await?;
        let vrf = self.keyring.vrf(&key, *slot, *epoch_index, &randomness.0);
        let vrf = vrf.map_err(|error| errors::not_signed(&key, &error))?;
        entry.free(&key, CLASS);
        Ok(VrfReply { pre_output: vrf.pre_output.into(), proof: vrf.proof.into() })
    }
}
