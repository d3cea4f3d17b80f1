//! Four models, small enough to explore every state: [`service`], how a claim becomes a signature; [`fence`], how a
//! node that starts learns whether it has forgotten anything; [`in_place`], what it would take for two of three to
//! continue when the third is lost, which no command does yet; and [`lock`], how two nodes of one CometBFT validator
//! share a key and break no lock.
//!
//! The simulator (`cluster/sim`) runs the code; these run the idea. Raft is assumed where it is not the question. Each
//! model can have a rule taken away and must then find a way to two payloads.

pub mod fence;
pub mod in_place;
pub mod lock;
pub mod service;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Explores every state or, if a rule is missing, as many as it takes to find what breaks. Returns the names of the
/// broken properties, and the number of states seen.
pub fn explore<M>(model: M, exhaustive: bool) -> (Vec<&'static str>, usize)
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Send + Sync + Clone + std::fmt::Debug + PartialEq,
    M::Action: Send + Sync + Clone + std::fmt::Debug + PartialEq,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let properties = model.properties();
    let builder = model.checker().threads(threads);
    let builder = match exhaustive {
        true => builder,
        false => builder.finish_when(HasDiscoveries::AnyFailures),
    };
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let wrong = properties.iter().filter(|property| {
        let seen = found.contains_key(property.name);
        match property.expectation {
            Expectation::Sometimes => exhaustive && !seen,
            _ => seen,
        }
    });
    (wrong.map(|property| property.name).collect(), checker.unique_state_count())
}
