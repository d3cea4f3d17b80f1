//! The feature level: what commands may be in the log, so that a program that cannot read one never meets it.
//!
//! It rises by itself as soon as every member supports a higher one, and never falls: from then on no older program can
//! take part. `signonce status` shows which members hold it back.

use super::{DECIDED, actor};
use signonce_cluster::Handle;
use signonce_core::{Change, ChangeError, FEATURE_LEVEL, FeatureError, State};
use signonce_protocol::NodeId;
use signonce_shared::admin::api::HeldBackBy;
use std::collections::BTreeMap;

/// Where the cluster's feature level is, and where it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The present level.
    pub current: u32,
    /// The highest that every member supports.
    pub possible: u32,
    /// The highest that some member supports.
    pub newest: u32,
    /// The members that do not support [`Self::newest`].
    pub held_back_by: Vec<HeldBackBy>,
}

impl Levels {
    /// Computed from the state and raft's voters, for a node that runs this program.
    pub fn of(state: &State, voters: &[NodeId]) -> Self {
        let goes = |node: &NodeId| state.registry().is_removed(*node);
        let said = state.members().map(|member| (member.node, Some(member.supports)));
        let mut supports: BTreeMap<NodeId, Option<u32>> =
            voters.iter().filter(|node| !goes(node)).map(|node| (*node, None)).collect();
        supports.extend(said);
        Self::from_supports(state.feature_level(), FEATURE_LEVEL, supports)
    }

    fn from_supports(current: u32, own: u32, supports: BTreeMap<NodeId, Option<u32>>) -> Self {
        // A member that has said nothing may run any program, so nothing is possible before.
        let possible = supports.values().map(|level| level.unwrap_or(current)).min().unwrap_or(current);
        let newest = supports.values().flatten().copied().max().unwrap_or(own).max(own);
        let held_back_by = supports
            .into_iter()
            .filter(|(_, supports)| supports.is_none_or(|level| level < newest))
            .map(|(node, supports)| HeldBackBy { node, supports })
            .collect();
        Self { current, possible: possible.max(current), newest, held_back_by }
    }
}

/// Raises the level if it can rise.
pub(super) async fn raise(handle: &Handle) {
    let voters = handle.status().voters;
    let levels = handle.read(|state| Levels::of(state, &voters));
    // This program must be able to apply what it allows.
    let level = levels.possible.min(FEATURE_LEVEL);
    if level <= levels.current {
        return;
    }
    match handle.change(actor(handle), Change::RaiseFeatureLevel { level }, DECIDED).await {
        Ok(Ok(done)) => tracing::info!(
            from = levels.current, to = level, at = %done.at,
            "every member supports it: the feature level rises, and no older version can take part from now on"
        ),
        Ok(Err(ChangeError::Feature(FeatureError::FeatureNotHigher { .. }))) => {}
        Ok(Err(refused)) => tracing::info!(%refused, "the feature level does not rise"),
        Err(error) => tracing::debug!(%error, "the feature level could not be raised yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(current: u32, supports: &[(u64, Option<u32>)]) -> Levels {
        let supports = supports.iter().map(|(node, level)| (NodeId(*node), *level)).collect();
        Levels::from_supports(current, 2, supports)
    }

    #[test]
    fn the_level_may_rise_once_every_member_has_said_that_it_supports_it() {
        let all = levels(0, &[(1, Some(2)), (2, Some(2)), (3, Some(2))]);
        assert_eq!((all.possible, all.newest), (2, 2));
        assert!(all.held_back_by.is_empty());

        let one_is_old = levels(0, &[(1, Some(2)), (2, Some(1)), (3, Some(2))]);
        assert_eq!(one_is_old.possible, 1);
        assert_eq!(one_is_old.held_back_by, [HeldBackBy { node: NodeId(2), supports: Some(1) }]);

        let one_is_silent = levels(1, &[(1, Some(2)), (2, None), (3, Some(3))]);
        assert_eq!((one_is_silent.possible, one_is_silent.newest), (1, 3));
        let nodes: Vec<u64> = one_is_silent.held_back_by.iter().map(|held| held.node.0).collect();
        assert_eq!(nodes, [1, 2], "a member may be newer than the program that looks");
    }

    #[test]
    fn the_level_never_falls_whatever_members_say() {
        assert_eq!(levels(2, &[(1, Some(0)), (2, None)]).possible, 2);
    }
}
