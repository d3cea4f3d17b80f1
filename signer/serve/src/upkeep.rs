//! The leader's upkeep: what the cluster does by itself, so that no operator has to think of it.
//!
//! [`Upkeep::run`] runs on every node and acts on the one that leads. Each task reads the applied state, does one step,
//! and reads it again in the next round; a step that another leader has made meanwhile is refused by the log without
//! harm. [`feature`] raises the feature level, [`reseal`] seals keys to new members, `placement` keeps the leader where
//! it should be. `note`, `tolerance` and `quarantine` concern each node itself.

pub mod feature;
mod note;
mod placement;
mod quarantine;
pub mod reseal;
mod tolerance;

use crate::keyring_sync::KeyringSync;
use placement::Placement;
use quarantine::ReportedQuarantine;
use reseal::Reseal;
use signonce_cluster::Handle;
use signonce_core::{NodeNote, node_actor, replica::Role};
use signonce_shared::config::Config;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long a change may take to be decided; after that, the next round finds out what became of it.
const DECIDED: Duration = Duration::from_secs(5);

/// The upkeep tasks of a node; see the module's text.
pub struct Upkeep {
    handle: Handle,
    sync: Arc<KeyringSync>,
    /// What this node says of its place.
    note: NodeNote,
    reseal: Reseal,
    /// How long another voter must be clearly faster before the leader moves.
    moves_after: Duration,
    /// The slot tolerance in this node's configuration.
    slot_tolerance: u64,
    /// The quarantine that was already reported.
    told: ReportedQuarantine,
    /// Present while this node leads.
    placement: Option<Placement>,
}

impl Upkeep {
    /// The upkeep of a started node with this configuration.
    pub fn new(handle: Handle, sync: Arc<KeyringSync>, config: &Config) -> Self {
        let note = NodeNote { zone: config.node.zone.clone(), version: env!("CARGO_PKG_VERSION").into() };
        let moves_after = config.limits.leader_moves_after();
        let slot_tolerance = config.limits.slot_tolerance;
        let (reseal, told) = (Reseal::default(), ReportedQuarantine::default());
        Self { handle, sync, note, reseal, moves_after, slot_tolerance, told, placement: None }
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(ROUND).await;
            self.told.say(&self.handle);
            note::say(&self.handle, &self.note).await;
            tolerance::say(&self.handle, self.slot_tolerance).await;
            if !self.leads() {
                self.placement = None;
            } else {
                feature::raise(&self.handle).await;
                self.reseal.round(&self.handle, &self.sync).await;
                self.placement
                    .get_or_insert_with(|| Placement::new(Instant::now(), self.moves_after))
                    .round(&self.handle)
                    .await;
            }
        }
    }

    fn leads(&self) -> bool {
        self.handle.ready().is_ok() && self.handle.status().role == Role::Leader
    }
}

/// The name under which the audit records the changes.
fn actor(handle: &Handle) -> String {
    node_actor(handle.node())
}
