//! The shell around [`signonce_core`]: storage in RocksDB, peer traffic over mutual TLS, threads and clocks.
//!
//! [`identity::create`] makes a data directory once; [`Node::start`] runs it and gives out [`Handle`]s, with which a
//! server has claims decided. [`signonce_driver`] decides how a node reacts to events; this crate carries that out.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod audit;
pub mod backoff;
mod batches;
pub mod clock;
mod driver;
mod handle;
mod high_water;
pub mod identity;
mod inbox;
pub mod last_words;
pub mod log_throttle;
mod members;
mod metrics;
mod node;
pub mod places;
mod spool;
mod store;
mod transport;
mod trouble;
mod unfinished;
mod view;
mod wal;

pub use audit::{AuditError, AuditStore};
pub use handle::{Handle, NotReady, SubmitError};
pub use last_words::halt;
pub use members::{MemberView, Progress};
pub use metrics::{ClusterMetrics, Latency, LatencyCounts, Moment, Moments, Stage, Stages, bound};
pub use node::{Node, NodeConfig, StartError};
pub use signonce_driver::decision::{Decision, Foreseen, Grant};
pub use signonce_driver::measure::Measured;
pub use spool::StateCapture;
pub use store::{FORMAT, FORMATS, StoreError};
pub use transport::tls::{LivePeerTls, PeerTls, TlsError};
pub use transport::{PEER_PLACES, Peer};
pub use unfinished::{Awaited, Unfinished};
pub use view::{TimelyClaim, View};
