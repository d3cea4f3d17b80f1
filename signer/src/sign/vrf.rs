//! The way of a VRF request: as a sign request, without a claim. Showing a VRF output twice harms nobody.

use super::{
    Signer, errors,
    lookup::{self, ClientView},
};
use crate::{
    activity::RequestOutcome,
    audit::notes::Asked,
    caller::Caller,
    metrics::{Method, Outcome},
};
use signonce_cluster::clock::unix_ms;
use signonce_core::RequestId;
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
        let result = match client.and_then(|client| self.spend(&client, started).map(|()| client)) {
            Ok(client) => self.vrf_inner(id, client, &request).instrument(span).await,
            Err(error) => Err(error),
        };
        let result = result.map_err(|error| {
            self.note_refused(id, caller, Some(request.key), &error);
            error.with_request(id)
        });
        let outcome = match &result {
            Ok(_) => Outcome::Signed(SignVerdict::Free),
            Err(error) => Outcome::Refused(error.code),
        };
        self.metrics.served(Method::Vrf, Some(CLASS), outcome, started.elapsed());
        if let Some(id) = known {
            let outcome = match &result {
                Ok(_) => RequestOutcome::Signed(None),
                Err(error) => RequestOutcome::Refused(error.code),
            };
            self.activity.note(id, caller.certificate().map(|peer| peer.spki.0), unix_ms(), outcome);
        }
        result
    }

    async fn vrf_inner(
        &self,
        id: RequestId,
        client: ClientView,
        request: &VrfParams,
    ) -> Result<VrfReply, RpcError> {
        let VrfParams { chain, key, slot, epoch_index, randomness } = request;
        let found = self.handle.read(|state| {
            let genesis = lookup::chain(state, chain)?.genesis;
            let key = lookup::key(state, &client, genesis, key, (CLASS, CLASS.key_types()))?;
            Ok((client, key))
        });
        let (client, key) = found.map_err(|error| self.if_caught_up(error))?;
        self.gate.check()?;
        self.open(key).await?;
        let vrf = self.keyring.vrf(&key, *slot, *epoch_index, &randomness.0);
        let vrf = vrf.map_err(|error| errors::not_signed(&key, &error))?;
        let asked = Asked { client: Some(client.id), key: Some(key.public), request: id };
        self.notes.free(asked, CLASS, unix_ms());
        Ok(VrfReply { pre_output: vrf.pre_output.into(), proof: vrf.proof.into() })
    }
}
