//! The JSON-RPC surface, namespace `signer`: parameters and answers ([`types`](self)), refusals ([`RpcError`]), the
//! method table, the OpenRPC document, and (feature `server`) the trait a signer implements.
//!
//! Parameters are JSON objects by name, answers are camelCase. Nothing here decides anything.

#[cfg(feature = "server")]
mod api;
mod errors;
mod openrpc;
mod params;
mod question;
mod types;

#[cfg(feature = "server")]
pub use api::{SignerApiServer, rpc_module};
pub use errors::{ErrorCode, ErrorData, ErrorKind, LeaderHint, RpcError};
pub use openrpc::{METHODS, Method, MethodShape, methods, openrpc_document};
pub use params::{ChainRef, ChainRefError, PayloadParam};
pub use question::Question;
pub use types::{
    GenerateKeyParams, GenerateKeyReply, KeyInfo, KeysEvent, KnownKeys, LastSigned, Readiness, SignCall,
    SignParams, SignReply, SignVerdict, Signed, StatusReply, WatermarkInfo,
};

/// The largest request body in bytes that a signer reads: the biggest honest ones are headers of session changes (about
/// 70 kB, twice that in hex).
pub const MAX_REQUEST_BYTES: u32 = 1024 * 1024;
/// The largest answer in bytes that a client reads: the key list of a signer with thousands of keys.
pub const MAX_RESPONSE_BYTES: u32 = 8 * 1024 * 1024;
/// The largest JSON-RPC batch, in requests.
pub const MAX_BATCH: u32 = 64;
/// Name of the method that answers the OpenRPC document.
pub const DISCOVER: &str = "rpc_discover";
