//! The methods that the installed families add to signing.

use crate::rpc::Rpc;
use jsonrpsee::Methods;
use signonce_protocol::family::families;
use signonce_substrate::rpc::SubstrateApiServer as _;

/// The families' methods, answered by `rpc`.
pub fn of_families(rpc: &Rpc) -> Methods {
    if families().contains(&&signonce_substrate::FAMILY) {
        rpc.clone().into_rpc().into()
    } else {
        Methods::new()
    }
}
