//! Key generation that failed, and how the node is told.
//!
//! `author_rotateKeys` asks the runtime to make session keys. The runtime calls a host function per key, which panics
//! on an error of the keystore (sp-io 49, `sr25519_generate` and its siblings: `.expect("`..._generate` failed")`).
//! The executor survives that, but prints a backtrace and asks for a bug report. So a failed generation answers a
//! public key that nobody holds, and remembers it. On this release train (sp-runtime 49, `impl_opaque_keys!`) the
//! runtime then asks each key of the set for a proof of possession, in `create_ownership_proof`, and gives the whole
//! set up if one is missing: the call traps, the RPC answers an error, and no set with such a key leaves the node.
//!
//! A runtime older than version 2 of the `SessionKeys` API asks for no proofs, so there the RPC answers a set with the
//! useless key. The log says so at once, and `author_hasSessionKeys` answers false for the set.

use signonce_protocol::KeyId;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::ThreadId,
    time::{Duration, Instant},
};

/// Failures remembered; the oldest go first. A rotation asks for a proof within milliseconds.
const KEPT: usize = 64;
/// How long the rest of a rotation fails with its first key. A rotation is one call of the runtime, on one thread.
const SAME_ROTATION: Duration = Duration::from_secs(10);

/// Public keys that stand for a failed generation.
#[derive(Debug, Default)]
pub(crate) struct FailedGenerations(Mutex<VecDeque<Failed>>);

#[derive(Clone, Debug)]
struct Failed {
    key: KeyId,
    why: String,
    thread: ThreadId,
    at: Instant,
    proof_asked: bool,
}

impl FailedGenerations {
    fn failed(&self) -> MutexGuard<'_, VecDeque<Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that nobody holds `key`, because of `why`.
    pub(crate) fn remember(&self, key: KeyId, why: String) {
        let mut failed = self.failed();
        let thread = std::thread::current().id();
        failed.push_back(Failed { key, why, thread, at: Instant::now(), proof_asked: false });
        if failed.len() > KEPT {
            failed.pop_front();
        }
    }

    /// Why the rotation that runs on this thread has already failed: making more keys for it would only leave them
    /// behind in the cluster.
    pub(crate) fn of_this_rotation(&self) -> Option<String> {
        let thread = std::thread::current().id();
        let of_this = |failed: &&Failed| {
            failed.thread == thread && !failed.proof_asked && failed.at.elapsed() < SAME_ROTATION
        };
        self.failed().iter().find(of_this).map(|failed| failed.why.clone())
    }

    /// Why nobody holds `key`, if that is so. The rotation it was made for ends with this question.
    pub(crate) fn proof_of(&self, key: &KeyId) -> Option<String> {
        let mut failed = self.failed();
        let found = failed.iter().find(|failed| failed.key == *key).cloned()?;
        failed.iter_mut().filter(|failed| failed.thread == found.thread).for_each(|it| it.proof_asked = true);
        Some(found.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::PublicKey;
    use signonce_substrate::BABE;

    fn key(byte: u8) -> KeyId {
        KeyId { key_type: BABE, public: PublicKey::try_from([byte; 32].as_slice()).unwrap() }
    }

    #[test]
    fn a_rotation_fails_with_its_first_key_and_ends_when_a_proof_is_asked_for() {
        let failures = FailedGenerations::default();
        assert_eq!(failures.of_this_rotation(), None);
        failures.remember(key(1), "no right".into());
        failures.remember(key(2), "no right".into());
        assert_eq!(failures.of_this_rotation().as_deref(), Some("no right"));
        assert_eq!(failures.proof_of(&key(3)), None);
        assert!(failures.of_this_rotation().is_some());
        assert_eq!(failures.proof_of(&key(1)).as_deref(), Some("no right"));
        assert_eq!(failures.of_this_rotation(), None);
        // The set can never be used.
        assert!(failures.proof_of(&key(1)).is_some() && failures.proof_of(&key(2)).is_some());
    }

    #[test]
    fn a_rotation_on_another_thread_has_not_failed() {
        let failures = FailedGenerations::default();
        failures.remember(key(1), "no right".into());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| failures.of_this_rotation());
            assert_eq!(other.join().unwrap(), None);
        });
    }
}
