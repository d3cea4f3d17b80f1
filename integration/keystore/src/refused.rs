//! What the signers refused, or did not answer a moment ago, so that a repeated question is answered from here. BEEFY
//! asks for the same vote on every event, and a block that was refused stays refused.

use signonce_protocol::{Digest, KeyId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Refusals kept; the oldest go first. Each costs some 300 bytes.
const KEPT: usize = 4_096;
/// How long something that was not granted "now", or not answered, is not asked for again.
const NOT_NOW: Duration = Duration::from_secs(1);

/// What happened to an earlier request for the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// The signers refused it, or did not grant it now.
    Refused(String),
    /// Nobody answered. That is not a refusal: the same bytes may be asked for again.
    NotAnswered(Unanswered),
}

/// A question that nobody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    pub(crate) why: String,
    /// How many outages there had been: once another one is over, this counts no more.
    pub(crate) outages: u64,
}

/// Refusals by key and by the digest of what was to be signed.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_digest: HashMap<(KeyId, Digest), Known>,
    /// The entries in the order they came, each once.
    order: VecDeque<(KeyId, Digest)>,
}

#[derive(Clone, Debug)]
struct Known {
    before: Before,
    /// `None` if it is final.
    until: Option<Instant>,
}

impl Refused {
    /// What happened to an earlier request, as far as it still matters.
    pub(crate) fn find(&self, key: &KeyId, digest: &Digest) -> Option<Before> {
        self.find_at(key, digest, Instant::now())
    }

    fn find_at(&self, key: &KeyId, digest: &Digest, now: Instant) -> Option<Before> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.by_digest.get(&(*key, *digest))?;
        known.until.is_none_or(|until| now < until).then(|| known.before.clone())
    }

    /// Remembers a refusal permanently. False if it was known.
    pub(crate) fn for_good(&self, key: KeyId, digest: Digest, why: String) -> bool {
        self.remember(key, digest, Known { before: Before::Refused(why), until: None })
    }

    /// Remembers for a moment that this was not granted.
    pub(crate) fn for_now(&self, key: KeyId, digest: Digest, why: String) {
        self.remember(
            key,
            digest,
            Known { before: Before::Refused(why), until: Some(Instant::now() + NOT_NOW) },
        );
    }

    /// Remembers for a moment that nobody answered.
    pub(crate) fn not_answered(&self, key: KeyId, digest: Digest, why: String, outages: u64) {
        let until = Some(Instant::now() + NOT_NOW);
        self.remember(key, digest, Known { before: Before::NotAnswered(Unanswered { why, outages }), until });
    }

    fn remember(&self, key: KeyId, digest: Digest, known: Known) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A final refusal stays one, whatever happens to a question that was under way.
        if kept.by_digest.get(&(key, digest)).is_some_and(|known| known.until.is_none()) {
            return false;
        }
        let is_final = known.until.is_none();
        if kept.by_digest.insert((key, digest), known).is_some() {
            return is_final;
        }
        kept.order.push_back((key, digest));
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_digest.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::PublicKey;
    use signonce_substrate::BEEFY;

    fn key(byte: u8) -> KeyId {
        KeyId { key_type: BEEFY, public: PublicKey::try_from([byte; 33].as_slice()).unwrap() }
    }

    #[test]
    fn a_final_refusal_is_remembered_for_its_key_and_digest_only() {
        let refused = Refused::default();
        let digest = Digest::of(b"vote");
        assert!(refused.for_good(key(1), digest, "equivocation".into()));
        assert!(!refused.for_good(key(1), digest, "equivocation".into()));
        let later = Instant::now() + Duration::from_secs(1_000_000);
        let known = Some(Before::Refused("equivocation".into()));
        assert_eq!(refused.find_at(&key(1), &digest, later), known);
        refused.not_answered(key(1), digest, "no answer".into(), 0);
        refused.for_now(key(1), digest, "not now".into());
        assert_eq!(refused.find_at(&key(1), &digest, later), known, "it stays final");
        assert_eq!(refused.find(&key(2), &digest), None);
        assert_eq!(refused.find(&key(1), &Digest::of(b"other")), None);
    }

    #[test]
    fn what_was_not_granted_now_may_be_asked_for_again_soon() {
        let refused = Refused::default();
        let digest = Digest::of(b"vote");
        refused.for_now(key(1), digest, "not yet".into());
        assert!(refused.find(&key(1), &digest).is_some());
        assert_eq!(refused.find_at(&key(1), &digest, Instant::now() + NOT_NOW), None);
    }

    #[test]
    fn what_was_not_answered_is_no_refusal_and_may_become_one() {
        let refused = Refused::default();
        let digest = Digest::of(b"vote");
        refused.not_answered(key(1), digest, "away".into(), 3);
        let before = Before::NotAnswered(Unanswered { why: "away".into(), outages: 3 });
        assert_eq!(refused.find(&key(1), &digest), Some(before));
        assert_eq!(refused.find_at(&key(1), &digest, Instant::now() + NOT_NOW), None);
        assert!(refused.for_good(key(1), digest, "equivocation".into()), "told for the first time");
        assert_eq!(refused.find(&key(1), &digest), Some(Before::Refused("equivocation".into())));
    }

    #[test]
    fn the_oldest_refusals_are_forgotten_first() {
        let refused = Refused::default();
        for n in 0..KEPT + 10 {
            refused.for_good(key(1), Digest::of(&n.to_le_bytes()), "no".into());
        }
        assert_eq!(refused.find(&key(1), &Digest::of(&9usize.to_le_bytes())), None);
        assert!(refused.find(&key(1), &Digest::of(&10usize.to_le_bytes())).is_some());
        assert_eq!(refused.0.lock().unwrap().by_digest.len(), KEPT);
    }
}
