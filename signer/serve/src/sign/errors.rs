//! Turns what the parts of the signer report into the errors that clients get. Every refusal names the key, the duty
//! and what to do next.

use super::lookup::ClientView;
use crate::limits::{Share, TooMuch};
use crate::undecided;
use signonce_cluster::SubmitError;
use signonce_core::{
    ChangeError, Claim, ClientError, ClientId, FeatureError, InputError, KeyState, MAX_KEY_LIMIT, Refusal,
};
use signonce_keys::SignError;
use signonce_protocol::{
    Digest, Duty, DutyClass, KeyId, PublicKey,
    rpc::{ErrorCode, LeaderHint, RpcError},
};

/// The ledger refuses `claim`. `name_of` gives the names of clients, for the evidence.
pub fn refused(claim: &Claim, refusal: &Refusal, name_of: impl Fn(ClientId) -> String) -> RpcError {
    let Claim { key, duty, digest, .. } = claim;
    let plain = || RpcError::new(refusal.code(), format!("{duty}: {refusal}"));
    let mut error = match refusal {
        Refusal::Equivocation { duty, signed, asked, at, time_ms, client } => {
            RpcError::equivocation(duty.clone(), *signed, *asked, *at, *time_ms, name_of(*client))
        }
        Refusal::BelowWatermark { asked: _, floor } => plain().with_bound(*floor),
        Refusal::PastCounting { asked: _, floor, slot_duration_ms: _ } => {
            plain().with_bound(duty.position().with_slot(*floor))
        }
        // Not below the floor: positions further on are free, and the bound says which one is full.
        Refusal::Crowded { position, limit: _ } => plain().with_bound(*position),
        Refusal::JumpTooFar { asked: _, reference: _, limit: _, bound } => plain().with_bound(*bound),
        Refusal::Rule(_) => of_rule(plain(), duty, *digest, refusal),
        Refusal::UnknownKey { .. }
        | Refusal::KeyNotArmed { .. }
        | Refusal::KeyRemoved { .. }
        | Refusal::WrongDuty { .. }
        | Refusal::KeyHalted { .. }
        | Refusal::Barred { .. } => plain(),
    };
    error.message = format!("key {key}: {}", error.message);
    error.with_duty(duty.clone())
}

/// A refusal that only this class has. Where the evidence is in the audit, the message says how to find it.
fn of_rule(mut error: RpcError, duty: &Duty, asked: Digest, refusal: &Refusal) -> RpcError {
    let Refusal::Rule(rule) = refusal else { return error };
    if refusal.contradicts() {
        let coordinates =
            duty.position().named().map(|(part, number)| format!(" --at {}={number}", part.word));
        error.message += &format!(" (`signonce audit explain{}`)", coordinates.collect::<String>());
        error.data.digest_asked = Some(asked);
    }
    match rule.tell().and_then(|told| told.bound) {
        Some(bound) => error.with_bound(bound),
        None => error,
    }
}

/// The cluster has no decision on `duty` of `key`. The message names both once, in front.
pub fn undecided(key: &KeyId, duty: &Duty, error: SubmitError, leader: Option<LeaderHint>) -> RpcError {
    let mut error = match error {
        SubmitError::NotReady(why) => RpcError::not_ready(undecided::why_not_ready(&why), leader),
        SubmitError::Unknown => RpcError::unknown_outcome(Some(duty.clone()), leader),
        SubmitError::SlotOutOfRange(off) => {
            let next = "check the clocks of the validator and of this signer, and the chain's slot duration";
            RpcError::new(ErrorCode::SlotOutOfRange, format!("{off}; {next}"))
                .with_bound(duty.position().with_slot(off.now))
        }
    };
    error.message = format!("key {key}, {duty}: {}", error.message);
    error.with_duty(duty.clone())
}

/// The cluster refuses to take in a key for the client.
pub fn not_made(client: &str, chain: &str, refusal: &ChangeError) -> RpcError {
    let (code, next) = match refusal {
        ChangeError::Client(ClientError::MayNotGenerate { .. })
        | ChangeError::Feature(FeatureError::FeatureNeeded { .. }) => (
            ErrorCode::Forbidden,
            format!("; an operator allows it with `signonce clients update {client} --may-generate`"),
        ),
        ChangeError::Client(ClientError::KeyQuota { limit, .. }) => (
            ErrorCode::RateLimited,
            format!(
                "; an operator removes old ones (`signonce keys list`, `signonce keys remove KEY`) or allows more \
                 with `signonce clients update {client} --may-generate --key-limit {}`",
                limit.saturating_mul(2).min(MAX_KEY_LIMIT)
            ),
        ),
        ChangeError::Input(InputError::TooMany { .. }) => {
            (ErrorCode::RateLimited, "; an operator has to make room: `signonce clients list`".to_owned())
        }
        ChangeError::Input(
            InputError::BadName { .. } | InputError::BadText { .. } | InputError::AuditTooLarge { .. },
        )
        | ChangeError::Client(
            ClientError::ClientExists { .. }
            | ClientError::CertificateTaken { .. }
            | ClientError::UnknownClient { .. }
            | ClientError::BadKeyLimit { .. }
            | ClientError::BadClientLimit { .. }
            | ClientError::RotationUnderWay { .. }
            | ClientError::NoRotation { .. },
        )
        | ChangeError::Feature(
            FeatureError::FeatureUnsupported { .. }
            | FeatureError::FeatureNotHigher { .. }
            | FeatureError::MemberTooOld { .. }
            | FeatureError::SettingsTooNew { .. },
        )
        | ChangeError::Chain(_)
        | ChangeError::Key(_)
        | ChangeError::Halt(_)
        | ChangeError::Member(_)
        | ChangeError::Backup(_)
        | ChangeError::Officer(_)
        | ChangeError::Proposal(_) => (ErrorCode::Internal, "; report this".to_owned()),
    };
    RpcError::new(code, format!("no key was made for client {client} on chain {chain}: {refusal}{next}"))
}

/// The cluster has no decision on taking in a new key.
pub fn perhaps_made(key: &KeyId, error: SubmitError, leader: Option<LeaderHint>) -> RpcError {
    match error {
        SubmitError::NotReady(why) => RpcError::not_ready(undecided::why_not_ready(&why), leader),
        SubmitError::Unknown => {
            let mut error = RpcError::unknown_outcome(None, leader);
            error.message = format!(
                "key {key} was made, but the cluster did not say in time whether it took it in: ask for another one; \
                 if this one shows up in `signonce keys list`, remove it"
            );
            error
        }
        SubmitError::SlotOutOfRange(off) => {
            RpcError::new(ErrorCode::Internal, format!("key {key}: a new key has no slot, yet: {off}"))
        }
    }
}

/// The client has used up what it may ask of this node. Nothing was proposed.
pub fn too_much(client: &ClientView, too_much: TooMuch) -> RpcError {
    let ClientView { id: _, name, limits } = client;
    let wait = u64::try_from(too_much.retry_after.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    let mut error = RpcError::rate_limited(wait);
    let what = match too_much.of {
        Share::Requests => format!("asks more than {} times a second of this signer", limits.per_second),
        Share::InFlight => format!("has {} claims under way at this signer", limits.in_flight),
        Share::Records => format!(
            "has claimed so much at this signer for so long that it would fill the audit: ten minutes of {} a second, \
             and a twentieth of that in the long run",
            limits.per_second
        ),
    };
    error.message = format!(
        "client {name} {what}, as much as it may; nothing was signed or proposed: ask again in {wait} ms; an operator \
         changes it with `signonce clients limits {name}`"
    );
    error
}

/// The client follows its keys on as many connections as it may.
pub fn too_many_subscriptions(client: &ClientView, most: u32) -> RpcError {
    let mut error = RpcError::rate_limited(1_000);
    error.message = format!(
        "client {} has {most} subscriptions at this signer, as many as one may have: end one first (each of its \
         connections needs one at most)",
        client.name
    );
    error
}

/// The key does not open on this node; others may have it.
pub fn locked(key: &KeyId, why: &str, leader: Option<LeaderHint>) -> RpcError {
    RpcError::not_ready(format!("key {key} is not open on this node: {why}"), leader)
}

/// The key refuses to sign. What it was asked may have been granted, so the outcome is unknown.
pub fn not_signed(key: &KeyId, error: &SignError) -> RpcError {
    let next = "the duty may be taken; ask another node for the same payload, and report this";
    RpcError::new(ErrorCode::Internal, format!("key {key} could not sign: {error}; {next}"))
}

/// The payload is not a valid payload of its kind. `what` says why.
pub fn malformed(public: &PublicKey, what: impl std::fmt::Display) -> RpcError {
    let next = "nothing was signed; check the kind of the payload and the chain's block-number width";
    RpcError::new(ErrorCode::MalformedPayload, format!("key {public}: {what}; {next}"))
}

/// The key is not in a state to sign.
pub fn not_armed(key: &KeyId, state: KeyState, class: DutyClass) -> RpcError {
    let next = match state {
        KeyState::Removed => "it was removed and never signs again: use another key",
        KeyState::Registered | KeyState::Disabled | KeyState::Armed => {
            "an operator must arm it with explicit floors (`signonce keys arm`)"
        }
    };
    RpcError::new(ErrorCode::KeyNotArmed, format!("key {key} is {state}, no {class} is signed: {next}"))
}

#[cfg(test)]
mod tests;
