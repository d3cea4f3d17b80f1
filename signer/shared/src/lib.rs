//! What the running signer and the operators' commands share.
//!
//! [`admin`] is the API between them: its types, its errors and the client. [`config`] is a node's configuration,
//! [`tls`] tells who is on the other side of a connection, [`certs`] issues certificates, [`node_signature`] signs with
//! a node's own, [`http`] is the one HTTP client. [`audit`], [`backup`] and [`interchange`] are file formats;
//! [`activity`] and [`overview`] are what nodes report of themselves; [`enroll`] brings sealed keys in; [`families`]
//! lists the kinds of chain that the program knows; [`hint`] tells an operator what to do after an error; [`signals`]
//! ends a process in order.
//!
//! Nothing here serves, decides or stores anything, and nothing links RocksDB.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod activity;
pub mod admin;
pub mod audit;
pub mod backup;
pub mod certs;
pub mod config;
pub mod enroll;
pub mod families;
pub mod hint;
pub mod http;
pub mod interchange;
pub mod node_signature;
pub mod overview;
pub mod signals;
pub mod tls;
