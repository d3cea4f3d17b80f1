//! The replicated log: what a node proposes, what each change may be, and why one is not made.
//!
//! A node builds a [`Command`], encodes it, proposes the bytes, and applies them when they are committed. Bytes that
//! cannot be decoded come from a newer program or a damaged disk: the node stops, it never skips one.

mod change;
mod command;
pub mod error;
mod kind;

pub use change::{Change, ChangeDone};
pub use command::{COMMAND_VERSION, ClaimRequest, Command};
pub use error::ChangeError;
pub use kind::{ChangeKind, Second};
