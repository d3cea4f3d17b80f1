//! A deterministic simulator of whole clusters.
//!
//! Nodes are the [`Replica`](signonce_core::replica::Replica) that production runs; network, disks, clocks, crashes,
//! validators and administrators are made up, all in one thread and from one number. The same seed gives the same
//! run, event by event. After every event the [`judge`] holds everything against the rules that make a cluster safe;
//! at the end all faults stop and the cluster must serve again.
//!
//! ```text
//! run.rs ── world.rs ── node.rs ── Replica          setup.rs  what a seed decides
//!              │           │                        work.rs   what is asked
//!           around.rs ── judge.rs                   disk.rs   what a crash leaves
//! ```
//!
//! That a simulator finds nothing says little unless it would find something. So every guard can be taken away
//! ([`mutation`]), and each such cluster must be caught.

pub mod around;
pub mod disk;
pub mod judge;
pub mod members;
pub mod mutation;
pub mod node;
pub mod run;
pub mod setup;
pub mod signer;
pub mod waiters;
pub mod work;
pub mod world;
