//! The chain families that this program knows. The one place that lists them: a new family is a crate and a line here.

use crate::rpc::Rpc;
use jsonrpsee::Methods;
use signonce_protocol::{Family, family::families};
use signonce_substrate::rpc::SubstrateApiServer as _;

/// Every family of the shipped program.
pub static FAMILIES: [&Family; 1] = [&signonce_substrate::FAMILY];

/// Installs them: for tests and for programs that use this library. The shipped program's `main` hands them to
/// [`crate::cli::main`], which does it.
pub fn install() {
    signonce_protocol::install(&FAMILIES);
}

/// What clients may ask of the installed families beside signatures.
pub fn methods(rpc: &Rpc) -> Methods {
    if families().contains(&&signonce_substrate::FAMILY) {
        rpc.clone().into_rpc().into()
    } else {
        Methods::new()
    }
}
