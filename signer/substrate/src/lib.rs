//! What operators' commands ask Substrate nodes: the family's part of `signonce audit watch`, `keys rotate` and
//! `keys move-in`.
//!
//! [`node`] asks a node how far its chain is ([`progress`]), [`watch`] compares what a chain shows with the audit, and
//! [`quiet`] checks whether anybody else still signs. The signers themselves never ask a chain anything.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod http;
pub mod node;
pub mod progress;
pub mod quiet;
pub mod watch;
