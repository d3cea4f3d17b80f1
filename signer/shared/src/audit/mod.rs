//! The audit as it is read: what is asked of a node and answered, in words, in a file that is checked without one.

pub mod file;
pub mod head;
pub mod query;
pub mod words;
