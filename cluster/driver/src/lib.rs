//! What a node does with each event, without I/O: no sockets, no disk, no threads, no clock.
//!
//! A shell owns one [`Driver`] on one thread. It tells the driver what happens ([`Event`]) and when ([`Now`]), and
//! carries out what the driver wants ([`Effect`]) **in order**, stopping the process at the first write or fsync that
//! fails. The shells are `cluster/node` (RocksDB, TLS streams, an fsync thread) and `cluster/sim` (all of it made up),
//! so that what the simulator finds is found in the code that runs.
//!
//! ```text
//! shell: events ──► Driver::step ──► effects: shell           driver.rs    events, effects, ticks, outputs
//!                     │      ▲                                route.rs     proposing, forwarding, the clock fence
//!                     ▼      │                                waiters.rs   requests until the log answers
//!                    Replica (signonce-core)                  decision.rs  what lets a signature leave
//! ```
//!
//! Beside it are the other rules that both shells go by: the frames between nodes ([`frame`]), whose incarnation a
//! directory is ([`identity`]), whether a store is whole ([`batches`]), the clock fence ([`clock`]), and the timing of
//! raft.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod batches;
pub mod clock;
pub mod decision;
mod driver;
pub mod frame;
pub mod identity;
pub mod measure;
mod peers;
mod proposals;
mod request;
mod route;
mod waiters;

pub use driver::{Driver, DriverConfig, Effect, Event, Moment, Now, Observed, SILENT_TICKS};
pub use peers::PeerHeard;
pub use request::{Answer, Decline, Request, Submission};

/// Ticks without a leader before an election, at least; the actual wait is up to twice as long.
pub const ELECTION_TICKS: usize = 12;
/// Ticks between heartbeats.
pub const HEARTBEAT_TICKS: usize = 2;
