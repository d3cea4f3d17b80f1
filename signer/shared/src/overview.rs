//! What members report of themselves to each other, and to operators about all members: the answers of `node_report`
//! and `admin_overview`. Nothing in them is secret.

use crate::admin::api::AdminStatus;
use serde::{Deserialize, Serialize};
use signonce_core::Position;
use signonce_protocol::{DutyClass, NodeId};

/// The state of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// The answer to `admin_status`.
    pub status: AdminStatus,
    /// The ends of its certificates.
    pub certificates: Vec<CertificateEnd>,
    /// The room on its disk.
    pub disk: Option<Disk>,
    /// The requests since it started.
    pub requests: Vec<RequestCount>,
    /// How long each stage of the requests took.
    pub stages: Vec<StageCounts>,
    /// How far the armed keys have signed, as of the last entry this node has applied.
    pub keys: Vec<KeyProgress>,
}

/// The latency histogram of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageCounts {
    /// The stage's name.
    pub stage: String,
    /// The count of each bucket; bounds double from 2 µs, the last bucket has none.
    pub buckets: Vec<u64>,
    /// The total time of all.
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
    /// The validator it belongs to; empty if none was named.
    pub group: String,
    /// The class of the duties.
    pub class: DutyClass,
    /// The lowest position that may still be signed.
    pub floor: Position,
    /// The highest position it has claimed.
    pub highest: Option<Position>,
    /// When that was, in Unix milliseconds.
    pub last_ms: Option<u64>,
    /// For how many milliseconds it has not voted while other keys of its chain did.
    pub silent_ms: Option<u64>,
}

/// A member and its answer, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// The member.
    pub node: NodeId,
    /// The URL at which it was asked; none for the asking node itself.
    pub url: Option<String>,
    /// Whether it is a voter.
    pub voter: bool,
    /// How long the answer took, connection and handshake included.
    pub took_ms: u64,
    /// Its clock minus that of the node that asked; off by at most half of `took_ms`.
    pub clock_offset_ms: Option<i64>,
    /// Its report.
    pub report: Option<NodeReport>,
    /// Why there is no report.
    pub error: Option<String>,
}

/// The cluster, as one node sees it.
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

/// The end of a configured certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateEnd {
    /// `node` or `authority`.
    pub certificate: String,
    /// When it ends, in Unix seconds.
    pub not_after: i64,
}

/// Space on the file system of the data directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// What this process may still write.
    pub free: u64,
    /// The size of the file system.
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
    /// How many, since the process started.
    pub count: u64,
}
