//! Roles, and changes that take two.

use crate::world::*;
use signonce_core::{
    Change, ChangeDone, ChangeError, Command, KeyState, Outcome, Role, State, roles::PROPOSAL_LIFE_MS,
};
use signonce_protocol::{KeyId, KeyType, LogIndex};

/// A world in which `k1` and `k2` are key officers, `o` operates and `v` looks.
fn world() -> World {
    let mut world = World::new();
    world.change(Change::RaiseFeatureLevel { level: 2 }).unwrap();
    for (name, role) in
        [("k1", Role::KeyOfficer), ("k2", Role::KeyOfficer), ("o", Role::Operator), ("v", Role::Viewer)]
    {
        by(&mut world, "local:uid=0", set(name, Some(role))).unwrap();
    }
    world
}

/// The same with approval required, and an armed key to remove.
fn strict() -> (World, KeyId) {
    let mut world = world();
    let id = world.armed(KeyType::Babe, from_slot(5));
    by(&mut world, "admin:k1", Change::RequireApproval { on: true }).unwrap();
    (world, id)
}

fn set(name: &str, role: Option<Role>) -> Change {
    Change::SetOfficer { name: name.into(), role }
}

fn by(world: &mut World, actor: &str, change: Change) -> Result<ChangeDone, ChangeError> {
    by_at(world, actor, 1_000, change)
}

fn by_at(world: &mut World, actor: &str, time_ms: u64, change: Change) -> Result<ChangeDone, ChangeError> {
    let command = Command::Change { request: request(0), actor: actor.into(), time_ms, change };
    match world.apply(&command).as_slice() {
        [(_, Outcome::Change(result))] => result.clone(),
        other => panic!("one change, one outcome, not {other:?}"),
    }
}

fn approve(id: LogIndex) -> Change {
    Change::DecideProposal { id, approve: true }
}

fn propose(world: &mut World, actor: &str, change: Change) -> LogIndex {
    by(world, actor, change).unwrap().proposed.expect("it takes two")
}

fn state_of(world: &World, id: KeyId) -> KeyState {
    world.state.key(&id).unwrap().state
}

#[test]
fn every_admin_may_all_until_there_are_officers_and_then_nobody_else_may_anything() {
    let mut world = World::new();
    world.change(Change::RaiseFeatureLevel { level: 2 }).unwrap();
    let refused = by(&mut world, "admin:any", set("a", Some(Role::Operator)));
    assert_eq!(refused, Err(ChangeError::LastKeyOfficer { name: "a".into() }), "nobody could change it");
    by(&mut world, "admin:any", set("a", Some(Role::KeyOfficer))).unwrap();
    let refused = by(&mut world, "admin:any", Change::RemoveClient { name: "x".into() });
    assert!(matches!(refused, Err(ChangeError::RoleTooLow { role: None, needed: Role::Operator, .. })));
    by(&mut world, "local:uid=0", set("b", Some(Role::Viewer))).unwrap();
}

#[test]
fn a_change_takes_its_role_and_signers_are_not_judged() {
    let mut world = world();
    let id = world.armed(KeyType::Babe, from_slot(5));
    for actor in ["admin:v", "admin:o"] {
        let refused = by(&mut world, actor, Change::RemoveKey { id });
        assert!(matches!(refused, Err(ChangeError::RoleTooLow { needed: Role::KeyOfficer, .. })), "{actor}");
    }
    let refused = by(&mut world, "admin:v", Change::DisableKey { id });
    assert!(matches!(refused, Err(ChangeError::RoleTooLow { role: Some(Role::Viewer), .. })));
    by(&mut world, "admin:o", Change::DisableKey { id }).unwrap();
    by(&mut world, "admin:k2", Change::RemoveKey { id }).unwrap();
    by(&mut world, "node:1", set("o", None)).unwrap();
}

#[test]
fn the_last_key_officer_stays() {
    let mut world = world();
    by(&mut world, "admin:k1", set("k2", None)).unwrap();
    for role in [None, Some(Role::Operator)] {
        let refused = by(&mut world, "admin:k1", set("k1", role));
        assert_eq!(refused, Err(ChangeError::LastKeyOfficer { name: "k1".into() }));
    }
    assert_eq!(
        by(&mut world, "admin:k1", set("nobody", None)),
        Err(ChangeError::UnknownOfficer { name: "nobody".into() })
    );
    let few = ChangeError::TooFewOfficers { have: 1, needed: 2 };
    assert_eq!(by(&mut world, "admin:k1", Change::RequireApproval { on: true }), Err(few));
}

#[test]
fn a_dangerous_change_waits_for_another_officer_and_both_are_recorded() {
    let (mut world, key) = strict();
    let id = propose(&mut world, "admin:k1", Change::RemoveKey { id: key });
    assert_eq!(state_of(&world, key), KeyState::Armed, "nothing was changed");
    let again = propose(&mut world, "admin:k1", Change::RemoveKey { id: key });
    assert_eq!(again, id, "proposed twice is proposed once");
    let own = by(&mut world, "admin:k1", approve(id));
    assert_eq!(own, Err(ChangeError::OwnProposal { id, by: "admin:k1".into() }));
    let low = by(&mut world, "admin:o", approve(id));
    assert!(matches!(low, Err(ChangeError::RoleTooLow { .. })));
    let done = by(&mut world, "admin:k2", approve(id)).unwrap();
    assert_eq!((done.proposed, state_of(&world, key)), (None, KeyState::Removed));
    let proposal = world.state.registry().proposal(id).unwrap();
    let decision = proposal.decision.clone().unwrap();
    assert_eq!((proposal.by.as_str(), decision.by.as_str()), ("admin:k1", "admin:k2"));
    assert_eq!((decision.at, decision.approved), (done.at, true), "in the entry that approved it");
    let late = by(&mut world, "admin:k2", approve(id));
    assert_eq!(late, Err(ChangeError::ProposalDecided { id, by: "admin:k2".into(), approved: true }));
}

#[test]
fn what_is_rejected_or_expired_is_never_made() {
    let (mut world, key) = strict();
    let remove = || Change::RemoveKey { id: key };
    let id = propose(&mut world, "admin:k1", remove());
    by(&mut world, "admin:k1", Change::DecideProposal { id, approve: false }).expect("taken back");
    assert!(by(&mut world, "admin:k2", approve(id)).is_err());
    let id = propose(&mut world, "admin:k1", remove());
    let late = 1_000 + PROPOSAL_LIFE_MS + 1;
    assert_eq!(by_at(&mut world, "admin:k2", late, approve(id)), Err(ChangeError::ProposalExpired { id }));
    let anew = by_at(&mut world, "admin:k1", late, remove()).unwrap().proposed.unwrap();
    assert_ne!(anew, id);
    assert_eq!(state_of(&world, key), KeyState::Armed);
    assert_eq!(
        by(&mut world, "admin:k2", approve(LogIndex(99_999))),
        Err(ChangeError::UnknownProposal { id: LogIndex(99_999) })
    );
}

#[test]
fn a_proposal_is_judged_again_when_it_is_approved() {
    let (mut world, key) = strict();
    by(&mut world, "admin:o", Change::DisableKey { id: key }).unwrap();
    let arm = propose(&mut world, "admin:k1", Change::ArmKey { id: key, floors: from_slot(6) });
    world.raise(key, from_slot(50)).unwrap();
    let before = world.state.registry_version();
    let refused = by(&mut world, "admin:k2", approve(arm));
    assert!(matches!(refused, Err(ChangeError::AlreadyHigher { .. })), "{refused:?}");
    assert_eq!(world.state.registry_version(), before);
    assert_eq!(world.state.registry().proposal(arm).unwrap().decision, None, "it still waits");
    // Nor is it made in the name of somebody who may not any more.
    let id = propose(&mut world, "admin:k1", Change::RemoveKey { id: key });
    let more = propose(&mut world, "admin:k2", set("k3", Some(Role::KeyOfficer)));
    by(&mut world, "admin:k1", approve(more)).unwrap();
    let fewer = propose(&mut world, "admin:k2", set("k1", None));
    by(&mut world, "admin:k3", approve(fewer)).unwrap();
    let refused = by(&mut world, "admin:k2", approve(id));
    assert!(matches!(refused, Err(ChangeError::RoleTooLow { role: None, .. })), "{refused:?}");
}

#[test]
fn what_only_takes_away_or_moves_nothing_needs_no_second_officer() {
    let (mut world, key) = strict();
    let unchanged = Change::ArmKey { id: key, floors: from_slot(5) };
    for change in [Change::DisableKey { id: key }, unchanged] {
        assert_eq!(by(&mut world, "admin:k1", change).unwrap().proposed, None);
    }
    by(&mut world, "admin:k1", Change::DisableKey { id: key }).unwrap();
    propose(&mut world, "admin:k1", Change::ArmKey { id: key, floors: from_slot(6) });
}

#[test]
fn one_officer_cannot_do_away_with_the_second_one() {
    let (mut world, _) = strict();
    for change in [Change::RequireApproval { on: false }, set("k2", None), set("k1b", Some(Role::KeyOfficer))]
    {
        let asked = by(&mut world, "admin:k1", change.clone());
        let waits = matches!(asked, Ok(ChangeDone { proposed: Some(_), .. }));
        assert!(waits || matches!(asked, Err(ChangeError::TooFewOfficers { .. })), "{change:?}: {asked:?}");
    }
    assert!(world.state.registry().officers().require_approval);
    let id = propose(&mut world, "admin:k1", Change::RequireApproval { on: false });
    by(&mut world, "admin:k2", approve(id)).unwrap();
    by(&mut world, "admin:k1", set("k2", None)).unwrap();
}

#[test]
fn old_proposals_make_room_and_open_ones_do_not() {
    let (mut world, _) = strict();
    let many = |world: &mut World, from: u32, count: u32| {
        (from..from + count)
            .try_for_each(|n| by(world, "admin:k1", set(&format!("v{n}"), Some(Role::Viewer))).map(drop))
    };
    many(&mut world, 0, 128).unwrap();
    assert!(matches!(many(&mut world, 500, 1), Err(ChangeError::TooMany { .. })));
    let first = world.state.registry().proposals().next().unwrap().id;
    by(&mut world, "admin:k2", Change::DecideProposal { id: first, approve: false }).unwrap();
    many(&mut world, 500, 1).unwrap();
    assert_eq!(world.state.registry().proposals().count(), 128);
    assert!(world.state.registry().proposal(first).is_none());
}

#[test]
fn officers_and_proposals_survive_a_snapshot() {
    let (mut world, key) = strict();
    let id = propose(&mut world, "admin:k1", Change::RemoveKey { id: key });
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
    let mut restored = World { state: restored, at: world.at };
    by(&mut restored, "admin:k2", approve(id)).unwrap();
    assert_eq!(state_of(&restored, key), KeyState::Removed);
}
