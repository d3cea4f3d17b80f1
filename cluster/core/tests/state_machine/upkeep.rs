//! What the leader does by itself: keys sealed again, and where the leader should be.

use crate::world::*;
use signonce_core::{
    ApplyError, Change, ChangeError, Envelope, FEATURE_LEVEL, FeatureError, InputError, JoinToken, KeyError,
    KeyState, LeaderPin, Member, MemberError, NodeNote, Outcome, PlacementChange, Resealed, RestoreError,
    State, Table, replica::OpenError, seal_record,
};
use signonce_protocol::{KeyId, LogIndex, NodeId};
use signonce_substrate::GRANDPA;

fn member(node: u64) -> Member {
    Member {
        node: NodeId(node),
        recipient: format!("age1-{node}"),
        peer_addr: "signer:7000".into(),
        client_url: "https://signer:7001".into(),
        supports: FEATURE_LEVEL,
    }
}

/// Two members.
fn formed() -> World {
    let mut world = World::new();
    for node in 1..=2 {
        world.change(Change::AnnounceMember(member(node))).unwrap();
    }
    world
}

#[test]
fn a_program_stops_before_the_level_that_it_does_not_support_and_does_not_start_above_it() {
    let too_new = FEATURE_LEVEL + 1;
    let raise = || change_command(Change::RaiseFeatureLevel { level: too_new });
    // Somebody holds it back: it is refused, and that is all.
    let mut world = formed();
    let refused = world.apply(&raise());
    assert!(matches!(
        &refused[..],
        [(_, Outcome::Change(Err(ChangeError::Feature(FeatureError::FeatureUnsupported { .. }))))]
    ));
    // Everybody said that they support it, and this node was put back to the present version since.
    for node in 1..=2 {
        world.change(Change::AnnounceMember(Member { supports: too_new, ..member(node) })).unwrap();
    }
    let before = world.state.hash();
    let error = world.state.apply(LogIndex(1_000), raise()).unwrap_err();
    assert_eq!(error, ApplyError::TooNew { at: LogIndex(1_000), level: too_new, supports: FEATURE_LEVEL });
    assert_eq!(world.state.hash(), before);

    // What a later version has stored: the level is the second of the counters.
    let counters = |(table, key, value): (Table, Vec<u8>, Vec<u8>)| {
        if (table, &key[..]) != (Table::Registry, &[0][..]) {
            return (table, key, value);
        }
        let mut body = value[1..value.len() - 4].to_vec();
        body[8..12].copy_from_slice(&too_new.to_le_bytes());
        (table, key, seal_record(value[0], &body))
    };
    // What else lies there may be in no form that this version reads.
    let foreign = (Table::Registry, vec![200], seal_record(9, &[1]));
    let records = world.state.records().map(counters).chain([foreign]);
    let error = State::from_records(records, world.state.hash()).unwrap_err();
    assert_eq!(error, RestoreError::TooNew { level: too_new, supports: FEATURE_LEVEL });
    let said = OpenError::from(error).to_string();
    assert!(said.contains("too old for this node") && said.contains("Start a version"), "{said}");
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn registered(world: &mut World, n: u8) -> KeyId {
    let id = key(GRANDPA, n);
    world.change(register(id, CHAIN, None)).unwrap();
    id
}

fn reseal(keys: &[KeyId], bytes: u8, members: &[u64]) -> Change {
    let sealed = |id: &KeyId| Resealed { id: *id, sealed: Envelope::from(vec![bytes; 40]) };
    Change::ResealKeys { keys: keys.iter().map(sealed).collect(), members: nodes(members) }
}

/// A third member.
fn joined(world: &mut World) -> u64 {
    let token = JoinToken::new([7; 32]);
    let add = Change::AddMember { peer_addr: "new:7000".into(), token: token.hash(), replaces: None };
    let node = world.change(add).unwrap().node.unwrap();
    world.change(Change::JoinMember { member: member(node.0), token }).unwrap();
    node.0
}

#[test]
fn a_key_counts_as_sealed_for_the_members_of_its_day_until_it_is_sealed_again() {
    let mut world = formed();
    let key = registered(&mut world, 1);
    assert_eq!(world.state.registry().sealed_for(&key), Some(nodes(&[1, 2]).as_slice()));
    let new = joined(&mut world);
    assert_eq!(world.state.registry().sealed_for(&key), Some(nodes(&[1, 2]).as_slice()));
    world.change(reseal(&[key], 9, &[1, 2, new])).unwrap();
    assert_eq!(world.state.registry().sealed_for(&key), Some(nodes(&[1, 2, new]).as_slice()));
    assert_eq!(world.state.key(&key).unwrap().sealed, Envelope::from(vec![9; 40]));
    assert_eq!(world.state.key(&key).unwrap().state, KeyState::Registered);
    // What an operator seals by hand may be for anybody.
    world.change(Change::ResealKey { id: key, sealed: Envelope::from(vec![8; 40]) }).unwrap();
    assert_eq!(world.state.registry().sealed_for(&key), None);
}

#[test]
fn envelopes_for_anybody_but_the_present_members_are_refused_as_a_whole() {
    let mut world = formed();
    let (one, other) = (registered(&mut world, 1), registered(&mut world, 2));
    let before = world.state.key(&one).unwrap().clone();
    for members in [&[1][..], &[1, 2, 3], &[2, 1]] {
        let sealed_for = nodes(members);
        let refused = ChangeError::Key(KeyError::SealedForOthers { sealed_for, members: nodes(&[1, 2]) });
        assert_eq!(world.change(reseal(&[one], 9, members)), Err(refused));
    }
    world.change(Change::RemoveKey { id: other }).unwrap();
    let refused = ChangeError::Key(KeyError::KeyRemoved { key: other });
    assert_eq!(world.change(reseal(&[one, other], 9, &[1, 2])), Err(refused));
    assert_eq!(*world.state.key(&one).unwrap(), before, "all or none");
}

#[test]
fn the_leader_is_pinned_to_a_member_or_a_zone_and_let_go() {
    let mut world = formed();
    let pin = |world: &mut World, pin| world.change(Change::Place(PlacementChange::Pin(pin)));
    assert_eq!(
        pin(&mut world, Some(LeaderPin::Node(NodeId(9)))),
        Err(ChangeError::Member(MemberError::UnknownMember { node: NodeId(9) }))
    );
    assert!(matches!(
        pin(&mut world, Some(LeaderPin::Zone("a zone".into()))),
        Err(ChangeError::Input(InputError::BadName { .. }))
    ));
    for wanted in [Some(LeaderPin::Node(NodeId(2))), Some(LeaderPin::Zone("fra1".into())), None] {
        pin(&mut world, wanted.clone()).unwrap();
        assert_eq!(world.state.registry().leader_pin(), wanted.as_ref());
        let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
        assert_eq!(
            (restored.registry().leader_pin(), restored.hash()),
            (wanted.as_ref(), world.state.hash())
        );
    }
}

#[test]
fn what_nodes_say_of_their_place_goes_with_them() {
    let mut world = formed();
    for node in 3..=4 {
        world.change(Change::AnnounceMember(member(node))).unwrap();
    }
    let note = |node, zone: &str| {
        let note = NodeNote { zone: Some(zone.into()), version: "1.2.3".into() };
        Change::Place(PlacementChange::Note { node: NodeId(node), note })
    };
    assert_eq!(
        world.change(note(9, "a")),
        Err(ChangeError::Member(MemberError::UnknownMember { node: NodeId(9) }))
    );
    world.change(note(1, "a")).unwrap();
    world.change(note(2, "b")).unwrap();
    let zone =
        |world: &World, node| world.state.registry().node_note(NodeId(node)).and_then(|n| n.zone.clone());
    assert_eq!((zone(&world, 1), zone(&world, 2)), (Some("a".into()), Some("b".into())));
    world.change(Change::RemoveMember { node: NodeId(2) }).unwrap();
    assert_eq!(
        world.change(note(2, "b")),
        Err(ChangeError::Member(MemberError::MemberRemoved { node: NodeId(2) }))
    );
    world.change(note(1, "c")).unwrap();
    assert_eq!((zone(&world, 1), zone(&world, 2)), (Some("c".into()), None));
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
}

#[test]
fn who_a_key_is_sealed_for_survives_a_snapshot() {
    let mut world = formed();
    let key = registered(&mut world, 1);
    world.change(reseal(&[key], 9, &[1, 2])).unwrap();
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
    assert_eq!(restored.registry().sealed_for(&key), Some(nodes(&[1, 2]).as_slice()));
}
