//! Why a client is left as it is, or has no key made.

use crate::model::ClientId;
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::ChainId;

/// Why a client is left as it is, or has no key made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ClientError {
    /// An active client has the name.
    #[error("client {name} exists: update or remove it, or choose another name")]
    #[codec(index = 16)]
    ClientExists {
        /// The name.
        name: String,
    },
    /// The certificate is, or was, another client's.
    #[error("the certificate belongs to {client} ({name}), active or removed: issue a new one")]
    #[codec(index = 17)]
    CertificateTaken {
        /// The client that has or had it.
        client: ClientId,
        /// The name of that client.
        name: String,
    },
    /// No active client has the name.
    #[error("no client is called {name}")]
    #[codec(index = 18)]
    UnknownClient {
        /// The name asked for.
        name: String,
    },
    /// The client has no leave to have keys made, or not for this chain.
    #[error("client {name} may not have keys made for chain {chain}")]
    #[codec(index = 27)]
    MayNotGenerate {
        /// The client.
        name: String,
        /// The chain asked for.
        chain: ChainId,
    },
    /// The client has as many living keys as it may.
    #[error("client {name} has had {limit} keys made that were not removed, as many as it may have")]
    #[codec(index = 28)]
    KeyQuota {
        /// The client.
        name: String,
        /// How many it may have.
        limit: u32,
    },
    /// An allowance of no keys, or of more than a client can have rights to.
    #[error("a client may be allowed 1 to {most} keys, not {asked}")]
    #[codec(index = 29)]
    BadKeyLimit {
        /// The limit asked for.
        asked: u32,
        /// The highest there is.
        most: u32,
    },
    /// A limit of nothing, or beyond sense.
    #[error("a limit of a client must be 1 to {most}, not {asked}; to shut a client out, remove it")]
    #[codec(index = 40)]
    BadClientLimit {
        /// The limit asked for.
        asked: u32,
        /// The highest there is.
        most: u32,
    },
    /// The client has two certificates already.
    #[error("client {name} is changing its certificate already")]
    #[codec(index = 41)]
    RotationUnderWay {
        /// The client.
        name: String,
    },
    /// The client has one certificate only.
    #[error("client {name} is not changing its certificate")]
    #[codec(index = 42)]
    NoRotation {
        /// The client.
        name: String,
    },
}
