//! The state machine as its callers see it: commands in, outcomes and records out.

mod audit;
mod beefy;
mod clients;
mod families;
mod format;
mod grandpa;
mod made_keys;
#[path = "../../../../protocol/tests/made_up/mod.rs"]
mod made_up;
mod members;
mod model;
mod officers;
mod para;
mod recovery;
mod registry;
mod restore;
mod slot;
mod timing;
mod upkeep;
mod world;
