//! The `signonce` binary's parts: the signer process ([`server`], [`sign`](crate::sign), [`rpc`](crate::rpc)), the
//! operators' surface ([`admin`]) and the configuration ([`config`]).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod server;
