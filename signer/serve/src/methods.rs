//! What clients may ask of the installed families beside signatures.

use crate::rpc::Rpc;
use jsonrpsee::Methods;
use signonce_protocol::family::families;
use signonce_substrate::rpc::SubstrateApiServer as _;

/// The methods of the installed families, answered by `rpc`.
pub fn of_families(rpc: &Rpc) -> Methods {
    if families().contains(&&signonce_substrate::FAMILY) {
        rpc.clone().into_rpc().into()
    } else {
        Methods::new()
    }
}
