//! Nodes that are invited, join, are promoted and go.

use crate::world::*;
use proptest::prelude::*;
use signonce_core::{
    Change, ChangeError, FEATURE_LEVEL, JoinToken, Member, MemberError, MemberRole, Standing, State,
};
use signonce_protocol::NodeId;
use std::collections::BTreeSet;

fn member(node: u64, recipient: &str) -> Member {
    Member {
        node: NodeId(node),
        recipient: recipient.into(),
        peer_addr: "signer:7000".into(),
        client_url: "https://signer:7001".into(),
        supports: FEATURE_LEVEL,
    }
}

fn token(n: u8) -> JoinToken {
    JoinToken::new([n; 32])
}

fn add(n: u8) -> Change {
    Change::AddMember { peer_addr: "new:7000".into(), token: token(n).hash(), replaces: None }
}

fn join(node: u64, recipient: &str, n: u8) -> Change {
    Change::JoinMember { member: member(node, recipient), token: token(n) }
}

fn promote(node: u64) -> Change {
    Change::PromoteMember { node: NodeId(node) }
}

fn remove(node: u64) -> Change {
    Change::RemoveMember { node: NodeId(node) }
}

/// Three members that were there from the start.
fn formed() -> World {
    let mut world = World::new();
    for node in 1..=3 {
        world.change(Change::AnnounceMember(member(node, &format!("age1-{node}")))).unwrap();
    }
    world
}

fn invited(world: &mut World, n: u8) -> u64 {
    world.change(add(n)).unwrap().node.unwrap().0
}

#[test]
fn a_node_is_invited_under_the_index_of_the_entry_joins_and_is_promoted() {
    let mut world = formed();
    let done = world.change(add(1)).unwrap();
    let node = done.node.unwrap();
    assert_eq!(node.0, done.at.0);
    let registry = world.state.registry();
    assert_eq!(registry.wanted_role(node), None, "raft hears of it when it has joined");
    assert_eq!(world.change(join(node.0, "age1-new", 1)).unwrap().node, Some(node));
    assert_eq!(world.state.registry().wanted_role(node), Some(MemberRole::Learner));
    assert!(world.state.members().any(|member| member.node == node));
    world.change(promote(node.0)).unwrap();
    assert_eq!(world.state.registry().wanted_role(node), Some(MemberRole::Voter));
    assert_eq!(world.change(promote(node.0)), Err(ChangeError::Member(MemberError::AlreadyVoter { node })));
}

#[test]
fn a_token_admits_one_machine_once_and_the_same_machine_again() {
    let mut world = formed();
    let node = invited(&mut world, 1);
    let wrong = ChangeError::Member(MemberError::WrongToken { node: NodeId(node) });
    assert_eq!(world.change(join(node, "age1-new", 2)), Err(wrong.clone()));
    world.change(join(node, "age1-new", 1)).unwrap();
    world.change(join(node, "age1-new", 1)).unwrap();
    assert_eq!(
        world.change(join(node, "age1-other", 1)),
        Err(ChangeError::Member(MemberError::TokenUsed { node: NodeId(node) }))
    );
    assert_eq!(world.change(join(node, "age1-new", 2)), Err(wrong));
    let stranger = ChangeError::Member(MemberError::NotInvited { node: NodeId(77) });
    assert_eq!(world.change(join(77, "age1-new", 1)), Err(stranger));
    let from_the_start = ChangeError::Member(MemberError::NotInvited { node: NodeId(1) });
    assert_eq!(world.change(join(1, "age1-1", 1)), Err(from_the_start));
}

#[test]
fn one_node_at_a_time_is_on_its_way_in() {
    let mut world = formed();
    let first = invited(&mut world, 1);
    let under_way = |error: ChangeError| matches!(error, ChangeError::Member(MemberError::MemberChangeUnderWay { node, .. }) if node == NodeId(first));
    assert!(under_way(world.change(add(2)).unwrap_err()), "it is invited");
    world.change(join(first, "age1-new", 1)).unwrap();
    assert!(under_way(world.change(add(2)).unwrap_err()), "it learns");
    world.change(promote(first)).unwrap();
    let second = invited(&mut world, 2);
    world.change(remove(second)).unwrap();
    assert_eq!(
        world.change(join(second, "age1-x", 2)),
        Err(ChangeError::Member(MemberError::MemberRemoved { node: NodeId(second) }))
    );
    assert!(invited(&mut world, 3) > second);
}

#[test]
fn a_removed_node_stays_removed_whatever_it_says() {
    let mut world = formed();
    let node = invited(&mut world, 1);
    world.change(join(node, "age1-new", 1)).unwrap();
    world.change(remove(node)).unwrap();
    let refused = || Err(ChangeError::Member(MemberError::MemberRemoved { node: NodeId(node) }));
    for change in [
        join(node, "age1-new", 1),
        promote(node),
        remove(node),
        Change::AnnounceMember(member(node, "age1-new")),
    ] {
        assert_eq!(world.change(change), refused());
    }
    assert!(world.state.registry().is_removed(NodeId(node)));
    let next = invited(&mut world, 2);
    let refused = ChangeError::Member(MemberError::RecipientTaken { node: NodeId(node) });
    assert_eq!(world.change(join(next, "age1-new", 2)), Err(refused));
}

#[test]
fn who_was_invited_and_has_not_joined_is_no_member() {
    let mut world = formed();
    let node = invited(&mut world, 1);
    let refused = || Err(ChangeError::Member(MemberError::NotJoined { node: NodeId(node) }));
    assert_eq!(world.change(promote(node)), refused());
    assert_eq!(world.change(Change::AnnounceMember(member(node, "age1-new"))), refused());
    assert_eq!(
        world.change(promote(9)),
        Err(ChangeError::Member(MemberError::UnknownMember { node: NodeId(9) }))
    );
    assert_eq!(
        world.change(promote(1)),
        Err(ChangeError::Member(MemberError::AlreadyVoter { node: NodeId(1) }))
    );
}

#[test]
fn three_are_left_to_vote() {
    let mut world = formed();
    let refused = || Err(ChangeError::Member(MemberError::TooFewVoters { node: NodeId(3), left: 2 }));
    assert_eq!(world.change(remove(3)), refused());
    let learner = invited(&mut world, 1);
    world.change(join(learner, "age1-new", 1)).unwrap();
    assert_eq!(world.change(remove(3)), refused(), "a learner is no voter");
    world.change(promote(learner)).unwrap();
    world.change(remove(3)).unwrap();
}

#[test]
fn a_replacement_names_a_member_that_is_there() {
    let mut world = formed();
    let replacing = |node| Change::AddMember {
        peer_addr: "new:7000".into(),
        token: token(1).hash(),
        replaces: Some(NodeId(node)),
    };
    assert_eq!(
        world.change(replacing(9)),
        Err(ChangeError::Member(MemberError::UnknownMember { node: NodeId(9) }))
    );
    let node = world.change(replacing(2)).unwrap().node.unwrap();
    assert_eq!(world.state.registry().membership(node).unwrap().replaces, Some(NodeId(2)));
}

#[test]
fn a_token_shows_in_no_debug_text_and_in_no_error() {
    let secret = token(0xab);
    assert_eq!(format!("{secret:?}"), "JoinToken(..)");
    assert_eq!(secret.reveal().parse::<JoinToken>().unwrap(), secret);
    let almost = &secret.reveal()[1..];
    assert!(!almost.parse::<JoinToken>().unwrap_err().contains("ab"));
    assert!(!format!("{:?}", join(7, "age1-new", 0xab)).contains("abab"));
}

#[test]
fn memberships_survive_a_snapshot() {
    let mut world = formed();
    let node = invited(&mut world, 1);
    world.change(join(node, "age1-new", 1)).unwrap();
    world.change(promote(node)).unwrap();
    world.change(remove(3)).unwrap();
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
    let standing = |state: &State| state.registry().memberships().cloned().collect::<Vec<_>>();
    assert_eq!(standing(&restored), standing(&world.state));
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Join { nth: usize, recipient: u8, token: u8 },
    Promote(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8).prop_map(Step::Add),
        (0..6usize, 0..4u8, 0..4u8).prop_map(|(nth, recipient, token)| Step::Join { nth, recipient, token }),
        (0..6usize).prop_map(Step::Promote),
        (0..6usize).prop_map(Step::Remove),
    ]
}

proptest! {
    /// Whatever is asked in whatever order: no id twice, no way back from a tombstone, one node on its way in, and
    /// always three voters.
    #[test]
    fn no_order_of_changes_breaks_the_rules_of_membership(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = formed();
        let mut ids: Vec<u64> = vec![1, 2, 3];
        let mut removed = BTreeSet::new();
        for step in steps {
            let nth = |nth: usize| ids[ids.len() - 1 - nth % ids.len()];
            let done = match step {
                Step::Add(n) => world.change(add(n)),
                Step::Join { nth: n, recipient, token } => world.change(join(nth(n), &format!("age1-j{recipient}"), token)),
                Step::Promote(n) => world.change(promote(nth(n))),
                Step::Remove(n) => {
                    let node = nth(n);
                    let done = world.change(remove(node));
                    if done.is_ok() {
                        removed.insert(node);
                    }
                    done
                }
            };
            if let Ok(done) = &done
                && let Some(node) = done.node
                && !ids.contains(&node.0)
            {
                ids.push(node.0);
                prop_assert_eq!(node.0, done.at.0);
            }
            let registry = world.state.registry();
            let on_the_way = registry.memberships().filter(|m| {
                matches!(m.standing, Standing::Invited { .. })
                    || (m.role == MemberRole::Learner && m.standing != Standing::Removed)
            });
            prop_assert!(on_the_way.count() <= 1);
            prop_assert!(removed.iter().all(|node| registry.is_removed(NodeId(*node))));
            let votes = |node| registry.wanted_role(node) == Some(MemberRole::Voter);
            prop_assert!(registry.members().filter(|member| votes(member.node)).count() >= 3);
        }
    }
}
