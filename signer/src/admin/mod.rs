//! The operators' surface, apart from the clients': its own port and a unix socket, its own rights.
//!
//! [`api`] holds the methods and their types, [`server`] answers them, [`client`] asks (the CLI and tests use it),
//! [`roles`] says who may. [`join`] is for nodes that want in.

pub mod api;
pub mod client;
pub mod documents;
pub mod join;
pub mod roles;
pub mod server;
