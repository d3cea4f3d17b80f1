//! What the running signer and the operators' commands share.
//!
//! [`admin`] is the API between them: its types, its errors and the client. [`config`] is what a node is told,
//! [`tls`] who is on the other side of a connection, [`certs`] how certificates are issued, [`node_signature`] what
//! a node signs with its own, [`http`] the one HTTP client. [`audit`], [`backup`] and [`interchange`] are the forms that
//! files have; [`activity`] and [`overview`] what nodes tell of themselves; [`enroll`] how a key comes in sealed;
//! [`families`] the kinds of chain that the program knows;
//! [`hint`] what an operator types after an error; [`signals`] what ends a process in order.
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
