//! Whole clusters of real processes on loopback: killed, wiped, cloned, damaged, and asked nonsense.
//!
//! One binary, since each links the whole signer. Nothing is decided by sleeping: what must come about is polled for
//! with a deadline, and everything that clients received goes through the demo's checker, which shares nothing with
//! the ledger.

mod audit;
mod backup;
mod bad_input;
mod clients;
mod common;
mod demo;
mod dev;
mod doors;
mod fake_node;
mod generate;
mod identity;
mod leader;
mod log_readers;
mod logs;
mod members;
mod monitoring;
mod move_in;
mod officers;
mod old_release;
mod privval;
mod readiness;
mod restart;
mod restore;
mod rollback;
mod rotate;
mod seeing;
mod signatures;
mod slots;
mod steady;
mod store;
mod storm;
mod telemetry;
mod two_officers;
mod upgrade;
mod watch;
mod watermarks;
