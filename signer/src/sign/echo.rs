//! Whole-cluster rollback: clients show the latest signature they were given, and a cluster that has forgotten it
//! stops the key instead of signing something else.
//!
//! Every guard against lost memory asks other members; when all of them were set back together (three machines from
//! yesterday's images), only somebody outside can know. A client that shows a signature is such a witness: the
//! signature left this cluster after its claim was committed, so every state since must know it, or have a floor past
//! it.
//!
//! *Who judges.* A node whose applied state covers what is shown goes on at once; that is every request in health. One
//! that does not may merely lag behind the node that gave the signature, so it waits a moment until it has applied as
//! much as the client was told. If that does not help, it asks the log: [`Change::HaltKey`] is judged where it is
//! applied, which is after everything that was committed before the client asked, on every node alike. If the state
//! there covers the signature, the node was behind and nothing happens; if not, no later entry will, and the key
//! halts. The place in the log is a hint for the waiting alone: the verdict does not rest on it, so a cluster that was
//! restored, whose log is a new one, is judged by what it knows.
//!
//! A client that lies can halt a key that it has the right to sign with, and no other.

use super::{Signer, Work, errors};
use signonce_core::{Change, ChangeError, Coverage};
use signonce_protocol::{
    Duty, DutyClass, KeyId, LogIndex,
    rpc::{ErrorCode, LastSigned, RpcError},
};
use std::time::Duration;

/// How long a node that is behind the client's last answer waits to catch up.
const CATCH_UP: Duration = Duration::from_millis(250);

impl Signer {
    /// Refuses work with a key that forgot what the client shows, after having had it halted.
    ///
    /// # Errors
    /// `keyHalted`, or why it cannot be told yet.
    pub(super) async fn check_echo(&self, work: &Work, shown: &LastSigned) -> Result<(), RpcError> {
        let key = work.key;
        if !DutyClass::key_types(shown.duty.class()).contains(&key.key_type)
            || self.coverage(key, shown) == Coverage::Foreign
        {
            let why = format!("key {key}: lastSigned shows a {}, which is no work of this key", shown.duty);
            return Err(RpcError::new(ErrorCode::InvalidParams, why));
        }
        if self.coverage(key, shown) == Coverage::Covered {
            return Ok(());
        }
        let mut applied = self.handle.applied_watch();
        let caught_up = applied.wait_for(|applied| *applied >= shown.log_index);
        let _ = tokio::time::timeout(CATCH_UP, caught_up).await;
        if self.coverage(key, shown) == Coverage::Covered {
            return Ok(());
        }
        self.gate.check()?;
        self.ask_the_log(work, shown).await
    }

    async fn ask_the_log(&self, work: &Work, shown: &LastSigned) -> Result<(), RpcError> {
        let Work { client, key, .. } = work;
        let LastSigned { log_index, duty, digest } = shown.clone();
        let halt = Change::HaltKey { key: *key, duty, digest, log_index, client: client.id };
        let (level, current) = (halt.feature_level(), self.handle.read(|state| state.feature_level()));
        if current < level {
            return Err(RpcError::new(
                ErrorCode::KeyHalted,
                format!(
                    "key {key}: this cluster does not know of the {} that the client was given: it was rolled back. \
                     Nothing is signed for this client. Raise the key's watermark past it (and the cluster's feature \
                     level to {level}, so that the key halts for everybody)",
                    shown.duty
                ),
            )
            .with_duty(shown.duty.clone()));
        }
        match self.handle.change(format!("node:{}", self.handle.node()), halt, self.timeout).await {
            Ok(Ok(done)) => {
                tracing::error!(
                    %key, client = client.name, duty = %shown.duty, told = %shown.log_index, halted = %done.at,
                    "ALARM: this cluster has forgotten a signature that it gave: it was rolled back to an older state; \
                     the key is halted"
                );
                self.metrics.rollbacks_seen.inc();
                Err(halted(key, &shown.duty, shown.log_index))
            }
            Ok(Err(ChangeError::NothingForgotten { .. })) => Ok(()),
            Ok(Err(ChangeError::AlreadyHalted { .. })) => Err(halted(key, &shown.duty, shown.log_index)),
            Ok(Err(refused)) => Err(RpcError::new(ErrorCode::Internal, format!("key {key}: {refused}"))),
            Err(error) => Err(errors::undecided(key, &shown.duty, error, self.gate.leader_hint())),
        }
    }

    /// A key that this node knows to be halted is refused without asking the log again.
    ///
    /// # Errors
    /// `keyHalted`.
    pub(super) fn check_halted(&self, key: &KeyId) -> Result<(), RpcError> {
        let halt = self.handle.read(|state| state.registry().halt(key).cloned());
        halt.map_or(Ok(()), |halt| Err(halted(key, &halt.duty, halt.log_index)))
    }

    fn coverage(&self, key: KeyId, shown: &LastSigned) -> Coverage {
        self.handle.read(|state| state.covers(&key, &shown.duty, shown.digest))
    }
}

fn halted(key: &KeyId, duty: &Duty, told: LogIndex) -> RpcError {
    RpcError::new(
        ErrorCode::KeyHalted,
        format!(
            "key {key} is halted: this cluster has forgotten the {duty} that it signed for a client (log entry \
             {told}), so it was rolled back to an older state. An operator must raise the key's watermark past \
             everything that was signed since: `signonce watermarks raise {key} --to COORDINATE`"
        ),
    )
    .with_duty(duty.clone())
}
