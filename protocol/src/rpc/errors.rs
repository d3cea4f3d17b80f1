//! Refusals: stable codes, what a client does about each, and the facts for machines.
//!
//! In JSON: `{"code": 1001, "message": "…", "data": {"code": "equivocation", "kind": "refused", …}}`. The number and
//! the name of a code never change and are never used again; new ones are appended.

use crate::{Digest, Duty, LogIndex, NodeId, PayloadError, Position};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $kind:ident;)*) => {
        /// Why a request was not granted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in `data.code`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The JSON-RPC code. Positive, as -32768 to -32000 belong to JSON-RPC and its libraries:
            /// 1001.. the ledger refuses, 1101.. the request is wrong, 1201.. not now, 1301.. ask again.
            /// The exception is JSON-RPC's own -32602.
            pub const fn json_rpc_code(self) -> i32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// What a client does about it.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)* }
            }
        }
    };
}

codes! {
    /// Another payload was signed for this duty. `data` says which, where, when and for whom.
    Equivocation = 1001, "equivocation", Refused;
    /// The position is below the floor: what was signed there is forgotten, so nothing more may be signed.
    BelowWatermark = 1002, "belowWatermark", Refused;
    /// The round or set is far beyond the last one; an operator must raise the watermark if it is right.
    JumpTooFar = 1003, "jumpTooFar", NotYet;
    /// The duty is ahead of what another key of the validator has signed, which an honest node never asks for: signing
    /// it could be slashed.
    AheadOfGroup = 1004, "aheadOfGroup", NotYet;
    /// The cluster was rolled back and has forgotten what this key signed; an operator must raise its watermark.
    KeyHalted = 1005, "keyHalted", NotYet;
    /// The validator has locked on something else, and this client was not seen to: what frees from the lock, it cannot
    /// know. Another client of the key goes on.
    Locked = 1006, "locked", NotYet;
    /// The bytes are not the payload they are said to be.
    MalformedPayload = 1101, "malformedPayload", Refused;
    /// No such chain, or the key belongs to another.
    WrongChain = 1102, "wrongChain", Refused;
    /// No such key.
    UnknownKey = 1103, "unknownKey", Refused;
    /// A key of this type does not sign payloads of this kind.
    WrongKeyType = 1104, "wrongKeyType", Refused;
    /// This client has no right to this class of duty with this key.
    Forbidden = 1105, "forbidden", Refused;
    /// The parameters are not JSON of the right shape (JSON-RPC's own code).
    InvalidParams = -32602, "invalidParams", Refused;
    /// The slot is too far from the signer's clock.
    SlotOutOfRange = 1201, "slotOutOfRange", NotYet;
    /// The key is registered but not armed, or disabled, or removed.
    KeyNotArmed = 1202, "keyNotArmed", NotYet;
    /// Too many requests from this client, or too much signed at one place, or too many keys made for it.
    RateLimited = 1203, "rateLimited", NotYet;
    /// This node cannot serve now: no leader, no quorum, quarantined. Nothing was proposed.
    NotReady = 1301, "notReady", NotReady;
    /// The deadline passed after the claim was proposed: it may still be granted.
    UnknownOutcome = 1302, "unknownOutcome", Unknown;
    /// The signer is at fault. The claim may have been granted.
    Internal = 1303, "internal", Unknown;
}

impl ErrorCode {
    /// The code with this JSON-RPC number.
    pub fn from_json_rpc_code(code: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.json_rpc_code() == code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a client does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// Final for this payload: do not retry, anywhere.
    Refused,
    /// Not granted now and nothing recorded. Time, another vote or an operator may change that; do not retry at once.
    NotYet,
    /// Nothing happened here: retry elsewhere at once, here later.
    NotReady,
    /// The duty may or may not be taken: retry the very same payload, anywhere. Never sign another one meanwhile.
    Unknown,
}

/// Where to find the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaderHint {
    /// The leader.
    pub node: NodeId,
    /// Its URL for clients, if it announced one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The facts of a refusal, for machines. Fields that do not apply are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorData {
    /// The stable name of the code.
    pub code: ErrorCode,
    /// What a client does about it.
    pub kind: ErrorKind,
    /// The duty asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<Duty>,
    /// The digest that was signed for the duty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_signed: Option<Digest>,
    /// The digest of the payload asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_asked: Option<Digest>,
    /// Where in the log the duty was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<LogIndex>,
    /// When the duty was granted, in milliseconds since 1970 by the serving node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// The client it was granted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The bound that was broken: the floor (`belowWatermark`), the highest that is allowed (`jumpTooFar`,
    /// `aheadOfGroup`), the signer's present slot (`slotOutOfRange`), or the place that holds no more
    /// (`rateLimited`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Position>,
    /// The leader, with `notReady` and `unknownOutcome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderHint>,
    /// When to ask again, in milliseconds, with `rateLimited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Set where the signer does not know of `lastSigned` and believes it only with the bytes and the signature:
    /// whoever has them asks once more and shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_signed: Option<bool>,
    /// The signer's name for the request, which its log lines and the audit also carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// A refusal, as a signer gives it and a client gets it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RpcError {
    /// Why.
    pub code: ErrorCode,
    /// What happened, to which key or duty, and what to do next, as readable text.
    pub message: String,
    /// The same as data. Its `code` and `kind` are those of `code`.
    pub data: Box<ErrorData>,
}

impl RpcError {
    /// A refusal without further facts.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let data = ErrorData {
            code,
            kind: code.kind(),
            duty: None,
            digest_signed: None,
            digest_asked: None,
            log_index: None,
            time_ms: None,
            client: None,
            bound: None,
            leader: None,
            retry_after_ms: None,
            show_signed: None,
            request: None,
        };
        Self { code, message: message.into(), data: Box::new(data) }
    }

    /// Another payload was signed for `duty`: `signed`, at log index `at`, at `time_ms`, for `client`.
    pub fn equivocation(
        duty: Duty,
        signed: Digest,
        asked: Digest,
        at: LogIndex,
        time_ms: u64,
        client: impl Into<String>,
    ) -> Self {
        let client = client.into();
        let message = format!(
            "another payload was signed for the {duty}: digest {signed} at log index {at} for client {client:?}; \
             signing {asked} too would be an equivocation, so this is final"
        );
        let mut error = Self::new(ErrorCode::Equivocation, message);
        error.data.duty = Some(duty);
        error.data.digest_signed = Some(signed);
        error.data.digest_asked = Some(asked);
        error.data.log_index = Some(at);
        error.data.time_ms = Some(time_ms);
        error.data.client = Some(client);
        error
    }

    /// This node cannot serve because of `reason`; the leader is where `leader` says.
    pub fn not_ready(reason: impl fmt::Display, leader: Option<LeaderHint>) -> Self {
        let next = match &leader {
            Some(LeaderHint { node, url: Some(url) }) => format!("; ask the leader, node {node} at {url}"),
            Some(LeaderHint { node, url: None }) => format!("; ask the leader, node {node}"),
            None => "; ask another node, or this one later".into(),
        };
        let mut error = Self::new(ErrorCode::NotReady, format!("this signer is not ready: {reason}{next}"));
        error.data.leader = leader;
        error
    }

    /// The deadline passed after the claim of `duty` was proposed. The message leaves the duty to the caller, who names
    /// it with the key.
    pub fn unknown_outcome(duty: Option<Duty>, leader: Option<LeaderHint>) -> Self {
        let what = if duty.is_some() { "claim" } else { "request" };
        let mut error = Self::new(
            ErrorCode::UnknownOutcome,
            format!("the {what} was proposed but not decided in time; retry the same payload, on any node"),
        );
        error.data.duty = duty;
        error.data.leader = leader;
        error
    }

    /// Too many requests; ask again in `retry_after_ms`.
    pub fn rate_limited(retry_after_ms: u64) -> Self {
        let mut error =
            Self::new(ErrorCode::RateLimited, format!("too many requests; ask again in {retry_after_ms} ms"));
        error.data.retry_after_ms = Some(retry_after_ms);
        error
    }

    /// This signer does not know of what was shown as `lastSigned`: it lags, or the cluster was rolled back.
    pub fn unproved(reason: impl fmt::Display) -> Self {
        let mut error = Self::new(
            ErrorCode::NotReady,
            format!(
                "{reason}; ask another node, or ask again with the signed bytes and the signature in \
                 lastSigned.signed, as the client library does by itself"
            ),
        );
        error.data.show_signed = Some(true);
        error
    }

    /// The error with the duty asked for.
    #[must_use]
    pub fn with_duty(mut self, duty: Duty) -> Self {
        self.data.duty = Some(duty);
        self
    }

    /// The error with the signer's name for the request.
    #[must_use]
    pub fn with_request(mut self, request: impl fmt::Display) -> Self {
        self.data.request = Some(request.to_string());
        self
    }

    /// The error with the bound that was broken.
    #[must_use]
    pub fn with_bound(mut self, bound: Position) -> Self {
        self.data.bound = Some(bound);
        self
    }

    /// What a client does about it.
    pub const fn kind(&self) -> ErrorKind {
        self.code.kind()
    }
}

impl From<PayloadError> for RpcError {
    fn from(error: PayloadError) -> Self {
        Self::new(ErrorCode::MalformedPayload, error.to_string())
    }
}

#[cfg(any(feature = "server", feature = "client"))]
mod convert {
    use super::{ErrorCode, ErrorData, RpcError};
    use jsonrpsee_types::ErrorObjectOwned;

    impl From<RpcError> for ErrorObjectOwned {
        fn from(error: RpcError) -> Self {
            Self::owned(error.code.json_rpc_code(), error.message, Some(error.data))
        }
    }

    impl RpcError {
        /// Reads a refusal from a JSON-RPC error; gives the error back unchanged if it is not one of ours.
        ///
        /// # Errors
        /// The object, when its code is unknown here.
        pub fn from_json_rpc(object: ErrorObjectOwned) -> Result<Self, ErrorObjectOwned> {
            let Some(code) = ErrorCode::from_json_rpc_code(object.code()) else { return Err(object) };
            let data = object.data().map(|raw| raw.get());
            let mut error = Self::new(code, object.message());
            match data.map(serde_json::from_str::<ErrorData>) {
                // The number decides: it is what this client was built to understand.
                Some(Ok(data)) => *error.data = ErrorData { code, kind: code.kind(), ..data },
                // JSON-RPC's own errors carry a text instead.
                Some(Err(_)) => error.message = format!("{}: {}", object.message(), data.unwrap_or_default()),
                None => {}
            }
            Ok(error)
        }
    }
}
