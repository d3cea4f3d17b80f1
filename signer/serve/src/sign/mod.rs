//! The way of one request: who asks → what exactly → with which key → may they → has it been decided → is it now →
//! claim it, and sign meanwhile → let the signature out against the grant.
//!
//! [`Signer`] is asked by [`rpc`](crate::rpc) with what the TLS layer knows of the client. Coordinates come from the
//! payload's own bytes, rights and keys from the applied registry, the verdict from the log. A signature is made
//! while its claim is replicated and leaves only through `Committed`.

mod echo;
pub mod errors;
mod generate;
mod list;
mod lookup;
mod vrf;

pub use list::{KeyList, Lists};

use crate::{
    activity::{Activity, RequestOutcome},
    audit::notes::{Asked, Notebook},
    keyring_sync::KeyringSync,
    limits::{Limiter, Place, SubscriptionPlace},
    metrics::{Method, Metrics, Outcome},
    readiness::Gate,
    telemetry::{self, Telemetry},
};
use lookup::ClientView;
use signonce_cluster::{Decision, Grant, Handle, Stage, clock::unix_ms, log_throttle::LogThrottle};
use signonce_core::{Claim, ClientId, RequestId, Verdict};
use signonce_keys::{FreeDuty, Keyring, ReleaseToken, SignError, Unreleased};
use signonce_listen::caller::Caller;
use signonce_protocol::{
    Carry, Digest, Duty, KeyId, KeyType, LogIndex, Payload, PublicKey,
    rpc::{ChainRef, ErrorCode, KeyInfo, LastSigned, PayloadParam, RpcError, SignReply, SignVerdict},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument as _;

/// Refusals before the ledger, by client and code.
static NOT_ADMITTED: LogThrottle<(Option<ClientId>, &'static str)> = LogThrottle::new();
/// Refusals of what was admitted: of two validators with the same keys one is refused every time.
static NOT_SIGNED: LogThrottle<(ClientId, KeyType, &'static str)> = LogThrottle::new();

/// Serves sign requests. Shared by all connections.
pub struct Signer {
    handle: Handle,
    keyring: Arc<Keyring>,
    sync: Arc<KeyringSync>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    notes: Arc<Notebook>,
    timeout: Duration,
    limiter: Limiter,
    lists: Lists,
    activity: Arc<Activity>,
    /// Held while a key is made: one at a time, so that a quota is found full before the log is.
    making: tokio::sync::Mutex<()>,
    telemetry: Option<Telemetry>,
}

/// Who is told what a signer did.
pub struct Observers {
    /// How much and how long.
    pub metrics: Arc<Metrics>,
    /// What the audit is told of that never reaches the log.
    pub notes: Arc<Notebook>,
    /// What each client has asked.
    pub activity: Arc<Activity>,
    /// Where traces go, if anywhere.
    pub telemetry: Option<Telemetry>,
}

/// What `signer_sign` is asked.
pub struct SignRequest {
    /// The chain.
    pub chain: ChainRef,
    /// The public key.
    pub key: PublicKey,
    /// The payload, not read yet.
    pub payload: PayloadParam,
    /// What the client was given last for such work.
    pub last_signed: Option<LastSigned>,
}

/// A request that has passed every check but the ledger's.
struct Work {
    request: RequestId,
    client: ClientView,
    key: KeyId,
    payload: Payload,
}

/// Leave to release the signature of one claim: the cluster's grant, which knows the claim it was given for.
struct Committed(Grant);

impl ReleaseToken for Committed {
    fn covers(&self, key: &KeyId, digest: &Digest, carry: &Carry) -> bool {
        self.0.covers(key, digest, carry)
    }
}

impl Signer {
    /// For a started node. `timeout` is how long a claim may take.
    pub fn new(
        handle: Handle,
        keyring: Arc<Keyring>,
        sync: Arc<KeyringSync>,
        gate: Arc<Gate>,
        observers: Observers,
        timeout: Duration,
    ) -> Self {
        let Observers { metrics, notes, activity, telemetry } = observers;
        let (limiter, lists, making) = (Limiter::default(), Lists::default(), tokio::sync::Mutex::default());
        Self {
            handle,
            keyring,
            sync,
            gate,
            metrics,
            notes,
            timeout,
            limiter,
            lists,
            activity,
            making,
            telemetry,
        }
    }

    /// Whether this node serves, and who leads.
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
        // From here on every line of the log, the claim in the replicated log and the error carry this name.
        let id = self.handle.next_request();
        let span = tracing::info_span!("sign", request = %id);
        let serve = self.sign_as(id, caller, request).instrument(span);
        let result = match &self.telemetry {
            Some(telemetry) => {
                let refused = |result: &Result<SignReply, RpcError>| {
                    result.as_ref().err().map(|error| error.code.name())
                };
                telemetry.traced(serve, refused).await
            }
            None => serve.await,
        };
        result.map_err(|error| error.with_request(id))
    }

    async fn sign_as(
        &self,
        id: RequestId,
        caller: &Caller,
        request: SignRequest,
    ) -> Result<SignReply, RpcError> {
        let started = Instant::now();
        telemetry::fact("signonce.request", id);
        let client = self.enter(caller);
        let known = client.as_ref().ok().map(|client| client.id);
        let admitted = client.and_then(|client| {
            self.spend(&client, started)?;
            self.admit(id, client, &request)
        });
        let (work, result) = match admitted {
            Ok(work) => {
                telemetry::fact("signonce.client", &work.client.name);
                telemetry::fact("signonce.key", work.key);
                telemetry::fact("signonce.class", work.payload.class().name());
                let result = match work.payload.duty().cloned() {
                    Some(duty) => self.sign_after_echo(&work, duty, request.last_signed.as_ref()).await,
                    None => self.sign_free(&work).await,
                };
                if let Err(error) = &result {
                    log_refusal(&work, error);
                }
                (Some((work.payload.class(), work.key)), result)
            }
            Err(error) => {
                self.note_refused(id, caller, Some(request.key), &error);
                let (client, code) = (caller, error.code.name());
                // All strangers together: what their certificates say could be anything.
                NOT_ADMITTED.line((known, code), |left_out| {
                    tracing::info!(%client, key = %request.key, code, left_out, "not signed: {}", error.message);
                });
                (None, Err(error))
            }
        };
        let outcome =
            result.as_ref().map_or_else(|error| Outcome::Refused(error.code), |r| Outcome::Signed(r.verdict));
        self.metrics.served(Method::Sign, work.map(|(class, _)| class), outcome, started.elapsed());
        if let Some(id) = known {
            let outcome = match &result {
                Ok(reply) => {
                    RequestOutcome::Signed(work.and_then(|(_, key)| Some((key, reply.duty.as_ref()?))))
                }
                Err(error) => RequestOutcome::Refused(error.code),
            };
            self.activity.note(id, caller.certificate().map(|peer| peer.spki.0), unix_ms(), outcome);
        }
        result
    }

    /// The client that asks.
    fn enter(&self, caller: &Caller) -> Result<ClientView, RpcError> {
        let client = self.handle.read(|state| lookup::client(state, caller));
        client.map_err(|error| self.if_caught_up(error))
    }

    /// One request of what the client may ask of this node.
    fn spend(&self, client: &ClientView, now: Instant) -> Result<(), RpcError> {
        let spent = self.limiter.request(client.id, client.limits, now);
        spent.map_err(|too_much| errors::too_much(client, too_much))
    }

    /// Takes what answering costs, in plain requests, off what the client may ask of this node. For work that writes
    /// no refusals down itself.
    ///
    /// # Errors
    /// `forbidden` for a certificate that is nobody's, `rateLimited`.
    pub fn pay(&self, caller: &Caller, cost: u32) -> Result<(), RpcError> {
        let client = self.enter(caller)?;
        let paid = self.limiter.work(client.id, client.limits, cost, Instant::now());
        paid.map_err(|too_much| {
            self.activity.note(
                client.id,
                caller.certificate().map(|peer| peer.spki.0),
                unix_ms(),
                RequestOutcome::Refused(ErrorCode::RateLimited),
            );
            errors::too_much(&client, too_much)
        })
    }

    /// The keys this client may use. A long list costs more than one request.
    ///
    /// # Errors
    /// `forbidden` for a certificate that is nobody's, `rateLimited`.
    pub fn keys(&self, caller: &Caller) -> Result<Vec<KeyInfo>, RpcError> {
        self.client(caller)?;
        let list = self.lists.now(&self.handle, caller);
        self.pay(caller, list.cost())?;
        Ok(list.keys.values().cloned().collect())
    }

    /// Lets the client follow its keys, and takes what the first list costs.
    ///
    /// # Errors
    /// `forbidden` for a certificate that is nobody's, `rateLimited`.
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
    /// `forbidden` for a certificate that is nobody's.
    pub fn client(&self, caller: &Caller) -> Result<ClientId, RpcError> {
        let client = self.handle.read(|state| lookup::client(state, caller));
        client.map(|client| client.id).map_err(|error| self.if_caught_up(error))
    }

    /// Reads the payload and finds chain and key.
    fn admit(&self, id: RequestId, client: ClientView, request: &SignRequest) -> Result<Work, RpcError> {
        let SignRequest { chain, key: public, payload, last_signed: _ } = request;
        let began = Instant::now();
        let known = self.handle.read(|state| lookup::chain(state, chain).cloned());
        let chain = known.map_err(|error| self.if_caught_up(error))?;
        let looked = began.elapsed();
        // A header may have a megabyte: it is read with the registry unlocked.
        let payload = self.metrics.timed(Stage::Decode, || {
            let raw = payload.read().map_err(|error| errors::malformed(public, error.message))?;
            raw.decode(&chain).map_err(|error| errors::malformed(public, error))
        })?;
        let began = Instant::now();
        let work = (payload.class(), payload.key_types());
        let key = self.handle.read(|state| lookup::key(state, &client, chain.genesis, public, work));
        self.metrics.stage(Stage::Rights).observe(looked + began.elapsed());
        telemetry::note(Stage::Rights, began);
        let key = key.map_err(|error| self.if_caught_up(error))?;
        Ok(Work { request: id, client, key, payload })
    }

    /// A duty, once it is certain that the cluster knows what it has signed for the client before.
    async fn sign_after_echo(
        &self,
        work: &Work,
        duty: Duty,
        shown: Option<&LastSigned>,
    ) -> Result<SignReply, RpcError> {
        self.check_halted(&work.key).inspect_err(|error| self.note(work, error))?;
        if let Some(shown) = shown {
            self.check_echo(work, shown).await.inspect_err(|error| self.note(work, error))?;
        }
        self.sign_duty(work, duty).await
    }

    /// A duty: one digest, for ever.
    async fn sign_duty(&self, work: &Work, duty: Duty) -> Result<SignReply, RpcError> {
        let Work { request, client, key, payload } = work;
        let (digest, carry) = (payload.digest(), payload.carry());
        let claim = Claim { key: *key, client: client.id, duty, digest, carry, time_ms: unix_ms() };
        if let Some(decision) = self.handle.known(&claim) {
            // A repeat gives out what is in the audit already. A refusal is another attempt, which the log does not
            // get to see.
            let granted = self.judge(&claim, decision).inspect_err(|error| self.note(work, error))?;
            self.open(*key).await?;
            return self.sign_granted(work, claim, granted, None);
        }
        self.gate.check()?;
        if claim.duty.slot().is_some() {
            self.gate.check_clock()?;
        }
        self.refused_here(work, &claim).inspect_err(|error| self.note(work, error))?;
        self.open(*key).await?;
        let place = self.may_claim(client).inspect_err(|error| self.note(work, error))?;
        // The claim is polled, and so on its way, before the signature is made. Where cores are few, whoever sends a
        // lone claim on goes first: disks and peers work while this thread signs, but not the other way round.
        let signing = async {
            if place.alone {
                std::thread::yield_now();
            }
            self.make(key, payload)
        };
        let deciding = async {
            let began = Instant::now();
            let decided = self.handle.claim_as(*request, claim.clone(), self.timeout).await;
            telemetry::note(Stage::Commit, began);
            decided
        };
        let (decided, signature) = futures::future::join(deciding, signing).await;
        let decision = decided
            .map_err(|error| errors::undecided(key, &claim.duty, error, self.gate.leader_hint()))
            .inspect_err(|error| self.note(work, error))?;
        self.metrics.timed(Stage::Reply, || {
            let granted = self.judge(&claim, decision)?;
            self.sign_granted(work, claim, granted, Some(signature))
        })
    }

    /// A claim that the log would refuse today, though perhaps not tomorrow, is refused from this node's own state: it
    /// uses nothing up, and would only leave a record. The log is asked now and then all the same, as this node may lag
    /// behind what lets the claim pass.
    fn refused_here(&self, work: &Work, claim: &Claim) -> Result<(), RpcError> {
        let ClientView { id, limits, .. } = work.client;
        let Some(refusal) = self.handle.would_refuse(claim) else { return Ok(()) };
        if self.limiter.doubt(id, limits, Instant::now()) {
            return Ok(());
        }
        // A node that is behind does not know.
        self.gate.check_caught_up()?;
        Err(errors::refused(claim, &refusal, |id| self.client_name(id)))
    }

    /// A place for one claim of the client, which leaves a record.
    fn may_claim(&self, client: &ClientView) -> Result<Place<'_>, RpcError> {
        let ClientView { id, name: _, limits } = client;
        let place = self.limiter.claim(*id, *limits);
        let place = place.and_then(|place| self.limiter.record(*id, *limits, Instant::now()).map(|()| place));
        place.map_err(|too_much| errors::too_much(client, too_much))
    }

    /// The signature, which nothing can read before its duty is granted.
    fn make(&self, key: &KeyId, payload: &Payload) -> Result<Unreleased, SignError> {
        self.metrics.timed(Stage::Sign, || self.keyring.sign(key, payload))
    }

    /// Signs what was granted and lets it out: the payload as it was signed the first time. `made` is the signature of
    /// the payload as it came, where it was made meanwhile.
    fn sign_granted(
        &self,
        work: &Work,
        claim: Claim,
        granted: Granted,
        made: Option<Result<Unreleased, SignError>>,
    ) -> Result<SignReply, RpcError> {
        let Work { key, payload, .. } = work;
        if granted.carry == claim.carry {
            let signature = made.unwrap_or_else(|| self.make(key, payload));
            return self.release(claim, signature, granted);
        }
        let first = payload.as_first_signed(&granted.carry).map_err(|error| {
            RpcError::new(ErrorCode::Internal, format!("key {key}, {}: {error}", claim.duty))
        })?;
        let signature = self.make(key, &first);
        self.release(claim, signature, granted)
    }

    /// What a decision means for its claim: leave to release, with verdict and place, or a refusal.
    fn judge(&self, claim: &Claim, decision: Decision) -> Result<Granted, RpcError> {
        let Decision { at, verdict, grant } = decision;
        telemetry::fact("signonce.log_index", at);
        let (verdict, at, carry) = match verdict {
            Verdict::Granted => (SignVerdict::Granted, at, claim.carry.clone()),
            Verdict::Repeated { at, carry } => (SignVerdict::Repeated, at, carry),
            Verdict::Refused(refusal) => {
                let name_of = |id| self.client_name(id);
                return Err(errors::refused(claim, &refusal, name_of));
            }
        };
        let grant = grant.ok_or_else(|| {
            RpcError::new(
                ErrorCode::Internal,
                format!("key {}, {}: a verdict without grant", claim.key, claim.duty),
            )
        })?;
        Ok(Granted { verdict, at, carry, leave: Committed(grant) })
    }

    fn release(
        &self,
        claim: Claim,
        signature: Result<Unreleased, SignError>,
        granted: Granted,
    ) -> Result<SignReply, RpcError> {
        let Granted { verdict, at, carry, leave } = granted;
        let signed = signature.map_err(|error| errors::not_signed(&claim.key, &error))?.release(leave);
        let other = (carry != claim.carry).then(|| carry.as_bytes().to_vec().into());
        Ok(SignReply {
            signature: signed.signature.as_bytes().to_vec().into(),
            beside: signed.beside.map(|beside| beside.as_bytes().to_vec().into()),
            carry: other,
            verdict,
            duty: Some(claim.duty),
            log_index: Some(at),
            leader: self.gate.leader_hint(),
        })
    }

    /// Work that uses nothing up. It still takes a working member: one that may have lost its memory, or lost sight
    /// of the others, must not go on as if nothing had happened.
    async fn sign_free(&self, work: &Work) -> Result<SignReply, RpcError> {
        let Work { request, client, key, payload } = work;
        self.gate.check()?;
        self.open(*key).await?;
        let leave = FreeDuty::of(payload).ok_or_else(|| {
            RpcError::new(ErrorCode::Internal, format!("key {key}: {} is not free", payload.class()))
        })?;
        let signature = self.make(key, payload);
        let signed = signature.map_err(|error| errors::not_signed(key, &error))?.release(leave);
        let asked = Asked { client: Some(client.id), key: Some(key.public), request: *request };
        self.notes.free(asked, payload.class(), unix_ms());
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

    /// Notes a refusal that does not come out of the log.
    fn note(&self, work: &Work, error: &RpcError) {
        let Work { request, client, key, payload } = work;
        let asked = Asked { client: Some(client.id), key: Some(key.public), request: *request };
        self.notes.refused(asked, error, Some(payload.digest()), unix_ms());
    }

    /// Notes a refusal of somebody who got no further than the registry.
    fn note_refused(&self, id: RequestId, caller: &Caller, key: Option<PublicKey>, error: &RpcError) {
        let client = self.handle.read(|state| caller.client(state).map(|client| client.id));
        self.notes.refused(Asked { client, key, request: id }, error, None, unix_ms());
    }

    /// Makes sure that the key is open on this node.
    async fn open(&self, key: KeyId) -> Result<(), RpcError> {
        self.sync.ensure(key).await.map_err(|why| errors::locked(&key, &why, self.gate.leader_hint()))
    }

    /// A "no" out of the registry is worth something only from a node that knows the present registry.
    fn if_caught_up(&self, error: RpcError) -> RpcError {
        self.gate.check_caught_up().err().unwrap_or(error)
    }

    fn client_name(&self, id: ClientId) -> String {
        let name = self.handle.read(|state| state.client(id).map(|client| client.name.clone()));
        name.unwrap_or_else(|| id.to_string())
    }
}

/// Leave to release, and what to tell with it.
struct Granted {
    verdict: SignVerdict,
    at: LogIndex,
    /// What is signed beside the statement: that of the first time.
    carry: Carry,
    leave: Committed,
}

/// Refusals are where attacks and broken setups show first. Never logs payload bytes or signatures.
fn log_refusal(work: &Work, error: &RpcError) {
    let Work { request: _, client, key, payload } = work;
    let (client, code) = (&client.name, error.code.name());
    NOT_SIGNED.line((work.client.id, key.key_type, code), |left_out| {
        if error.code == ErrorCode::Equivocation {
            tracing::warn!(client, %key, code, left_out, payload = payload.summary(), "refused: {}", error.message);
        } else {
            tracing::info!(client, %key, code, left_out, "not signed: {}", error.message);
        }
    });
}
