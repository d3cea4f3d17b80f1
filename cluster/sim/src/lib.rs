//! A deterministic simulator of whole clusters.
//!
//! Nodes are the [`Driver`](signonce_driver::Driver) that production runs, with the replica and the ledger in it;
//! network, disks, clocks, crashes, validators and administrators are simulated, all in one thread and from one number.
//! The same seed gives the same run, event by event. After every event the [`judge`] checks everything against the
//! rules that make a cluster safe; at the end all faults stop and the cluster must serve again.
//!
//! ```text
//! run.rs ── world.rs ── machine.rs ── process.rs ── Driver      setup.rs  what a seed decides
//!              │                         │    asking.rs          work.rs   what is asked
//!        environment.rs ──────────── judge.rs                   disk.rs   what a crash leaves
//! ```
//!
//! A simulator that finds nothing proves little unless it would find something. So every guard can be taken away
//! ([`mutation`]), and each such cluster must be caught.

mod asking;
pub mod disk;
pub mod environment;
mod inspect;
pub mod judge;
pub mod machine;
pub mod members;
pub mod mutation;
pub mod process;
pub mod run;
pub mod setup;
pub mod signer;
pub mod work;
pub mod world;
