//! GRANDPA's rounds in the form in which SDK nodes answer `grandpa_roundState`.

use crate::voter::Rounds;
use polkadot_sdk::*;
use sc_consensus_grandpa::{AuthorityId, report};
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundStates {
    set_id: u64,
    best: RoundState,
    background: Vec<RoundState>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoundState {
    round: u64,
    total_weight: u64,
    threshold_weight: u64,
    prevotes: Votes,
    precommits: Votes,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Votes {
    current_weight: u64,
    missing: BTreeSet<AuthorityId>,
}

impl From<Rounds> for RoundStates {
    fn from(rounds: Rounds) -> Self {
        let voters: HashSet<_> = rounds.voters.into_iter().collect();
        let state = |(round, state): (u64, report::RoundState<AuthorityId>)| {
            let votes = |current_weight, seen: &HashSet<AuthorityId>| Votes {
                current_weight,
                missing: voters.difference(seen).cloned().collect(),
            };
            RoundState {
                round,
                total_weight: state.total_weight.get(),
                threshold_weight: state.threshold_weight.get(),
                prevotes: votes(state.prevote_current_weight.0, &state.prevote_ids),
                precommits: votes(state.precommit_current_weight.0, &state.precommit_ids),
            }
        };
        Self {
            set_id: rounds.set_id,
            best: state(rounds.state.best_round),
            background: rounds.state.background_rounds.into_iter().map(state).collect(),
        }
    }
}
