//! What the feature level has against it.

use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{ChainId, NodeId};

/// What the feature level has against it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FeatureError {
    /// A member could not read what the new level allows.
    #[error(
        "node {node} supports feature level {supports} only: upgrade it before raising the level to {level}"
    )]
    #[codec(index = 22)]
    FeatureUnsupported {
        /// The member that holds it back.
        node: NodeId,
        /// What it supports.
        supports: u32,
        /// What was asked.
        level: u32,
    },
    /// Levels only rise.
    #[error("the feature level is {current} already, asked was {level}: it never goes down")]
    #[codec(index = 23)]
    FeatureNotHigher {
        /// The level as it is.
        current: u32,
        /// What was asked.
        level: u32,
    },
    /// A member announced itself with less than the cluster's feature level.
    #[error("node {node} supports feature level {supports}, the cluster is at {current}: upgrade the node")]
    #[codec(index = 24)]
    MemberTooOld {
        /// The node.
        node: NodeId,
        /// What it supports.
        supports: u32,
        /// The cluster's level.
        current: u32,
    },
    /// Members may not be able to read the change yet.
    #[error("this needs feature level {level}, the cluster is at {current}")]
    #[codec(index = 26)]
    FeatureNeeded {
        /// The level the change needs.
        level: u32,
        /// The level as it is.
        current: u32,
    },
    /// Members may not be able to read the settings of a chain yet. It does not say from which level on all can: a
    /// program that does not know the form cannot tell, and every member has to say the same.
    #[error("chain {chain} cannot have settings of this form at feature level {current}")]
    #[codec(index = 84)]
    SettingsTooNew {
        /// The chain.
        chain: ChainId,
        /// The level as it is.
        current: u32,
    },
}
