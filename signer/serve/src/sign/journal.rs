//! Everything that is reported of a request, in one place: metrics, the client's activity, notes for the audit, traces
//! and the log. Nothing here decides anything, and no payload bytes or signatures get here.

use super::Work;
use crate::{
    activity::{Activity, RequestOutcome},
    audit::notes::{Asked, Notebook},
    metrics::{Method, Metrics, Outcome},
    telemetry::{self, Telemetry},
};
use signonce_cluster::{clock::unix_ms, log_throttle::LogThrottle};
use signonce_core::{ClientId, RequestId};
use signonce_listen::caller::Caller;
use signonce_protocol::{
    Duty, DutyClass, KeyId, KeyType, PublicKey,
    rpc::{ErrorCode, RpcError, SignReply, SignVerdict},
};
use std::{future::Future, sync::Arc, time::Instant};

/// Throttles log lines about requests that were not admitted, by client and code.
static NOT_ADMITTED: LogThrottle<(Option<ClientId>, &'static str)> = LogThrottle::new();
/// Throttles log lines about admitted requests that were not signed: of two validators with the same keys, one is
/// refused every time.
static NOT_SIGNED: LogThrottle<(ClientId, KeyType, &'static str)> = LogThrottle::new();

/// Everything that is informed of what a signer does.
pub struct Observers {
    /// Counts and latencies.
    pub metrics: Arc<Metrics>,
    /// Notes for the audit of what never reaches the log.
    pub notes: Arc<Notebook>,
    /// What each client has asked.
    pub activity: Arc<Activity>,
    /// Where traces go, if anywhere.
    pub telemetry: Option<Telemetry>,
}

/// The journal's entry for one request under way.
pub(super) struct Entry<'a> {
    observers: &'a Observers,
    pub(super) id: RequestId,
    caller: &'a Caller,
    /// None for a caller that is not a client.
    client: Option<ClientId>,
    method: Method,
    began: Instant,
}

impl Observers {
    /// Opens the entry for a request.
    pub(super) fn open<'a>(
        &'a self,
        id: RequestId,
        caller: &'a Caller,
        client: Option<ClientId>,
        (method, began): (Method, Instant),
    ) -> Entry<'a> {
        telemetry::fact("signonce.request", id);
        Entry { observers: self, id, caller, client, method, began }
    }

    /// Traces a request, if traces are configured.
    pub(super) async fn traced<T>(
        &self,
        serve: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        match &self.telemetry {
            Some(telemetry) => {
                let refused =
                    |result: &Result<T, RpcError>| result.as_ref().err().map(|error| error.code.name());
                telemetry.traced(serve, refused).await
            }
            None => serve.await,
        }
    }

    /// Records the answer to a request for a new key.
    pub(super) fn key_asked<T>(
        &self,
        (id, caller, client): (RequestId, &Caller, Option<ClientId>),
        result: &Result<T, RpcError>,
        began: Instant,
    ) {
        if let Err(error) = result {
            self.notes.refused(Asked { client, key: None, request: id }, error, None, unix_ms());
            if let Some(client) = client {
                self.note_activity(caller, client, RequestOutcome::Refused(error.code));
            }
        }
        self.metrics.key_asked(result.as_ref().map(drop).map_err(|error| error.code), began.elapsed());
    }

    /// Records that a client was refused by its limits alone.
    pub(super) fn too_much(&self, caller: &Caller, client: ClientId) {
        self.note_activity(caller, client, RequestOutcome::Refused(ErrorCode::RateLimited));
    }

    fn note_activity(&self, caller: &Caller, client: ClientId, outcome: RequestOutcome<'_>) {
        let certificate = caller.certificate().map(|peer| peer.spki);
        self.activity.note(client, certificate, unix_ms(), outcome);
    }
}

impl Entry<'_> {
    /// Records that the request is admitted: key and payload are known.
    pub(super) fn admitted(&self, work: &Work) {
        telemetry::fact("signonce.client", &work.client.name);
        telemetry::fact("signonce.key", work.key);
        telemetry::fact("signonce.class", work.payload.class().name());
    }

    /// Records that it is not admitted. The cluster's log never hears of it.
    pub(super) fn not_admitted(&self, key: PublicKey, error: &RpcError) {
        self.refused(Some(key), error);
        let (client, code) = (self.caller, error.code.name());
        // All strangers together, as their certificates could say anything.
        NOT_ADMITTED.line((self.client, code), |left_out| {
            tracing::info!(%client, %key, code, left_out, "not signed: {}", error.message);
        });
    }

    /// Records that this node refused it from its own state, so that the cluster's log never hears of it.
    pub(super) fn refused(&self, key: Option<PublicKey>, error: &RpcError) {
        self.observers.notes.refused(self.asked(key), error, None, unix_ms());
    }

    /// Records the same of an admitted request.
    pub(super) fn refused_work(&self, work: &Work, error: &RpcError) {
        let digest = Some(work.payload.digest());
        self.observers.notes.refused(self.asked(Some(work.key.public)), error, digest, unix_ms());
    }

    /// Records that free work was done.
    pub(super) fn free(&self, key: &KeyId, class: DutyClass) {
        self.observers.notes.free(self.asked(Some(key.public)), class, unix_ms());
    }

    /// Logs that an admitted request was not signed. Refusals are where attacks and broken setups show first.
    pub(super) fn not_signed(&self, work: &Work, error: &RpcError) {
        let Work { client, key, payload } = work;
        let (name, code) = (&client.name, error.code.name());
        NOT_SIGNED.line((client.id, key.key_type, code), |left_out| {
            if error.code == ErrorCode::Equivocation {
                tracing::warn!(client = name, %key, code, left_out, payload = payload.summary(), "refused: {}", error.message);
            } else {
                tracing::info!(client = name, %key, code, left_out, "not signed: {}", error.message);
            }
        });
    }

    /// Records the answer to a sign request.
    pub(super) fn answered(&self, work: Option<(DutyClass, KeyId)>, result: &Result<SignReply, RpcError>) {
        let verdict = result.as_ref().map(|reply| reply.verdict);
        let duty = result.as_ref().ok().and_then(|reply| reply.duty.as_ref());
        let duty = work.and_then(|(_, key)| Some((key, duty?)));
        self.ended(work.map(|(class, _)| class), verdict.map_err(|error| error.code), duty);
    }

    /// Records the answer to any request.
    pub(super) fn ended(
        &self,
        class: Option<DutyClass>,
        verdict: Result<SignVerdict, ErrorCode>,
        duty: Option<(KeyId, &Duty)>,
    ) {
        let outcome = verdict.map_or_else(Outcome::Refused, Outcome::Signed);
        self.observers.metrics.served(self.method, class, outcome, self.began.elapsed());
        if let Some(client) = self.client {
            let outcome = match verdict {
                Ok(_) => RequestOutcome::Signed(duty),
                Err(code) => RequestOutcome::Refused(code),
            };
            self.observers.note_activity(self.caller, client, outcome);
        }
    }

    fn asked(&self, key: Option<PublicKey>) -> Asked {
        Asked { client: self.client, key, request: self.id }
    }
}
