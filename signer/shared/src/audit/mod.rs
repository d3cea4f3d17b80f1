//! The audit as it is read: queries and their answers, records in words, and a file that can be checked offline.

pub mod file;
pub mod head;
pub mod query;
pub mod words;
