//! The admin API: its methods, types and client.

pub mod api;
pub mod client;
