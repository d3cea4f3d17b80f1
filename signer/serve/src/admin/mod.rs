//! Answers operators, apart from clients: on a port of its own and a unix socket, by rights of its own.
//!
//! [`server`] answers the methods of [`signonce_shared::admin::api`], [`roles`] says who may ask them, [`documents`]
//! keeps answers that are fetched piece by piece, [`join`] is for nodes that want in.

pub mod documents;
pub mod join;
pub mod roles;
pub mod server;
