//! One request of the node from beginning to end: check past refusals, find the payload, ask, judge, verify, count.
//!
//! Every signature and VRF that comes out of here was verified against the bytes that the node gave. A caller is held
//! up no longer than its deadline, and not at all while no signer serves. The one exception is the GRANDPA vote of a
//! node whose voter would end without a signature: it is asked for until it is answered, refused for good, or the node
//! stops. The gate is told of every denied vote, whatever the reason.

use crate::{
    LOG,
    ask::{
        GENERATE_INTENT, NodeSide, Signers, Unclear, UnsignedVotes, VRF_INTENT, VRF_WITHIN, deadline,
        payload_for, sign_params, vote_place, vrf_params,
    },
    cache::{Keys, Mine},
    gate::Preflight,
    link::Link,
    metrics::{Metrics, Outcome},
    refused::{Before, Refused, Unanswered},
    report::{Condition, Report},
    verify,
    worker::{NoResult, Worker},
};
use codec::Decode;
use signonce_protocol::{
    ChainId, Digest, DutyClass, KeyId, KeyType, PublicKey, RawPayload, Scheme, ToSign,
    client::ClientError,
    rpc::{ChainRef, ErrorCode, GenerateKeyParams, GenerateKeyReply, RpcError, SignParams, SignReply},
};
use signonce_substrate::{BABE_VRF, GRANDPA};
use signonce_substrate::{Kind, VrfReply, VrfRequest};
use sp_core::sr25519::{
    self,
    vrf::{VrfSignData, VrfSignature},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// VRF outputs kept: BABE asks twice for a slot, and a slot later for another one.
const VRFS_KEPT: usize = 16;
/// How long the first attempt for a GRANDPA vote may take, over all signers: half of it is the time a frozen leader
/// costs.
const VOTE_FIRST_TRY: Duration = Duration::from_secs(2);
/// How long later attempts may take, each twice as long as the one before, so that slow signers get to answer.
const VOTE_LAST_TRY: Duration = Duration::from_secs(8);
/// The pause between two attempts for a vote.
const VOTE_AGAIN: Duration = Duration::from_millis(250);
/// How long a vote that is "not granted now" is tried for. A longer time would keep the node from following finality
/// while an operator is asleep.
const VOTE_PATIENCE: Duration = Duration::from_secs(30);
/// How long the gate's question about a recorded vote may take.
const PREFLIGHT_WITHIN: Duration = Duration::from_secs(5);
/// How long a VRF that nobody waits for may take.
const BACKGROUND_VRF_WITHIN: Duration = Duration::from_secs(2);
/// How long making a key may take: it is an entry in the cluster's log and a file on every signer.
const GENERATE_WITHIN: Duration = Duration::from_secs(5);

/// Why a request of the node was not fulfilled: which key and what for, what happened, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denial {
    /// The node stops.
    #[error("the node stops")]
    Stopped,
    /// No signer answered in time.
    #[error("{key}: {intent}: {why}; see the log for the state of the signers")]
    NoAnswer { key: KeyId, intent: &'static str, why: String },
    /// The signers refused, or did not grant it now.
    #[error("{key}: {intent}: {error}")]
    Refused { key: KeyId, intent: &'static str, error: RpcError },
    /// Refused a moment ago, for the same bytes.
    #[error("{key}: {intent}: refused before: {why}")]
    RefusedBefore { key: KeyId, intent: &'static str, why: String },
    /// It is not known what would be signed.
    #[error("{key}: {why}")]
    Unclear { key: KeyId, why: Unclear },
    /// It is not known which slot the VRF is for.
    #[error(
        "{key}: {VRF_INTENT}: the slot and epoch of this VRF are not known; the node must call RemoteSigner::watch_epochs, and knows a new epoch a moment after its first block"
    )]
    UnknownEpoch { key: KeyId },
    /// The client lacks a right.
    #[error("{key}: this client has no right to {class}; an operator can grant it with `signonce clients`")]
    NoRight { key: KeyId, class: DutyClass },
    /// The signature is wrong.
    #[error(
        "{key}: {intent}: the signature from {signer} does not hold and was thrown away; check what runs at that address"
    )]
    BadSignature { key: KeyId, intent: &'static str, signer: String },
}

impl Denial {
    /// Whether asking again soon would end the same way. A missing answer is no such sign.
    fn lasts(&self) -> bool {
        match self {
            Self::Stopped | Self::NoAnswer { .. } => false,
            Self::Refused { error, .. } => error.code != ErrorCode::RateLimited,
            Self::RefusedBefore { .. }
            | Self::Unclear { .. }
            | Self::UnknownEpoch { .. }
            | Self::NoRight { .. }
            | Self::BadSignature { .. } => true,
        }
    }
}

impl From<Denial> for sp_keystore::Error {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Stopped => Self::Unavailable,
            other => Self::Other(other.to_string()),
        }
    }
}

/// Asks for everything the node needs. Shared.
pub(crate) struct Asker {
    pub(crate) chain: ChainId,
    pub(crate) signers: Arc<dyn Signers>,
    pub(crate) worker: Worker,
    pub(crate) keys: Arc<Keys>,
    pub(crate) node: Arc<dyn NodeSide>,
    pub(crate) link: Arc<Link>,
    pub(crate) report: Arc<Report>,
    pub(crate) metrics: Metrics,
    pub(crate) refused: Refused,
    pub(crate) vrfs: Arc<Vrfs>,
    pub(crate) votes: UnsignedVotes,
}

/// The VRF outputs of the last slots.
#[derive(Default)]
pub(crate) struct Vrfs {
    kept: Mutex<VecDeque<(KeyId, VrfRequest, VrfSignature)>>,
    /// Whether one is being asked for in the background.
    asking: AtomicBool,
}

impl Vrfs {
    fn find(&self, key: &KeyId, request: &VrfRequest) -> Option<VrfSignature> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(k, r, _)| k == key && r == request).map(|(_, _, signature)| signature.clone())
    }

    fn keep(&self, key: KeyId, request: VrfRequest, signature: VrfSignature) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((key, request, signature));
        kept.truncate(VRFS_KEPT);
    }
}

impl Asker {
    /// A verified signature of the key over the bytes.
    pub(crate) fn sign(&self, mine: &Mine, to_sign: ToSign<'_>) -> Result<Vec<u8>, Denial> {
        let result = self.signed(mine, to_sign);
        if mine.id.key_type == GRANDPA
            && let Some(at) = vote_place(to_sign.as_bytes())
        {
            match &result {
                Ok(_) => self.node.voted(&mine.id.public, at),
                Err(denial) if denial.lasts() => self.node.vote_refused(&mine.id.public, at),
                Err(_) => {}
            }
        }
        result
    }

    fn signed(&self, mine: &Mine, to_sign: ToSign<'_>) -> Result<Vec<u8>, Denial> {
        let key = mine.id;
        let payload = self.payload(mine, to_sign)?;
        let kind = Kind::try_from(payload.kind()).expect("a keystore asks for Substrate's payloads");
        let digest = Digest::of(to_sign.as_bytes());
        let intent = kind.name();
        let within = deadline(kind, self.votes);
        let unanswered = self.check_refused(key, intent, &digest)?;
        if within.is_some() {
            self.check_answered(key, intent, unanswered)?;
        }
        let params = sign_params(self.chain, &key, payload);
        let (result, took) = match within {
            Some(time) => {
                let asking = self.signers.sign(params, time);
                self.wait(intent, within, asking)
            }
            None => self.wait(intent, None, self.vote(key, params)),
        };
        let reply = self.judge(key, intent, digest, result, took)?;
        let SignReply { signature, beside: _, carry: _, verdict: _, duty: _, log_index: _, leader: _ } =
            reply;
        self.verified(mine, intent, to_sign, signature.0)
    }

    /// Refuses what the signers refused before. If nobody answered it before, passes that on to `check_answered`.
    fn check_refused(
        &self,
        key: KeyId,
        intent: &'static str,
        digest: &Digest,
    ) -> Result<Option<Unanswered>, Denial> {
        match self.refused.find(&key, digest) {
            Some(Before::Refused(why)) => {
                self.metrics.request(intent, Outcome::RefusedBefore);
                Err(Denial::RefusedBefore { key, intent, why })
            }
            Some(Before::NotAnswered(unanswered)) => Ok(Some(unanswered)),
            None => Ok(None),
        }
    }

    /// Answers at once that there is no signature, if none can be had: no signer serves, or nobody answered this very
    /// question a moment ago. The node loses what it would lose after the deadline.
    fn check_answered(
        &self,
        key: KeyId,
        intent: &'static str,
        unanswered: Option<Unanswered>,
    ) -> Result<(), Denial> {
        let why = if self.link.is_out() {
            "no signer serves".to_owned()
        } else {
            match unanswered {
                Some(Unanswered { why, outages }) if outages == self.link.outages() => {
                    format!("not answered a moment ago: {why}")
                }
                Some(_) | None => return Ok(()),
            }
        };
        Err(self.unreachable(key, intent, why))
    }

    /// The error for a request that is not made, as it would be in vain.
    fn unreachable(&self, key: KeyId, intent: &'static str, why: String) -> Denial {
        self.metrics.request(intent, Outcome::Unreachable);
        self.metrics.seconds(intent).observe(0.0);
        Denial::NoAnswer { key, intent, why }
    }

    /// The payload to ask for; errors are counted and logged.
    fn payload(&self, mine: &Mine, to_sign: ToSign<'_>) -> Result<RawPayload, Denial> {
        let key = mine.id;
        let payload = match payload_for(&key, to_sign, &*self.node) {
            Ok(payload) => payload,
            Err(why) => {
                self.metrics.request(key.key_type.name(), Outcome::NoPreimage);
                self.report.begin(Condition::NoPreimage(key.key_type), || format!("{key}: {why}"));
                return Err(Denial::Unclear { key, why });
            }
        };
        self.check_right(mine, payload.kind().class(), payload.kind().name())?;
        Ok(payload)
    }

    fn check_right(&self, mine: &Mine, class: DutyClass, intent: &'static str) -> Result<(), Denial> {
        let no_right = Condition::NoRight(mine.id, class);
        if mine.may(class) {
            self.report.end(&no_right, || format!("{}: this client has the right to {class} now", mine.id));
            return Ok(());
        }
        self.metrics.request(intent, Outcome::NoRight);
        let denial = Denial::NoRight { key: mine.id, class };
        self.report.begin(no_right, || denial.to_string());
        Err(denial)
    }

    /// Waits for the signers; returns how long that took too.
    fn wait<T: Send + 'static>(
        &self,
        intent: &'static str,
        within: Option<Duration>,
        asking: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> (Result<Result<T, ClientError>, NoResult>, Duration) {
        self.metrics.call(intent);
        let begun = Instant::now();
        let result = self.worker.run(within, asking);
        let took = begun.elapsed();
        self.metrics.seconds(intent).observe(took.as_secs_f64());
        (result, took)
    }

    /// Asks for one vote until it is answered or refused for good.
    fn vote(
        &self,
        key: KeyId,
        params: SignParams,
    ) -> impl Future<Output = Result<SignReply, ClientError>> + Send + 'static {
        let (signers, link, keys) = (self.signers.clone(), self.link.clone(), self.keys.clone());
        async move {
            let mut not_granted_since: Option<Instant> = None;
            let mut within = VOTE_FIRST_TRY;
            loop {
                let error = match signers.sign(params.clone(), within).await {
                    Ok(reply) => return Ok(reply),
                    Err(error) => error,
                };
                within = (within * 2).min(VOTE_LAST_TRY);
                match &error {
                    ClientError::Refused(refusal) if is_denial(refusal.code) => return Err(error),
                    ClientError::Refused(refusal) => {
                        let since = *not_granted_since.get_or_insert_with(Instant::now);
                        let waits = refusal.code == ErrorCode::RateLimited || since.elapsed() < VOTE_PATIENCE;
                        if !waits || !keys.has(&key) {
                            return Err(error);
                        }
                    }
                    _ => {
                        not_granted_since = None;
                        link.missed();
                    }
                }
                tokio::time::sleep(VOTE_AGAIN).await;
            }
        }
    }

    /// Judges an answer: counts it, logs what is new about it, and remembers refusals.
    fn judge<T>(
        &self,
        key: KeyId,
        intent: &'static str,
        digest: Digest,
        result: Result<Result<T, ClientError>, NoResult>,
        took: Duration,
    ) -> Result<T, Denial> {
        let no_answer = |why: String| {
            self.refused.not_answered(key, digest, why.clone(), self.link.outages());
            self.link.missed();
            self.metrics.request(intent, Outcome::NoAnswer);
            Err(Denial::NoAnswer { key, intent, why })
        };
        match result {
            Ok(Ok(reply)) => {
                self.link.answered(took, self.signers.preferred());
                Ok(reply)
            }
            Ok(Err(ClientError::Refused(error))) => {
                self.link.answered(took, self.signers.preferred());
                Err(self.refusal(key, intent, digest, error))
            }
            Ok(Err(error)) => no_answer(error.to_string()),
            Err(NoResult::Late) => no_answer("no answer in time".into()),
            Err(NoResult::Stopped) => {
                self.metrics.request(intent, Outcome::Stopped);
                Err(Denial::Stopped)
            }
        }
    }

    fn refusal(&self, key: KeyId, intent: &'static str, digest: Digest, error: RpcError) -> Denial {
        self.metrics.refusal(error.code.name());
        let denial = Denial::Refused { key, intent, error };
        let Denial::Refused { error, .. } = &denial else { return denial };
        if is_final(error.code) {
            self.metrics.request(intent, Outcome::Refused);
            if self.refused.for_good(key, digest, error.to_string()) {
                log::warn!(target: LOG, "{denial}");
            }
            return denial;
        }
        self.metrics.request(intent, Outcome::NotYet);
        if error.code == ErrorCode::RateLimited {
            // That says nothing about the payload.
            self.refused.not_answered(key, digest, error.to_string(), self.link.outages());
        } else {
            self.refused.for_now(key, digest, error.to_string());
        }
        match error.code {
            ErrorCode::SlotOutOfRange => self.report.begin(Condition::ClockSkew, || {
                format!("{denial}; check the time service of this node and of the signers. No block is sealed until they agree")
            }),
            code => self.report.begin(Condition::Denied(key, code), || denial.to_string()),
        };
        denial
    }

    fn verified(
        &self,
        mine: &Mine,
        intent: &'static str,
        to_sign: ToSign<'_>,
        signature: Vec<u8>,
    ) -> Result<Vec<u8>, Denial> {
        if verify::signature_holds(&mine.id, mine.scheme, to_sign, &signature) {
            self.metrics.request(intent, Outcome::Ok);
            self.report.signed(&mine.id);
            return Ok(signature);
        }
        Err(self.bad_signature(mine.id, intent))
    }

    fn bad_signature(&self, key: KeyId, intent: &'static str) -> Denial {
        self.metrics.request(intent, Outcome::BadSignature);
        let denial = Denial::BadSignature { key, intent, signer: self.signers.preferred() };
        self.report.begin(Condition::BadSignature(key), || denial.to_string());
        denial
    }

    /// The verified VRF of a slot.
    pub(crate) fn vrf(
        &self,
        mine: &Mine,
        public: &sr25519::Public,
        data: &VrfSignData,
    ) -> Result<VrfSignature, Denial> {
        let key = mine.id;
        self.check_right(mine, BABE_VRF, VRF_INTENT)?;
        let Some(request) = self.node.vrf(data) else {
            self.metrics.request(VRF_INTENT, Outcome::NoPreimage);
            let denial = Denial::UnknownEpoch { key };
            self.report.begin(Condition::UnknownEpoch, || denial.to_string());
            return Err(denial);
        };
        self.report.end(&Condition::UnknownEpoch, || "the epoch of VRFs is known again".into());
        if let Some(kept) = self.vrfs.find(&key, &request)
            && verify::vrf_holds(public, data, &kept)
        {
            self.metrics.request(VRF_INTENT, Outcome::Cached);
            return Ok(kept);
        }
        let signature = read_vrf(&self.fresh_vrf(key, request)?);
        match signature.filter(|signature| verify::vrf_holds(public, data, signature)) {
            Some(signature) => {
                self.metrics.request(VRF_INTENT, Outcome::Ok);
                self.vrfs.keep(key, request, signature.clone());
                Ok(signature)
            }
            None => Err(self.bad_signature(key, VRF_INTENT)),
        }
    }

    fn fresh_vrf(&self, key: KeyId, request: VrfRequest) -> Result<VrfReply, Denial> {
        let (intent, digest) = (VRF_INTENT, vrf_digest(&request));
        let unanswered = self.check_refused(key, intent, &digest)?;
        if self.link.is_down() {
            self.vrf_in_background(key, request);
            let why = "no signer serves, so BABE is not held up for this slot".into();
            return Err(self.unreachable(key, intent, why));
        }
        self.check_answered(key, intent, unanswered)?;
        let asking = self.signers.vrf(vrf_params(self.chain, &key, request), VRF_WITHIN);
        let (result, took) = self.wait(intent, Some(VRF_WITHIN), asking);
        self.judge(key, intent, digest, result, took)
    }

    /// Asks although no signer served a moment ago; the answer is there when BABE asks again, and shows that they
    /// serve. One at a time.
    fn vrf_in_background(&self, key: KeyId, request: VrfRequest) {
        if self.vrfs.asking.swap(true, Ordering::SeqCst) {
            return;
        }
        let (signers, link, vrfs) = (self.signers.clone(), self.link.clone(), self.vrfs.clone());
        let params = vrf_params(self.chain, &key, request);
        self.metrics.call(VRF_INTENT);
        self.worker.spawn(async move {
            let begun = Instant::now();
            // Verified when it is used.
            if let Ok(reply) = signers.vrf(params, BACKGROUND_VRF_WITHIN).await {
                link.answered(begun.elapsed(), signers.preferred());
                if let Some(signature) = read_vrf(&reply) {
                    vrfs.keep(key, request, signature);
                }
            }
            vrfs.asking.store(false, Ordering::SeqCst);
        });
    }

    /// Whether the signers sign a vote that the database says was cast. Called on the gate's thread.
    pub(crate) fn preflight(&self, public: &PublicKey, vote: Vec<u8>) -> Preflight {
        let key = KeyId { key_type: GRANDPA, public: *public };
        let Some(mine) = self.keys.find(&key).filter(|_| !self.link.is_out()) else {
            return Preflight::Unknown;
        };
        let params = sign_params(self.chain, &key, RawPayload::new(Kind::GrandpaVote.into(), vote.clone()));
        let intent = Kind::GrandpaVote.name();
        let asking = self.signers.sign(params, PREFLIGHT_WITHIN);
        let (result, took) = self.wait(intent, Some(PREFLIGHT_WITHIN), asking);
        let signature = match self.judge(key, intent, Digest::of(&vote), result, took) {
            Ok(reply) => reply.signature.0,
            Err(Denial::Refused { error, .. }) if is_final(error.code) => return Preflight::Refused,
            Err(_) => return Preflight::Unknown,
        };
        match self.verified(&mine, intent, ToSign::Message(&vote), signature) {
            Ok(_) => Preflight::Signed,
            Err(_) => Preflight::Unknown,
        }
    }

    /// A new key of the type, already usable when this returns. The error is readable text.
    pub(crate) fn generate(&self, key_type: KeyType, scheme: Scheme) -> Result<KeyId, String> {
        if key_type.schemes()[0] != scheme {
            return Err(format!(
                "the signers make {} keys of type {key_type}, not {scheme}",
                key_type.schemes()[0]
            ));
        }
        if self.link.is_out() {
            self.metrics.request(GENERATE_INTENT, Outcome::Unreachable);
            return Err("no signer serves; see the log for why".into());
        }
        let params = GenerateKeyParams { chain: ChainRef::Id(self.chain), key_type };
        let asking = self.signers.generate(params, GENERATE_WITHIN);
        let (result, took) = self.wait(GENERATE_INTENT, Some(GENERATE_WITHIN), asking);
        let reply = match result {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => return Err(self.not_generated(error, took)),
            Err(NoResult::Late) => return Err("no answer from the signers in time".into()),
            Err(NoResult::Stopped) => return Err("the node stops".into()),
        };
        self.link.answered(took, self.signers.preferred());
        let GenerateKeyReply { public, key_type: made_type, scheme: made_scheme } = reply;
        let fits =
            (made_type, made_scheme, public.as_bytes().len()) == (key_type, scheme, scheme.public_len());
        if !fits {
            return Err(format!(
                "asked for a {scheme} key of type {key_type}, the signers answered {made_type}:{public} ({made_scheme})"
            ));
        }
        let key = KeyId { key_type, public };
        self.keys.made(key, scheme);
        self.metrics.request(GENERATE_INTENT, Outcome::Ok);
        Ok(key)
    }

    fn not_generated(&self, error: ClientError, took: Duration) -> String {
        let outcome = match &error {
            ClientError::Refused(refusal) => {
                self.link.answered(took, self.signers.preferred());
                self.metrics.refusal(refusal.code.name());
                Outcome::Refused
            }
            ClientError::NotReady { .. } | ClientError::UnknownOutcome { .. } => {
                self.link.missed();
                Outcome::NoAnswer
            }
            _ => Outcome::NoAnswer,
        };
        self.metrics.request(GENERATE_INTENT, outcome);
        error.to_string()
    }
}

/// Whether a refusal with this code is permanent for the same bytes, whatever time passes and operators do.
const fn is_final(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Equivocation | ErrorCode::BelowWatermark | ErrorCode::MalformedPayload)
}

/// Whether it is pointless to ask for a vote again soon.
const fn is_denial(code: ErrorCode) -> bool {
    matches!(code.kind(), signonce_protocol::rpc::ErrorKind::Refused)
}

/// The digest by which VRF refusals are remembered.
fn vrf_digest(request: &VrfRequest) -> Digest {
    let VrfRequest { slot, epoch_index, randomness } = request;
    let parts = [b"vrf".as_slice(), &slot.0.to_le_bytes(), &epoch_index.0.to_le_bytes(), &randomness.0];
    Digest::of(&parts.concat())
}

fn read_vrf(reply: &VrfReply) -> Option<VrfSignature> {
    let VrfReply { pre_output, proof } = reply;
    VrfSignature::decode(&mut [pre_output.0.as_slice(), proof.0.as_slice()].concat().as_slice()).ok()
}
