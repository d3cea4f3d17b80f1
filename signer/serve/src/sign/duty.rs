//! Signing a duty: the claim is proposed, the signature is made meanwhile and released against the grant.

use super::{Signer, Work, errors, journal::Entry, lookup::ClientView};
use crate::telemetry;
use signonce_cluster::{Decision, Grant, Stage, TimelyClaim};
use signonce_core::{Claim, Verdict};
use signonce_keys::{ReleaseToken, SignError, Unreleased};
use signonce_protocol::{
    Carry, Digest, KeyId, LogIndex, Payload,
    rpc::{ErrorCode, RpcError, SignReply, SignVerdict},
};
use std::time::Instant;

/// Permission to release the signature of one claim: the cluster's grant for that very claim.
struct Committed(Grant);

impl ReleaseToken for Committed {
    fn covers(&self, key: &KeyId, digest: &Digest, carry: &Carry) -> bool {
        self.0.covers(key, digest, carry)
    }
}

/// Permission to release, and the facts for the answer.
struct Granted {
    verdict: SignVerdict,
    at: LogIndex,
    /// What is signed beside the statement: the carry of the first time.
    carry: Carry,
    leave: Committed,
}

impl Signer {
    /// Has the log decide a claim, and releases the signature if it is granted.
    pub(super) async fn claim(
        &self,
        entry: &Entry<'_>,
        work: &Work,
        claim: TimelyClaim,
    ) -> Result<SignReply, RpcError> {
        let Work { client, key, payload } = work;
        let place = self.may_claim(client).inspect_err(|error| entry.refused_work(work, error))?;
        // The claim is polled, and so on its way, before the signature is made. Where cores are few, the threads that
        // send a lone claim on go first: disks and peers can work while this thread signs, but not the other way round.
        let signing = async {
            if place.alone {
                std::thread::yield_now();
            }
            self.make(key, payload)
        };
        let deciding = async {
            let began = Instant::now();
            let decided = self.handle.claim_as(entry.id, claim.clone(), self.timeout).await;
            telemetry::note(Stage::Commit, began);
            decided
        };
        let (decided, signature) = futures::future::join(deciding, signing).await;
        let claim = claim.into_claim();
        let decision = decided
            .map_err(|why| errors::undecided(key, &claim.duty, why, self.gate.leader_hint()))
            .inspect_err(|error| entry.refused_work(work, error))?;
        self.observers.metrics.timed(Stage::Reply, || {
            let granted = self.judge(&claim, decision)?;
            self.sign_granted(work, claim, granted, Some(signature))
        })
    }

    /// Answers with what was decided before. A repeat has its audit record already; a refusal is another attempt, which
    /// the log does not see.
    pub(super) async fn answer_known(
        &self,
        entry: &Entry<'_>,
        work: &Work,
        claim: Claim,
        decision: Decision,
    ) -> Result<SignReply, RpcError> {
        let granted = self.judge(&claim, decision).inspect_err(|error| entry.refused_work(work, error))?;
        self.open(work.key).await?;
        self.sign_granted(work, claim, granted, None)
    }

    /// Refuses a claim from this node's own state if the log would refuse it today, though perhaps not tomorrow: it
    /// uses nothing up and would only leave a record. The log is still asked now and then, as this node may lag behind
    /// the entry that lets the claim pass.
    pub(super) fn unless_in_doubt(&self, client: &ClientView, refusal: RpcError) -> Result<(), RpcError> {
        if self.limiter.doubt(client.id, client.limits, Instant::now()) {
            return Ok(());
        }
        // A node that is behind cannot tell.
        self.gate.check_caught_up()?;
        Err(refusal)
    }

    /// The signature, which nothing can read before its duty is granted.
    pub(super) fn make(&self, key: &KeyId, payload: &Payload) -> Result<Unreleased, SignError> {
        self.observers.metrics.timed(Stage::Sign, || self.keyring.sign(key, payload))
    }

    /// Signs what was granted, exactly as it was signed the first time, and releases it. `made` is the signature of the
    /// payload as it came, if it was made meanwhile.
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

    /// What a decision means for its claim: permission to release, with verdict and log entry, or a refusal.
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
                format!("key {}, {}: a verdict without a grant", claim.key, claim.duty),
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
}
