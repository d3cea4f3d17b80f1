//! Members: the signers of a cluster, how one comes in, and what speaks against a change.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signonce_protocol::{LogIndex, NodeId, blake2_256};
use std::{fmt, str::FromStr};

/// Whether a node belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberState {
    /// Belongs to it.
    #[codec(index = 0)]
    Present,
    /// A tombstone: node ids are never reused.
    #[codec(index = 1)]
    Removed,
}

/// A signer node as it announced itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The raft member.
    pub node: NodeId,
    /// The `age1…` recipient that keys are sealed to. Fixed for the node's life.
    pub recipient: String,
    /// Where other members reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients reach it.
    pub client_url: String,
    /// The highest feature level its program can apply.
    pub supports: u32,
}

/// The secret that lets one node join under one id, once. Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct JoinToken([u8; 32]);

impl JoinToken {
    /// A token of these bytes, which must be random.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the log keeps of it: Blake2b-256 of its bytes.
    pub fn hash(&self) -> [u8; 32] {
        blake2_256(&self.0)
    }

    /// The token as 64 hex digits, to be handed to the operator of the new node.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

impl FromStr for JoinToken {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        // The text itself stays out of the error: all but one digit of it may be the secret.
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "a join token is 64 hex digits".to_owned())?;
        Ok(Self(bytes))
    }
}

impl Serialize for JoinToken {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for JoinToken {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a member is meant to be in raft's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, strum::Display)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// Follows the log and counts for nothing.
    #[codec(index = 0)]
    Learner,
    /// Votes and counts.
    #[codec(index = 1)]
    Voter,
}

/// Why the leader does not propose a change of the membership at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "hazard", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MemberHazard {
    /// The learner does not answer the leader.
    #[error("it does not answer the leader: start it and wait until it is active")]
    #[codec(index = 0)]
    NotActive,
    /// The learner's log is too far behind.
    #[error("its log is at {matched}, the leader's at {last}: wait until it has caught up")]
    #[codec(index = 1)]
    NotCaughtUp {
        /// The last entry known to be on its disk.
        matched: LogIndex,
        /// The leader's last entry.
        last: LogIndex,
    },
    /// Without the node, too few voters that are alive would be left.
    #[error(
        "of the {voters} voters that would be left, {live} answer and {needed} are needed: bring the others back first"
    )]
    #[codec(index = 2)]
    NoQuorumLeft {
        /// Voters that would be left.
        voters: u32,
        /// Of them, those that answer now.
        live: u32,
        /// How many must.
        needed: u32,
    },
}
