//! Why a request has no outcome, with what an operator does about it.

use signonce_cluster::{NotReady, SubmitError};
use signonce_shared::hint::{of_quarantine, with};

/// Why a node decides nothing, and which command helps, if there is one.
pub fn why_not_ready(why: &NotReady) -> String {
    match why {
        NotReady::Quarantined(reason) => with(why, of_quarantine(reason)),
        NotReady::NoLeader
        | NotReady::Forming(_)
        | NotReady::Fenced { .. }
        | NotReady::Stalled { .. }
        | NotReady::Stopping => why.to_string(),
    }
}

/// Why a request has no outcome, and which command helps, if there is one.
pub fn why_undecided(error: &SubmitError) -> String {
    match error {
        SubmitError::NotReady(why) => why_not_ready(why),
        SubmitError::Unknown | SubmitError::SlotOutOfRange(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::replica::{fence::Quarantine, hello::HelloRefusal};
    use signonce_protocol::NodeId;

    #[test]
    fn a_node_that_takes_no_part_any_more_is_told_with_the_way_back() {
        let peer = NodeId(2);
        let (promise, disk) = Default::default();
        let lost = Quarantine::LostMemory { peer, promise, disk };
        let refused = |refusal| Quarantine::Refused { peer, refusal };
        for (reason, command) in [
            (lost, "`signonce members replace`"),
            (refused(HelloRefusal::Superseded { met: 2, yours: 1 }), "`signonce members replace`"),
            (refused(HelloRefusal::Removed(NodeId(3))), "`signonce members add`"),
            (Quarantine::Removed, "`signonce members add`"),
        ] {
            let why = NotReady::Quarantined(reason);
            let told = why_undecided(&SubmitError::NotReady(why.clone()));
            assert!(told.starts_with(&why.to_string()) && told.contains(command), "{told}");
            assert_eq!(why_not_ready(&why), told);
        }
        assert_eq!(why_not_ready(&NotReady::NoLeader), NotReady::NoLeader.to_string());
    }
}
