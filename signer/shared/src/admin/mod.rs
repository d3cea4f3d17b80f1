//! The admin API: what is asked and answered, and a client for it.

pub mod api;
pub mod client;
