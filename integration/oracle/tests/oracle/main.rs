//! The Substrate crates judge Signonce: what they encode our decoders must read, and what our keys sign they must
//! accept. Cases come from fixed seeds, so a failure names a seed and can be repeated.

mod cases;
mod decode;
mod equivocation;
mod random;
mod sign;
mod suri;
mod vectors;
mod vrf;
