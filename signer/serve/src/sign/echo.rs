//! Whole-cluster rollback: clients show the latest signature they were given, and a cluster that has forgotten it
//! stops the key instead of signing something else.
//!
//! Every guard against lost memory asks other members; if all of them were set back together (three machines from
//! yesterday's images), only somebody outside can know. A client that shows a signature is such a witness: the
//! signature left this cluster after its claim was committed, so every state since then must know it, or have a floor
//! past it.
//!
//! *What is trusted.* Duty and digest alone are a hint: anybody can make them up. A key is halted only for bytes with a
//! signature under that key, which this node checks before it proposes anything; duty and digest are computed from
//! those bytes, whatever else was said. A hint that is not covered ends this request and nothing else; the client
//! library then shows the bytes and the signature.
//!
//! *Who judges.* A node whose applied state covers what is shown continues at once; in a healthy cluster that is every
//! request. A node that does not cover it may merely lag behind the node that gave the signature, so it waits a moment
//! until it has applied as much as the client was told. If that does not help, and the signature is good, it asks the
//! log: [`Change::HaltKey`] is judged where it is applied, which is after everything that was committed before the
//! client asked, on every node alike. If the state there covers the signature, the node was behind and nothing happens;
//! if not, no later entry will cover it, and the key halts. The log index is a hint for the waiting alone: the verdict
//! does not rest on it, so a restored cluster, whose log is a new one, is judged by what it knows.
//!
//! So a client can halt a key only with something that the key has really signed and the cluster does not know.

use super::{Signer, Work, errors};
use signonce_cluster::log_throttle::LogThrottle;
use signonce_core::{Change, ChangeError, ClientId, Coverage, HaltError, node_actor};
use signonce_protocol::{
    Digest, Duty, DutyClass, KeyId, LogIndex,
    rpc::{ErrorCode, LastSigned, RpcError, Signed},
};
use std::time::Duration;

/// Throttles log lines about signatures that this node does not know of: a rollback, or a client that lies.
static UNKNOWN: LogThrottle<(ClientId, KeyId)> = LogThrottle::new();

/// How long a node that is behind the client's last answer waits to catch up.
const CATCH_UP: Duration = Duration::from_millis(250);

/// Something that the key has signed, with its signature checked.
struct Proved {
    duty: Duty,
    digest: Digest,
    log_index: LogIndex,
}

impl Signer {
    /// Refuses to sign with a key if the cluster has forgotten what the client shows, after halting the key.
    ///
    /// # Errors
    /// `keyHalted`; `notReady` for a mere hint that this node does not know; or why it cannot be decided yet.
    pub(super) async fn check_echo(&self, work: &Work, shown: &LastSigned) -> Result<(), RpcError> {
        let key = work.key;
        let LastSigned { log_index, duty, digest, signed } = shown;
        if !DutyClass::key_types(duty.class()).contains(&key.key_type)
            || self.coverage(key, duty, *digest) == Coverage::Foreign
        {
            let why = format!("key {key}: lastSigned shows a {duty}, which this key does not sign");
            return Err(RpcError::new(ErrorCode::InvalidParams, why));
        }
        if self.coverage(key, duty, *digest) == Coverage::Covered {
            return Ok(());
        }
        let mut applied = self.handle.applied_watch();
        let caught_up = applied.wait_for(|applied| applied >= log_index);
        let _ = tokio::time::timeout(CATCH_UP, caught_up).await;
        if self.coverage(key, duty, *digest) == Coverage::Covered {
            return Ok(());
        }
        self.gate.check()?;
        let Some(signed) = signed else { return Err(unproved(work, shown)) };
        let proved = self.prove(work, *log_index, signed)?;
        if self.coverage(key, &proved.duty, proved.digest) == Coverage::Covered {
            return Ok(());
        }
        self.ask_the_log(work, proved).await
    }

    /// Checks that the key has signed what is shown.
    fn prove(&self, work: &Work, log_index: LogIndex, signed: &Signed) -> Result<Proved, RpcError> {
        let key = work.key;
        let Signed { payload, signature } = signed;
        let wrong = |why: String| {
            let why = format!("key {key}: what lastSigned shows as signed is not: {why}; nothing was halted");
            RpcError::new(ErrorCode::InvalidParams, why)
        };
        let known = self.handle.read(|state| {
            let found = state.key(&key)?;
            Some((found.scheme, state.registry().chain(&found.chain)?.clone()))
        });
        let (scheme, chain) = known.ok_or_else(|| wrong("the key is gone".into()))?;
        let payload = payload.decode(&chain).map_err(|error| wrong(error.to_string()))?;
        let Some(duty) = payload.duty().filter(|_| payload.key_types().contains(&key.key_type)) else {
            return Err(wrong(format!("a {} is not claimed work of this key", payload.class())));
        };
        if !signonce_keys::verify(scheme, &key.public, payload.to_sign(), &signature.0) {
            return Err(wrong(format!("the signature is not this key's over the {duty}")));
        }
        Ok(Proved { duty: duty.clone(), digest: payload.digest(), log_index })
    }

    async fn ask_the_log(&self, work: &Work, proved: Proved) -> Result<(), RpcError> {
        let Work { client, key, .. } = work;
        let Proved { duty, digest, log_index } = proved;
        let halt = Change::HaltKey { key: *key, duty: duty.clone(), digest, log_index, client: client.id };
        let (level, current) = (halt.feature_level(), self.handle.read(|state| state.feature_level()));
        if current < level {
            return Err(RpcError::new(
                ErrorCode::KeyHalted,
                format!(
                    "key {key}: this cluster does not know of the {duty} that the client was given: it was rolled \
                     back. Nothing is signed for this client. Raise the key's watermark past it (and the cluster's \
                     feature level to {level}, so that the key halts for everybody)"
                ),
            )
            .with_duty(duty));
        }
        match self.handle.change(node_actor(self.handle.node()), halt, self.timeout).await {
            Ok(Ok(done)) => {
                tracing::error!(
                    %key, client = client.name, %duty, told = %log_index, halted = %done.at,
                    "ALARM: this cluster has forgotten a signature that it gave: it was rolled back to an older state; \
                     the key is halted"
                );
                self.observers.metrics.rollbacks_seen.inc();
                Err(halted(key, &duty, log_index))
            }
            Ok(Err(ChangeError::Halt(HaltError::NothingForgotten { .. }))) => Ok(()),
            Ok(Err(ChangeError::Halt(HaltError::AlreadyHalted { .. }))) => Err(halted(key, &duty, log_index)),
            Ok(Err(refused)) => Err(RpcError::new(ErrorCode::Internal, format!("key {key}: {refused}"))),
            Err(error) => Err(errors::undecided(key, &duty, error, self.gate.leader_hint())),
        }
    }

    fn coverage(&self, key: KeyId, duty: &Duty, digest: Digest) -> Coverage {
        self.handle.read(|state| state.covers(&key, duty, digest))
    }
}

/// Stops this request, and no other, for a hint that is not covered.
fn unproved(work: &Work, shown: &LastSigned) -> RpcError {
    let Work { client, key, .. } = work;
    let LastSigned { log_index, duty, .. } = shown;
    UNKNOWN.line((client.id, *key), |left_out| {
        tracing::warn!(
            %key, client = client.name, %duty, told = %log_index, left_out,
            "a client hints at a signature that this node does not know of; it is not believed without the bytes and \
             the signature"
        );
    });
    RpcError::unproved(format_args!(
        "key {key}: this node does not know of the {duty} that lastSigned names (log entry {log_index}): it lags, \
         or the cluster was rolled back and must not sign anything else for it"
    ))
    .with_duty(duty.clone())
}

pub(super) fn halted(key: &KeyId, duty: &Duty, told: LogIndex) -> RpcError {
    RpcError::new(
        ErrorCode::KeyHalted,
        format!(
            "key {key} is halted: this cluster has forgotten the {duty} that it signed for a client (log entry \
             {told}), so it was rolled back to an older state. An operator must raise the key's watermark past \
             everything that was signed since: `signonce watermarks raise {key} --to COORDINATE` (or, if the chain can \
             never have come so far, end the halt with a second officer: `signonce watermarks lift {key}`)"
        ),
    )
    .with_duty(duty.clone())
}
