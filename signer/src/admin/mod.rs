//! The operators' surface, apart from the clients': its own port and a unix socket, its own rights.
//!
//! [`api`] holds the methods and their types, [`server`] answers them, [`client`] asks (the CLI and tests use it).

pub mod api;
pub mod client;
pub mod documents;
pub mod roles;
pub mod server;
