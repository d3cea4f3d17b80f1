//! The path of one sign request: who asks → which payload → with which key → with what rights → was it decided before →
//! is its slot now → claim the duty, and sign meanwhile → release the signature against the grant.
//!
//! [`rpc`](crate::rpc) calls [`Signer`] with what the TLS layer knows of the client. Positions come from the payload's
//! own bytes, rights and keys from the applied registry, the verdict from the log. A signature is made while its claim
//! is replicated, and released only against the cluster's grant (`duty.rs`).
//!
//! The applied state is read twice: before the payload is decoded, for client and chain, and after, for everything else
//! (`decide.rs`, which has no side effects). The `journal.rs` makes all reports about a request.

mod clients;
mod decide;
mod duty;
mod echo;
pub mod errors;
mod generate;
mod journal;
mod list;
mod lookup;
mod vrf;

pub use journal::Observers;
pub use list::{KeyList, Lists};

use crate::{keyring_sync::KeyringSync, limits::Limiter, metrics::Method, readiness::Gate, telemetry};
use decide::Next;
use journal::Entry;
use lookup::ClientView;
use signonce_cluster::{Handle, Stage, TimelyClaim, clock::unix_ms};
use signonce_core::{Chain, RequestId};
use signonce_keys::{FreeDuty, Keyring};
use signonce_listen::caller::Caller;
use signonce_protocol::{
    KeyId, Payload, PublicKey,
    rpc::{ChainRef, ErrorCode, LastSigned, PayloadParam, RpcError, SignReply, SignVerdict},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument as _;

/// Serves sign requests. Shared by all connections.
pub struct Signer {
    handle: Handle,
    keyring: Arc<Keyring>,
    sync: Arc<KeyringSync>,
    gate: Arc<Gate>,
    observers: Observers,
    timeout: Duration,
    limiter: Limiter,
    lists: Lists,
    /// Held while a key is made: one at a time, so that the quota is checked before the log has to.
    making: tokio::sync::Mutex<()>,
}

/// The parameters of `signer_sign`.
pub struct SignRequest {
    /// The chain.
    pub chain: ChainRef,
    /// The public key.
    pub key: PublicKey,
    /// The payload, not decoded yet.
    pub payload: PayloadParam,
    /// The latest signature of this key and class that the client has.
    pub last_signed: Option<LastSigned>,
}

/// A request that has passed every check but the ledger's.
struct Work {
    client: ClientView,
    key: KeyId,
    payload: Payload,
}

impl Signer {
    /// For a started node. `timeout` bounds a claim.
    pub fn new(
        handle: Handle,
        keyring: Arc<Keyring>,
        sync: Arc<KeyringSync>,
        gate: Arc<Gate>,
        observers: Observers,
        timeout: Duration,
    ) -> Self {
        let (limiter, lists, making) = (Limiter::default(), Lists::default(), tokio::sync::Mutex::default());
        Self { handle, keyring, sync, gate, observers, timeout, limiter, lists, making }
    }

    /// Whether this node serves, and the leader.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The node's handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Signs one payload, once per duty.
    ///
    /// # Errors
    /// Every refusal, with its facts.
    pub async fn sign(&self, caller: &Caller, request: SignRequest) -> Result<SignReply, RpcError> {
        // From here on every log line, the claim in the replicated log and the error carry this name.
        let id = self.handle.next_request();
        let span = tracing::info_span!("sign", request = %id);
        let serve = self.sign_as(id, caller, &request).instrument(span);
        self.observers.traced(serve).await.map_err(|error| error.with_request(id))
    }

    async fn sign_as(
        &self,
        id: RequestId,
        caller: &Caller,
        request: &SignRequest,
    ) -> Result<SignReply, RpcError> {
        let began = Instant::now();
        let (client, chain) = self
            .handle
            .read(|state| (lookup::client(state, caller), lookup::chain(state, &request.chain).cloned()));
        let looked = began.elapsed();
        let known = client.as_ref().ok().map(|client| client.id);
        let entry = self.observers.open(id, caller, known, (Method::Sign, began));
        let client = client.map_err(|error| self.if_caught_up(error));
        let client = client.and_then(|client| self.spend(&client, began).map(|()| client));
        let (work, result) = match client.and_then(|client| self.admit(client, chain, request, looked)) {
            Ok((work, next)) => {
                entry.admitted(&work);
                let result = self.sign_work(&entry, &work, next).await;
                if let Err(error) = &result {
                    entry.not_signed(&work, error);
                }
                (Some((work.payload.class(), work.key)), result)
            }
            Err(error) => {
                entry.not_admitted(request.key, &error);
                (None, Err(error))
            }
        };
        entry.answered(work, &result);
        result
    }

    /// Decodes the payload, finds the key, and decides what to do; if the client was given a signature that this node
    /// does not know of, nothing yet, and this signature. `looked` is how long the first read of the state took.
    fn admit<'r>(
        &self,
        client: ClientView,
        chain: Result<Chain, RpcError>,
        request: &'r SignRequest,
        looked: Duration,
    ) -> Result<(Work, Result<Next, &'r LastSigned>), RpcError> {
        let SignRequest { chain: _, key: public, payload, last_signed: shown } = request;
        let chain = chain.map_err(|error| self.if_caught_up(error))?;
        let metrics = &self.observers.metrics;
        // A header may have a megabyte: it is decoded with the registry unlocked.
        let payload = metrics.timed(Stage::Decode, || {
            let raw = payload.read().map_err(|error| errors::malformed(public, error.message))?;
            raw.decode(&chain).map_err(|error| errors::malformed(public, error))
        })?;
        let began = Instant::now();
        let admitted = self.handle.view(|view| {
            let what = (payload.class(), payload.key_types());
            let key = lookup::key(view.state(), &client, chain.genesis, public, what)?;
            let work = Work { client, key, payload };
            let unknown = shown.as_ref().filter(|shown| decide::is_doubtful(view, &work, shown));
            let next = unknown.map_or_else(|| Ok(decide::next(view, &work, unix_ms())), Err);
            Ok((work, next))
        });
        metrics.stage(Stage::Rights).observe(looked + began.elapsed());
        telemetry::note(Stage::Rights, began);
        admitted.map_err(|error| self.if_caught_up(error))
    }

    /// Carries out the decision.
    async fn sign_work(
        &self,
        entry: &Entry<'_>,
        work: &Work,
        next: Result<Next, &LastSigned>,
    ) -> Result<SignReply, RpcError> {
        let next = match next {
            Ok(next) => next,
            Err(unknown) => {
                let known = self.check_echo(work, unknown).await;
                known.inspect_err(|error| entry.refused_work(work, error))?;
                self.handle.view(|view| decide::next(view, work, unix_ms()))
            }
        };
        match next {
            Next::Free => self.sign_free(entry, work).await,
            Next::Halted(error) => {
                entry.refused_work(work, &error);
                Err(error)
            }
            Next::Known(claim, decision) => self.answer_known(entry, work, claim, *decision).await,
            Next::Ask { claim, foreseen } => {
                self.gate.check()?;
                if work.payload.duty().is_some_and(|duty| duty.slot().is_some()) {
                    self.gate.check_clock()?;
                }
                if let Some(refusal) = foreseen {
                    self.unless_in_doubt(&work.client, refusal)
                        .inspect_err(|error| entry.refused_work(work, error))?;
                }
                let claim = self.with_open_key(entry, work, claim).await?;
                self.claim(entry, work, claim).await
            }
        }
    }

    /// Signs free work. Even that needs a working member: one that may have lost its memory, or lost sight of the
    /// others, must not continue as if nothing had happened.
    async fn sign_free(&self, entry: &Entry<'_>, work: &Work) -> Result<SignReply, RpcError> {
        let Work { client: _, key, payload } = work;
        self.gate.check()?;
        self.open(*key).await?;
        let leave = FreeDuty::of(payload).ok_or_else(|| {
            RpcError::new(ErrorCode::Internal, format!("key {key}: {} is not free", payload.class()))
        })?;
        let signature = self.make(key, payload);
        let signed = signature.map_err(|error| errors::not_signed(key, &error))?.release(leave);
        entry.free(key, payload.class());
        Ok(SignReply {
            signature: signed.signature.as_bytes().to_vec().into(),
            beside: signed.beside.map(|beside| beside.as_bytes().to_vec().into()),
            carry: None,
            verdict: SignVerdict::Free,
            duty: None,
            log_index: None,
            leader: None,
        })
    }

    /// The claim once the key is open. Opening it takes a while, after which the clock is looked at again.
    async fn with_open_key(
        &self,
        entry: &Entry<'_>,
        work: &Work,
        claim: Result<TimelyClaim, RpcError>,
    ) -> Result<TimelyClaim, RpcError> {
        let was_open = self.keyring.contains(&work.key);
        self.open(work.key).await?;
        let again = |claim: TimelyClaim| {
            let claim = claim.into_claim();
            let duty = claim.duty.clone();
            self.handle.view(|view| decide::timely(view, claim, &duty))
        };
        let claim = if was_open { claim } else { claim.and_then(again) };
        claim.inspect_err(|error| entry.refused_work(work, error))
    }

    /// Makes sure that the key is open on this node.
    async fn open(&self, key: KeyId) -> Result<(), RpcError> {
        self.sync.ensure(key).await.map_err(|why| errors::locked(&key, &why, self.gate.leader_hint()))
    }
}
