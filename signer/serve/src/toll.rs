//! The cost of messages on the admin port.

use crate::limits::{Buckets, Rate};
use http::Extensions;
use jsonrpsee::types::ErrorObjectOwned;
use signonce_listen::caller::Caller;
use signonce_listen::calls::Toll;
use signonce_shared::admin::api::{AdminError, AdminErrorCode};
use signonce_shared::tls::Fingerprint;
use std::time::Instant;

/// The rate of one certificate. A command that imports hundreds of keys stays below it, since it waits for every
/// change.
const ADMINS: Rate = Rate { per_second: 500, burst: 1_000 };

/// One token for each message, by certificate. This machine's own user is not limited: it could do worse.
#[derive(Default)]
pub struct AdminToll(Buckets<Fingerprint>);

impl Toll for AdminToll {
    fn pay(&self, asker: &Extensions, _method: Option<&str>) -> Result<(), ErrorObjectOwned> {
        let Some(Caller::Certificate(peer)) = asker.get::<Caller>() else { return Ok(()) };
        self.0.take(peer.spki, ADMINS, 1, Instant::now()).map_err(|wait| {
            let wait = wait.as_millis().saturating_add(1);
            let why = format!(
                "this certificate asks more than {} times a second; ask again in {wait} ms",
                ADMINS.per_second
            );
            AdminError::new(AdminErrorCode::NotReady, why).into()
        })
    }
}
