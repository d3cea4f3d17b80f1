//! The chain families that the shipped program knows, listed nowhere else: a new family is a crate and a line here.

use signonce_protocol::Family;

/// Every family of the shipped program.
pub static FAMILIES: [&Family; 2] = [&signonce_substrate::FAMILY, &signonce_cometbft::FAMILY];

/// Installs them. For tests and fuzzers: the program's `main` does it by itself.
pub fn install() {
    signonce_protocol::install(&FAMILIES);
}
