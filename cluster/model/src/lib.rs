//! Two models, small enough to look at every state: [`service`], how a claim becomes a signature, and [`fence`], how a
//! node that starts learns whether it has forgotten anything.
//!
//! The simulator (`cluster/sim`) runs the code; these run the idea. Raft is assumed where it is not the question.
//! Each model can have a rule taken away and must then find the way to two payloads.

pub mod fence;
pub mod service;
