//! How a process accepts connections, whatever it serves on them.
//!
//! An [`endpoint`] accepts TLS and unix connections and finds the [`caller`] of each; [`calls`] answers JSON-RPC on
//! them, over HTTP or a WebSocket (`socket.rs`), once a call is paid for; [`reload`] keeps the certificates up to date.
//! [`probes`] serves plain HTTP to strangers. [`descriptors`] divides the process's files among the listeners,
//! [`stall`] ends a connection whose other side takes nothing, [`connections`] counts them.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod caller;
pub mod calls;
pub mod connections;
pub mod descriptors;
pub mod endpoint;
pub mod probes;
pub mod reload;
mod socket;
pub mod stall;
