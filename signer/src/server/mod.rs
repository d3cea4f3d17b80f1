//! Being written.
pub mod tls;
