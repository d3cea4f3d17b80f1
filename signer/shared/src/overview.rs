//! What members tell each other of themselves, and operators of all of them: the answers of `node_report` and
//! `admin_overview`. Nothing in them is secret.

use crate::admin::api::AdminStatus;
use serde::{Deserialize, Serialize};
use signonce_core::Position;
use signonce_protocol::{DutyClass, NodeId};

/// How a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// What `admin_status` says.
    pub status: AdminStatus,
    /// Until when its certificates are valid.
    pub certificates: Vec<CertificateEnd>,
    /// Room for its data.
    pub disk: Option<Disk>,
    /// Requests since it started.
    pub requests: Vec<RequestCount>,
    /// How long each stage of them took.
    pub stages: Vec<StageCounts>,
    /// How far the armed keys have signed, as far as this node has applied.
    pub keys: Vec<KeyProgress>,
}

/// A stage's histogram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageCounts {
    /// The stage.
    pub stage: String,
    /// Per bucket; bounds double from 2 µs, the last has none.
    pub buckets: Vec<u64>,
    /// Of all.
    pub nanoseconds: u64,
}

/// How far a key has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyProgress {
    /// Type and public key.
    pub key: String,
    /// The chain's name.
    pub chain: String,
    /// The validator it belongs to, if that was said.
    pub group: String,
    /// What it claims.
    pub class: DutyClass,
    /// The lowest that may still be signed.
    pub floor: Position,
    /// The highest it has claimed.
    pub highest: Option<Position>,
    /// When, in Unix milliseconds.
    pub last_ms: Option<u64>,
    /// How long it has not voted while others of its chain did, in milliseconds.
    pub silent_ms: Option<u64>,
}

/// A member as it was reached, or was not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Which.
    pub node: NodeId,
    /// Where it was asked; none for the node that asks.
    pub url: Option<String>,
    /// Whether it has a vote.
    pub voter: bool,
    /// How long the answer took, connection and handshake included.
    pub took_ms: u64,
    /// Its clock minus that of the node that asked; off by at most half of `took_ms`.
    pub clock_offset_ms: Option<i64>,
    /// What it said.
    pub report: Option<NodeReport>,
    /// Why it said nothing.
    pub error: Option<String>,
}

/// The cluster, as one node finds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The node that asked the others.
    pub asked_by: NodeId,
    /// Its clock, in Unix milliseconds.
    pub time_ms: u64,
    /// Every member, in order.
    pub nodes: Vec<NodeView>,
}

/// Until when a configured certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateEnd {
    /// `node` or `authority`.
    pub certificate: String,
    /// Unix seconds.
    pub not_after: i64,
}

/// Room on the file system of the data directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// What this process may still write.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// Requests of one kind, for the views of `signonce top`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCount {
    /// `sign` or `vrf`.
    pub method: String,
    /// The class of the duty, or `unknown` where the payload could not be read.
    pub class: String,
    /// `granted`, `repeated`, `free`, or the code of the refusal.
    pub outcome: String,
    /// Since the process started.
    pub count: u64,
}
