//! What the cluster does for itself, so that no operator has to think of it: the leader's upkeep.
//!
//! [`Upkeep::run`] runs on every node and acts on the one that leads. Each task looks at the applied state, does one
//! step, and looks again at the next round; a step that another leader has made meanwhile is refused by the log and
//! nothing is lost. [`feature`] raises the feature level.

pub mod feature;

use signonce_cluster::Handle;
use signonce_core::replica::Role;
use std::time::Duration;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long a change may take to be decided; if it takes longer, the next round looks what became of it.
const DECIDED: Duration = Duration::from_secs(5);

/// See the module's text.
pub struct Upkeep {
    handle: Handle,
}

impl Upkeep {
    /// For a started node.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Works until the process ends.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(ROUND).await;
            if self.leads() {
                feature::raise(&self.handle).await;
            }
        }
    }

    fn leads(&self) -> bool {
        self.handle.ready().is_ok() && self.handle.status().role == Role::Leader
    }
}

/// Who the audit says it was.
fn actor(handle: &Handle) -> String {
    format!("node:{}", handle.node())
}
