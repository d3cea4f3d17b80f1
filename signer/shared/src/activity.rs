//! What a client has asked of one node, as `admin_clients` returns it and `clients list` shows it.

use serde::{Deserialize, Serialize};
use signonce_core::Fingerprint;
use signonce_protocol::{Duty, KeyId};
use std::collections::BTreeMap;

/// What one client has asked of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientActivity {
    /// When it asked last, in Unix milliseconds by the node's clock.
    pub last_seen_ms: u64,
    /// SHA-256 of the SubjectPublicKeyInfo of the certificate it last connected with.
    pub last_certificate: Option<Fingerprint>,
    /// The last duty it got a signature for.
    pub last_duty: Option<LastDuty>,
    /// Signatures and VRF outputs it got.
    pub signed: u64,
    /// How many requests were refused, by error code.
    pub refused: BTreeMap<String, u64>,
}

/// A duty that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastDuty {
    /// The key.
    pub key: KeyId,
    /// The duty.
    pub duty: Duty,
    /// When it was signed, in Unix milliseconds by the node's clock.
    pub time_ms: u64,
}
