//! How a process takes connections in, whatever it serves on them.
//!
//! An [`endpoint`] accepts TLS and unix connections and finds the [`caller`] of each; [`calls`] answers JSON-RPC on
//! them, over HTTP or a WebSocket ([`socket`]), once it is paid for; [`reload`] keeps the certificates that they are
//! met with fresh. [`probes`] serves plain HTTP to strangers. [`descriptors`] shares the process's files out among the
//! listeners, [`stall`] ends a connection whose other side takes nothing, [`connections`] counts them.
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
