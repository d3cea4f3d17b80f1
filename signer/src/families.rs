//! The chain families that this program knows. The one place that lists them: a new family is a crate and a line here.

use signonce_protocol::Family;

/// Every family of the shipped program.
pub static FAMILIES: [&Family; 1] = [&signonce_substrate::FAMILY];

/// Installs them: for tests and for programs that use this library. The shipped program's `main` hands them to
/// [`crate::cli::main`], which does it.
pub fn install() {
    signonce_protocol::install(&FAMILIES);
}
