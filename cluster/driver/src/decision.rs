//! What the log says of a claim, and the proof that lets its signature leave.

#[cfg(signonce_sim)]
use signonce_core::mutation::{self, Mutation};
use signonce_core::{Claim, Refusal, State, Verdict};
use signonce_protocol::{Carry, Digest, KeyId, LogIndex};

/// Proof that a claim was committed by a majority, or had been before: a signature may leave.
///
/// Only this crate makes one, and only from an applied log entry.
#[derive(Debug)]
pub struct Grant {
    key: KeyId,
    digest: Digest,
    carry: Carry,
}

impl Grant {
    /// Whether the signature by this key of exactly this statement, with this beside it, may leave.
    pub fn covers(&self, key: &KeyId, digest: &Digest, carry: &Carry) -> bool {
        self.key == *key && self.digest == *digest && self.carry == *carry
    }

    /// What is signed beside the statement: what was the first time, whatever is asked now. The payload to sign is
    /// `Payload::as_first_signed` with it.
    pub fn carry(&self) -> &Carry {
        &self.carry
    }
}

/// What the log says of a claim.
#[derive(Debug)]
pub struct Decision {
    /// The entry in which it was decided, or recorded first.
    pub at: LogIndex,
    /// The verdict.
    pub verdict: Verdict,
    /// Set if the verdict allows the signature to leave.
    pub grant: Option<Grant>,
}

impl Decision {
    /// What an applied entry decided of `claim`.
    pub(crate) fn from_log(at: LogIndex, verdict: Verdict, claim: &Claim) -> Self {
        let carry = match &verdict {
            Verdict::Granted => Some(&claim.carry),
            Verdict::Repeated { at: _, carry } => Some(carry),
            Verdict::Refused(_) => None,
        };
        let (key, digest) = (claim.key, claim.digest);
        let grant = carry.map(|carry| Grant { key, digest, carry: carry.clone() });
        Self { at, verdict, grant }
    }
}

/// What a node's own state says of a claim, before the log is asked.
#[derive(Debug)]
pub enum Foreseen {
    /// It is decided: a repeat, or a refusal that nothing can change. Only a member may answer with it.
    Known(Decision),
    /// The log would refuse it as the state is here, though a later entry may change that.
    Refused(Refusal),
    /// Nothing here speaks against it.
    Open,
}

/// What a state, applied up to `applied`, says of `claim`.
pub fn foresee(state: &State, applied: LogIndex, claim: &Claim) -> Foreseen {
    match state.check(claim) {
        // Its rule takes notice of claims that it does not grant, so that the log has to see it.
        Verdict::Repeated { .. } | Verdict::Refused(_) if state.heeds(claim) => Foreseen::Open,
        repeat @ Verdict::Repeated { at, carry: _ } => Foreseen::Known(Decision::from_log(at, repeat, claim)),
        Verdict::Refused(refusal) if refusal.is_final() => {
            Foreseen::Known(Decision::from_log(applied, Verdict::Refused(refusal), claim))
        }
        Verdict::Refused(refusal) => Foreseen::Refused(refusal),
        #[cfg(signonce_sim)]
        granted @ Verdict::Granted if mutation::is(Mutation::DecideThenRecord) => {
            Foreseen::Known(Decision::from_log(applied, granted, claim))
        }
        Verdict::Granted => Foreseen::Open,
    }
}

/// The decision of [`foresee`], if there is one.
pub fn known(state: &State, applied: LogIndex, claim: &Claim) -> Option<Decision> {
    match foresee(state, applied, claim) {
        Foreseen::Known(decision) => Some(decision),
        Foreseen::Refused(_) | Foreseen::Open => None,
    }
}
