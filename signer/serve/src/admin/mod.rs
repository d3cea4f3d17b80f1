//! The admin API for operators: on a port of its own and a unix socket, with rights of its own.
//!
//! [`server`] answers the methods of [`signonce_shared::admin::api`], [`roles`] says who may call them, [`documents`]
//! keeps answers that are fetched piece by piece, [`join`] is for nodes that ask to join.

pub mod documents;
pub mod join;
pub mod roles;
pub mod server;
