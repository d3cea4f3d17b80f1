//! Each model holds in every state, and no rule of it can be left out.

use signonce_model::{explore, fence, in_place, lock, service};

#[test]
fn no_duty_gets_two_payloads_and_retries_repeat_and_conflicts_are_refused() {
    // The "sometimes" properties are among those that would be named here.
    let (wrong, states) = explore(service::Service(service::Without::Nothing), true);
    assert!(wrong.is_empty() && states > 100_000, "{wrong:?} in {states} states");
}

#[test]
fn every_rule_of_the_service_is_needed() {
    use service::Without as W;
    for without in [W::Commit, W::OneStep, W::WholeSnapshot, W::Floor] {
        let (wrong, _) = explore(service::Service(without), false);
        assert!(!wrong.is_empty(), "without {without:?} nothing breaks");
    }
}

#[test]
fn a_rolled_back_disk_never_makes_two_leaders_or_two_entries() {
    for nodes in [3, 5] {
        let (wrong, states) = explore(fence::Fence { nodes, without: fence::Without::Nothing }, true);
        assert!(wrong.is_empty(), "{nodes} nodes, {states} states: {wrong:?}");
    }
}

#[test]
fn every_rule_of_the_fence_is_needed() {
    use fence::Without as W;
    for without in [W::Fence, W::Majority] {
        let (wrong, _) = explore(fence::Fence { nodes: 3, without }, false);
        assert!(!wrong.is_empty(), "of three nodes without {without:?} nothing breaks");
    }
    for without in [W::Fence, W::Majority, W::Witnesses, W::Lives, W::StartingOver] {
        let (wrong, _) = explore(fence::Fence { nodes: 5, without }, false);
        assert!(!wrong.is_empty(), "of five nodes without {without:?} nothing breaks");
    }
}

#[test]
fn two_of_three_could_go_on_in_place_under_one_rule() {
    let (wrong, states) = explore(in_place::InPlace(in_place::Without::Nothing), true);
    assert!(wrong.is_empty() && states > 10_000, "{wrong:?} in {states} states");
}

#[test]
fn no_part_of_that_rule_can_be_left_out() {
    use in_place::Without as W;
    for without in [W::Gone, W::Floors, W::Silence, W::Both, W::Durable, W::Disarmed, W::Afterwards] {
        let (wrong, _) = explore(in_place::InPlace(without), false);
        assert!(!wrong.is_empty(), "without {without:?} nothing breaks");
    }
}

/// The smaller bounds; `signonce-model` looks at all.
#[test]
fn two_nodes_of_one_validator_break_no_lock_that_one_would_keep() {
    use lock::{Lock, Semantics, Watched, Without};
    // A node that reconnects without a restart may stay entitled: it has forgotten nothing.
    for without in [Without::Nothing, Without::SameLife] {
        for semantics in [Semantics::Code, Semantics::Paper] {
            let watched = Watched::Votes;
            let (wrong, states) =
                explore(Lock { without, semantics, byzantine: true, blocks: 2, watched }, true);
            let about = format!("{semantics:?} without {without:?}: {wrong:?} in {states} states");
            assert!(wrong.is_empty() && states > 400_000, "{about}");
        }
    }
}

#[test]
fn every_part_of_the_lock_is_needed_and_weaker_rules_are_found_wrong() {
    use lock::Lock;
    for (without, semantics, watched) in lock::mistakes() {
        let lock = Lock { without, semantics, byzantine: true, blocks: 2, watched };
        let (wrong, _) = explore(lock, false);
        assert!(!wrong.is_empty(), "{semantics:?} without {without:?}, {watched:?}: nothing breaks");
    }
}
