//! Roles, and changes that take two.

use crate::world::*;
use signonce_core::{
    AuditEvent, AuditNote, AuditRecord, AuditSignature, Change, ChangeDone, ChangeError, ChangeKind,
    ClientId, Command, FEATURE_LEVEL, Fingerprint, Floors, InputError, JoinToken, KeyAllowance, KeyError,
    KeySelector, KeyState, Member, MemberError, NodeNote, NotedAnswer, OfficerError, Outcome,
    PROPOSAL_LIFE_MS, PlacementChange, ProposalError, RequestId, Right, Role, Standing, State, admin_actor,
};
use signonce_protocol::{Digest, Hash, KeyId, LogIndex, NodeId};
use signonce_substrate::{BABE, BABE_BLOCK, BABE_VRF, GRANDPA, IM_ONLINE};
use signonce_substrate::{ChainSettings, Limits};
use std::collections::BTreeSet;

/// A world in which `k1` and `k2` are key officers, `o` operates and `v` looks.
fn world() -> World {
    let mut world = World::new();
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
    let id = world.armed(BABE, from_slot(5));
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
    let refused = by(&mut world, "admin:any", set("a", Some(Role::Operator)));
    assert_eq!(
        refused,
        Err(ChangeError::Officer(OfficerError::LastKeyOfficer { name: "a".into() })),
        "nobody could change it"
    );
    by(&mut world, "admin:any", set("a", Some(Role::KeyOfficer))).unwrap();
    let refused = by(&mut world, "admin:any", Change::RemoveClient { name: "x".into() });
    assert!(matches!(
        refused,
        Err(ChangeError::Officer(OfficerError::RoleTooLow { role: None, needed: Role::Operator, .. }))
    ));
    by(&mut world, "local:uid=0", set("b", Some(Role::Viewer))).unwrap();
}

#[test]
fn a_change_takes_its_role_and_signers_are_not_judged() {
    let mut world = world();
    let id = world.armed(BABE, from_slot(5));
    for actor in ["admin:v", "admin:o"] {
        let refused = by(&mut world, actor, Change::RemoveKey { id });
        assert!(
            matches!(
                refused,
                Err(ChangeError::Officer(OfficerError::RoleTooLow { needed: Role::KeyOfficer, .. }))
            ),
            "{actor}"
        );
    }
    let refused = by(&mut world, "admin:v", Change::DisableKey { id });
    assert!(matches!(
        refused,
        Err(ChangeError::Officer(OfficerError::RoleTooLow { role: Some(Role::Viewer), .. }))
    ));
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
        assert_eq!(refused, Err(ChangeError::Officer(OfficerError::LastKeyOfficer { name: "k1".into() })));
    }
    assert_eq!(
        by(&mut world, "admin:k1", set("nobody", None)),
        Err(ChangeError::Officer(OfficerError::UnknownOfficer { name: "nobody".into() }))
    );
    let few = ChangeError::Officer(OfficerError::TooFewOfficers { have: 1, needed: 2 });
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
    assert_eq!(own, Err(ChangeError::Proposal(ProposalError::OwnProposal { id, by: "admin:k1".into() })));
    let low = by(&mut world, "admin:o", approve(id));
    assert!(matches!(low, Err(ChangeError::Officer(OfficerError::RoleTooLow { .. }))));
    let done = by(&mut world, "admin:k2", approve(id)).unwrap();
    assert_eq!((done.proposed, state_of(&world, key)), (None, KeyState::Removed));
    let proposal = world.state.registry().proposal(id).unwrap();
    let decision = proposal.decision.clone().unwrap();
    assert_eq!((proposal.by.as_str(), decision.by.as_str()), ("admin:k1", "admin:k2"));
    assert_eq!((decision.at, decision.approved), (done.at, true), "in the entry that approved it");
    let late = by(&mut world, "admin:k2", approve(id));
    assert_eq!(
        late,
        Err(ChangeError::Proposal(ProposalError::ProposalDecided {
            id,
            by: "admin:k2".into(),
            approved: true
        }))
    );
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
    assert_eq!(
        by_at(&mut world, "admin:k2", late, approve(id)),
        Err(ChangeError::Proposal(ProposalError::ProposalExpired { id }))
    );
    let anew = by_at(&mut world, "admin:k1", late, remove()).unwrap().proposed.unwrap();
    assert_ne!(anew, id);
    assert_eq!(state_of(&world, key), KeyState::Armed);
    assert_eq!(
        by(&mut world, "admin:k2", approve(LogIndex(99_999))),
        Err(ChangeError::Proposal(ProposalError::UnknownProposal { id: LogIndex(99_999) }))
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
    assert!(matches!(refused, Err(ChangeError::Key(KeyError::AlreadyHigher { .. }))), "{refused:?}");
    assert_eq!(world.state.registry_version(), before);
    assert_eq!(world.state.registry().proposal(arm).unwrap().decision, None, "it still waits");
    // Nor is it made in the name of somebody who may not any more.
    let id = propose(&mut world, "admin:k1", Change::RemoveKey { id: key });
    let more = propose(&mut world, "admin:k2", set("k3", Some(Role::KeyOfficer)));
    by(&mut world, "admin:k1", approve(more)).unwrap();
    let fewer = propose(&mut world, "admin:k2", set("k1", None));
    by(&mut world, "admin:k3", approve(fewer)).unwrap();
    let refused = by(&mut world, "admin:k2", approve(id));
    assert!(
        matches!(refused, Err(ChangeError::Officer(OfficerError::RoleTooLow { role: None, .. }))),
        "{refused:?}"
    );
}

#[test]
fn what_only_takes_away_needs_no_second_officer() {
    let (mut world, key) = strict();
    assert_eq!(by(&mut world, "admin:k1", Change::DisableKey { id: key }).unwrap().proposed, None);
    propose(&mut world, "admin:k1", Change::ArmKey { id: key, floors: from_slot(6) });
}

/// Whoever disables a key here, lets it sign elsewhere and arms it again as if nothing had happened makes this cluster
/// contradict that; so does whoever arms a restored key where its backup stood.
#[test]
fn a_keys_own_floor_is_one_persons_word_as_well() {
    let (mut world, key) = strict();
    by(&mut world, "admin:k1", Change::DisableKey { id: key }).unwrap();
    let unchanged = || Change::ArmKey { id: key, floors: from_slot(5) };
    let id = propose(&mut world, "admin:k1", unchanged());
    assert_eq!(state_of(&world, key), KeyState::Disabled);
    assert!(matches!(
        by(&mut world, "admin:k1", approve(id)),
        Err(ChangeError::Proposal(ProposalError::OwnProposal { .. }))
    ));
    by(&mut world, "admin:k2", approve(id)).unwrap();
    assert_eq!(state_of(&world, key), KeyState::Armed);

    // After an import, and without a watermark.
    let (imported, free) = (self::key(GRANDPA, 7), self::key(IM_ONLINE, 7));
    world.register(imported, CHAIN);
    world.register(free, CHAIN);
    world
        .change(Change::ImportWatermarks { chain: CHAIN, floors: vec![(imported, from_round(3, 8))] })
        .unwrap();
    for (id, floors) in [(imported, from_round(3, 8)), (free, Floors::default())] {
        propose(&mut world, "admin:k1", Change::ArmKey { id, floors });
        assert_ne!(state_of(&world, id), KeyState::Armed);
    }
}

#[test]
fn one_officer_cannot_do_away_with_the_second_one() {
    let (mut world, _) = strict();
    for change in [Change::RequireApproval { on: false }, set("k2", None), set("k1b", Some(Role::KeyOfficer))]
    {
        let asked = by(&mut world, "admin:k1", change.clone());
        let waits = matches!(asked, Ok(ChangeDone { proposed: Some(_), .. }));
        assert!(
            waits || matches!(asked, Err(ChangeError::Officer(OfficerError::TooFewOfficers { .. }))),
            "{change:?}: {asked:?}"
        );
    }
    assert!(world.state.registry().officers().require_approval);
    let id = propose(&mut world, "admin:k1", Change::RequireApproval { on: false });
    by(&mut world, "admin:k2", approve(id)).unwrap();
    by(&mut world, "admin:k1", set("k2", None)).unwrap();
}

/// Found by the fuzzer: the record was written, and then taken for none.
#[test]
fn approval_switched_off_where_there_are_no_officers_leaves_a_state_that_opens_again() {
    let mut world = World::new();
    let opens = |world: &World, when: &str| {
        let again = State::from_records(world.state.records(), world.state.hash());
        assert_eq!(again.map(|state| state.hash()), Ok(world.state.hash()), "{when}");
    };
    for when in ["once", "twice"] {
        by(&mut world, "local:uid=0", Change::RequireApproval { on: false }).unwrap();
        opens(&world, when);
    }
    by(&mut world, "local:uid=0", set("k1", Some(Role::KeyOfficer))).unwrap();
    opens(&world, "with an officer");
}

#[test]
fn old_proposals_make_room_and_open_ones_do_not() {
    let (mut world, _) = strict();
    let many = |world: &mut World, from: u32, count: u32| {
        (from..from + count)
            .try_for_each(|n| by(world, "admin:k1", set(&format!("v{n}"), Some(Role::Viewer))).map(drop))
    };
    many(&mut world, 0, 128).unwrap();
    assert!(matches!(many(&mut world, 500, 1), Err(ChangeError::Input(InputError::TooMany { .. }))));
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

// Keys of certificates, and more that takes two.

const KEY_1: [u8; 32] = [1; 32];
const KEY_2: [u8; 32] = [2; 32];
const STOLEN: [u8; 32] = [0xbd; 32];

/// An admin who shows a certificate with this name and key.
fn with_key(name: &str, key: [u8; 32]) -> String {
    admin_actor(name, &Fingerprint(key))
}

fn pin(name: &str, key: [u8; 32]) -> Change {
    Change::PinOfficer { name: name.into(), certificate: Fingerprint(key), role: None }
}

fn rotate(name: &str, key: [u8; 32]) -> Change {
    Change::RotateOfficer { name: name.into(), certificate: Fingerprint(key) }
}

fn finish(name: &str, keep_new: bool) -> Change {
    Change::FinishOfficerRotation { name: name.into(), keep_new }
}

/// The officers of [`world`], `k1` and `k2` pinned.
fn pinned() -> World {
    let mut world = world();
    by(&mut world, "local:uid=0", pin("k1", KEY_1)).unwrap();
    by(&mut world, "local:uid=0", pin("k2", KEY_2)).unwrap();
    world
}

/// The same with approval required, and an armed key to remove.
fn pinned_strict() -> (World, KeyId) {
    let mut world = pinned();
    let id = world.armed(BABE, from_slot(5));
    by(&mut world, &with_key("k1", KEY_1), Change::RequireApproval { on: true }).unwrap();
    (world, id)
}

fn harmless(world: &mut World, actor: &str) -> Result<ChangeDone, ChangeError> {
    by(world, actor, Change::SetClientLimits { name: None, limits: None })
}

fn is_stranger(result: &Result<ChangeDone, ChangeError>) -> bool {
    matches!(result, Err(ChangeError::Officer(OfficerError::OfficerKey { .. })))
}

#[test]
fn a_pinned_officer_is_its_key_and_an_unpinned_one_its_name() {
    let mut world = pinned();
    harmless(&mut world, &with_key("k1", KEY_1)).unwrap();
    for actor in [with_key("k1", STOLEN), with_key("k1", KEY_2), "admin:k1".to_owned()] {
        assert!(is_stranger(&harmless(&mut world, &actor)), "{actor}");
    }
    // By name, until it is pinned; but not with a key that is somebody else's.
    harmless(&mut world, &with_key("o", STOLEN)).unwrap();
    assert!(is_stranger(&harmless(&mut world, &with_key("o", KEY_1))));
    by(&mut world, "local:uid=0", pin("o", [3; 32])).unwrap();
    assert!(is_stranger(&harmless(&mut world, &with_key("o", STOLEN))));
    let unpinned: Vec<&str> = world.state.registry().unpinned_officers().collect();
    assert_eq!(unpinned, ["v"]);
}

#[test]
fn pinning_takes_a_key_of_its_own_and_changes_by_rotation_alone() {
    let mut world = pinned();
    let me = with_key("k1", KEY_1);
    let taken = ChangeError::Officer(OfficerError::OfficerKeyTaken { name: "k2".into() });
    assert_eq!(by(&mut world, &me, pin("o", KEY_2)), Err(taken.clone()), "one key would be two officers");
    assert_eq!(by(&mut world, &me, rotate("k1", KEY_2)), Err(taken));
    let again = ChangeError::Officer(OfficerError::OfficerPinned { name: "k2".into() });
    assert_eq!(by(&mut world, &me, pin("k2", STOLEN)), Err(again));
    by(&mut world, &me, pin("k2", KEY_2)).expect("the same says nothing new");
    let nobody = ChangeError::Officer(OfficerError::UnknownOfficer { name: "nobody".into() });
    assert_eq!(by(&mut world, &me, pin("nobody", STOLEN)), Err(nobody));
    let by_name = ChangeError::Officer(OfficerError::OfficerNotPinned { name: "v".into() });
    assert_eq!(by(&mut world, &me, rotate("v", STOLEN)), Err(by_name));
    // With a role it is how an officer begins.
    let role = Some(Role::Viewer);
    let add = Change::PinOfficer { name: "new".into(), certificate: Fingerprint([9; 32]), role };
    by(&mut world, &me, add).unwrap();
    assert_eq!(world.state.registry().role_of(&with_key("new", [9; 32])), Ok(role));
}

#[test]
fn a_rotation_overlaps_and_what_it_ends_is_never_accepted_again() {
    let mut world = pinned();
    let (old, new) = (with_key("k1", KEY_1), with_key("k1", [11; 32]));
    assert!(is_stranger(&harmless(&mut world, &new)));
    by(&mut world, &old, rotate("k1", [11; 32])).unwrap();
    harmless(&mut world, &old).unwrap();
    harmless(&mut world, &new).unwrap();
    let twice = ChangeError::Officer(OfficerError::OfficerRotationUnderWay { name: "k1".into() });
    assert_eq!(by(&mut world, &old, rotate("k1", [12; 32])), Err(twice));
    by(&mut world, &new, finish("k1", true)).unwrap();
    assert!(is_stranger(&harmless(&mut world, &old)));
    let none = ChangeError::Officer(OfficerError::NoOfficerRotation { name: "k1".into() });
    assert_eq!(by(&mut world, &new, finish("k1", true)), Err(none));
    let taken = ChangeError::Officer(OfficerError::OfficerKeyTaken { name: "k1".into() });
    assert_eq!(by(&mut world, &new, rotate("k1", KEY_1)), Err(taken.clone()), "not even to its own officer");
    // Taken back, the new one goes.
    by(&mut world, &new, rotate("k1", [13; 32])).unwrap();
    by(&mut world, &new, finish("k1", false)).unwrap();
    assert!(is_stranger(&harmless(&mut world, &with_key("k1", [13; 32]))));
    assert_eq!(by(&mut world, &new, pin("o", [13; 32])), Err(taken));
}

#[test]
fn a_removed_officers_key_stays_shut_when_its_name_comes_back() {
    let mut world = pinned();
    by(&mut world, "local:uid=0", set("k2", None)).unwrap();
    assert!(is_stranger(&harmless(&mut world, &with_key("k2", KEY_2))));
    by(&mut world, "local:uid=0", set("k2", Some(Role::KeyOfficer))).unwrap();
    assert!(is_stranger(&harmless(&mut world, &with_key("k2", KEY_2))));
    assert!(world.state.registry().unpinned_officers().any(|name| name == "k2"));
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
    assert!(restored.registry().role_of(&with_key("k2", KEY_2)).is_err());
}

#[test]
fn a_second_officer_is_another_person_with_its_own_key() {
    let (mut world, key) = pinned_strict();
    let id = propose(&mut world, &with_key("k1", KEY_1), Change::RemoveKey { id: key });
    let own = Err(ChangeError::Proposal(ProposalError::OwnProposal { id, by: with_key("k1", KEY_1) }));
    assert_eq!(by(&mut world, &with_key("k1", KEY_1), approve(id)), own);
    assert!(
        is_stranger(&by(&mut world, &with_key("k2", STOLEN), approve(id))),
        "the right name, another key"
    );
    by(&mut world, &with_key("k2", KEY_2), approve(id)).unwrap();
    // A second key of one's own does not make two of one.
    let more = propose(&mut world, &with_key("k1", KEY_1), rotate("k1", [11; 32]));
    by(&mut world, &with_key("k2", KEY_2), approve(more)).unwrap();
    let id = propose(&mut world, &with_key("k1", KEY_1), set("v", None));
    let refused = by(&mut world, &with_key("k1", [11; 32]), approve(id));
    assert!(matches!(refused, Err(ChangeError::Proposal(ProposalError::OwnProposal { .. }))), "{refused:?}");
    // Nor does whoever is root on a signer become two by another user, or on another signer.
    let id = propose(&mut world, "local:uid=0", set("v", Some(Role::Operator)));
    let refused = by(&mut world, "local:uid=1000", approve(id));
    assert!(matches!(refused, Err(ChangeError::Proposal(ProposalError::OwnProposal { .. }))), "{refused:?}");
}

#[test]
fn what_a_lost_key_proposed_is_not_made() {
    let (mut world, key) = pinned_strict();
    let id = propose(&mut world, &with_key("k1", KEY_1), Change::RemoveKey { id: key });
    let new = propose(&mut world, "local:uid=0", rotate("k1", [11; 32]));
    by(&mut world, &with_key("k2", KEY_2), approve(new)).unwrap();
    by(&mut world, "local:uid=0", finish("k1", true)).unwrap();
    assert!(is_stranger(&by(&mut world, &with_key("k2", KEY_2), approve(id))));
    assert_eq!(state_of(&world, key), KeyState::Armed);
}

fn everything() -> Right {
    Right { keys: KeySelector::All, chain: None, classes: all_classes() }
}

#[test]
fn more_than_there_was_takes_two_and_less_takes_one() {
    let (mut world, key) = pinned_strict();
    let one = with_key("k1", KEY_1);
    let babe = |keys| Right { keys, chain: None, classes: vec![BABE_BLOCK] };
    let update =
        |rights: Vec<Right>| Change::UpdateClient { name: "c".into(), spki: None, rights: Some(rights) };
    let add = |rights| Change::AddClient { name: "c".into(), spki: Fingerprint([5; 32]), rights };
    let (genesis, limits) = {
        let chain = world.state.chains().next().unwrap();
        (chain.genesis, ChainSettings::of(chain).limits)
    };
    assert_eq!(genesis, CHAIN);
    let limit = set_limits;
    let allow = |limit| Change::SetKeyAllowance {
        name: "c".into(),
        allowance: Some(KeyAllowance { group: "g".into(), chain: None, limit }),
    };
    let invite = Change::AddMember { peer_addr: "h:1".into(), token: [1; 32], replaces: None };
    let cases: Vec<(Change, bool)> = vec![
        (add(vec![babe(KeySelector::All)]), true),
        (update(vec![babe(KeySelector::Key(key))]), false),
        (update(vec![babe(KeySelector::All)]), true),
        (update(vec![everything()]), true),
        (update(vec![]), false),
        (update(vec![babe(KeySelector::Key(key))]), true),
        (Change::RotateClient { name: "c".into(), spki: Fingerprint([6; 32]) }, true),
        (Change::FinishRotation { name: "c".into(), keep_new: true }, false),
        (Change::UpdateClient { name: "c".into(), spki: Some(Fingerprint([7; 32])), rights: None }, true),
        (allow(5), true),
        (allow(4), false),
        (allow(6), true),
        (Change::SetKeyAllowance { name: "c".into(), allowance: None }, false),
        (limit(Limits { beefy_shield: None, ..limits }), true),
        (limit(Limits { grandpa_rounds: limits.grandpa_rounds + 1, ..limits }), true),
        (limit(limits), false),
        (Change::RaiseWatermark { key, floors: from_slot(50) }, true),
        (Change::DisableKey { id: key }, false),
        (Change::RemoveClient { name: "c".into() }, false),
        (invite, true),
    ];
    for (change, takes_two) in cases {
        let done = by(&mut world, &one, change.clone()).unwrap_or_else(|e| panic!("{change:?}: {e}"));
        assert_eq!(done.proposed.is_some(), takes_two, "{change:?}");
        if let Some(id) = done.proposed {
            let made = by(&mut world, &with_key("k2", KEY_2), approve(id)).unwrap();
            let Change::AddMember { token, .. } = change else { continue };
            // The id comes with the approval, and what the log knows of the token is its hash.
            let node = made.node.unwrap();
            assert_eq!(node.0, made.at.0);
            assert_eq!(
                world.state.registry().membership(node).unwrap().standing,
                Standing::Invited { token }
            );
            let back = by(&mut world, &one, Change::RemoveMember { node }).unwrap();
            assert_eq!(back.proposed, None, "an invitation that nobody used is taken back by one");
        }
    }
}

#[test]
fn what_cannot_be_made_is_not_proposed() {
    let (mut world, _) = pinned_strict();
    let one = with_key("k1", KEY_1);
    let bad_name =
        Change::AddClient { name: "a b".into(), spki: Fingerprint([5; 32]), rights: vec![everything()] };
    assert!(matches!(by(&mut world, &one, bad_name), Err(ChangeError::Input(InputError::BadName { .. }))));
    let replaces = Some(NodeId(77));
    let nobody = Change::AddMember { peer_addr: "h:1".into(), token: [1; 32], replaces };
    assert_eq!(
        by(&mut world, &one, nobody),
        Err(ChangeError::Member(MemberError::UnknownMember { node: NodeId(77) }))
    );
    let taken = ChangeError::Officer(OfficerError::OfficerKeyTaken { name: "k2".into() });
    assert_eq!(by(&mut world, &one, pin("o", KEY_2)), Err(taken));
}

// What signers say of themselves is theirs alone.

/// One of each kind of what signers say of themselves, said by or for node 3, whose entry it is (or by a client).
fn of_signers(key: KeyId) -> Vec<(Change, &'static str)> {
    let node = NodeId(3);
    let member = Member {
        node,
        recipient: "age1".into(),
        peer_addr: "a:1".into(),
        client_url: "https://a:2".into(),
        supports: FEATURE_LEVEL,
    };
    let note = AuditNote {
        client: None,
        key: None,
        answer: NotedAnswer::Free { class: BABE_VRF },
        count: 1,
        first_ms: 1,
        last_ms: 2,
        request: request(9),
    };
    let signature = AuditSignature {
        node,
        next: 0,
        chain: Hash([0; 32]),
        certificates: vec![vec![1; 9]],
        scheme: 0x0807,
        signature: vec![2; 64],
    };
    let (digest, log_index, client) = (Digest([1; 32]), LogIndex(7), ClientId(1));
    let halt = Change::HaltKey { key, duty: babe(9), digest, log_index, client };
    let id = crate::world::key(BABE, 9);
    let generated = Change::AddGeneratedKey {
        client,
        id,
        scheme: BABE.schemes()[0],
        chain: CHAIN,
        sealed: vec![7; 200].into(),
        floors: from_slot(1),
    };
    let place = PlacementChange::Note { node, note: NodeNote { zone: None, version: "1".into() } };
    vec![
        (Change::AnnounceMember(member.clone()), "node:3"),
        (Change::JoinMember { member, token: JoinToken::new([1; 32]) }, "node:3"),
        (generated, "client:v1"),
        (Change::ResealKeys { keys: Vec::new(), members: vec![node] }, "node:3"),
        (Change::RecordAudit { notes: vec![note] }, "node:3"),
        (Change::SignAudit(signature), "node:3"),
        (halt, "node:3"),
        (Change::Place(place), "node:3"),
        (Change::WidenTolerance { slots: 3 }, "node:3"),
    ]
}

#[test]
fn what_signers_say_of_themselves_no_officer_may_say_for_them() {
    let mut world = world();
    let id = world.armed(BABE, from_slot(5));
    let kinds = of_signers(id).into_iter().map(|(change, _)| change.kind());
    let theirs: BTreeSet<ChangeKind> = kinds.collect();
    let table = ChangeKind::ALL.iter().filter(|kind| kind.least_role().is_none());
    assert!(table.clone().all(|kind| theirs.contains(kind)), "a kind is missing here");
    assert_eq!(theirs.len(), table.count() + 1, "and one change of a kind that operators have");
    world.state.take_audit();
    for (change, _) in of_signers(id) {
        let name = change.kind().name();
        for actor in ["admin:o", "admin:k1", "admin:stranger", "local:uid=0"] {
            let refused = by(&mut world, actor, change.clone());
            let theirs = ChangeError::Officer(OfficerError::NotForOfficers {
                actor: actor.into(),
                change: name.into(),
            });
            assert_eq!(refused, Err(theirs), "{name} by {actor}");
            let rows = world.state.take_audit();
            assert_eq!(rows.len(), 1, "the attempt is recorded");
            let AuditRecord { event, .. } = AuditRecord::from_bytes(&rows[0].record).unwrap();
            let AuditEvent::Change { actor: who, refused: Some(_), change, .. } = event else {
                panic!("{event:?}")
            };
            assert_eq!((who.as_str(), change.kind().name()), (actor, name));
            assert!(rows[0].record.len() < 1_000, "and not what was to be written");
        }
    }
    assert_eq!(world.state.registry().halts().count(), 0);
}

#[test]
fn a_signer_speaks_for_itself_and_its_clients_alone() {
    let mut world = world();
    let id = world.armed(BABE, from_slot(5));
    let add =
        |name: &str, n| Change::AddClient { name: name.into(), spki: Fingerprint([n; 32]), rights: vec![] };
    world.change(add("v1", 1)).unwrap();
    for (change, speaker) in of_signers(id) {
        let name = change.kind().name();
        let another = matches!(change, Change::ResealKeys { .. });
        for actor in ["node:2", "client:v2", "somebody"] {
            let asked = by(&mut world, actor, change.clone());
            let refused = matches!(asked, Err(ChangeError::Officer(OfficerError::SpeaksForAnother { .. })));
            assert_eq!(refused, !another, "{name} by {actor}: {asked:?}");
        }
        let asked = by(&mut world, speaker, change.clone());
        assert!(
            !matches!(asked, Err(ChangeError::Officer(OfficerError::SpeaksForAnother { .. }))),
            "{name}: {asked:?}"
        );
        // What node 3 is said to have noted or signed, in an entry of another node.
        if matches!(change, Change::RecordAudit { .. } | Change::SignAudit(_)) {
            let request = RequestId { node: NodeId(2), ..request(0) };
            let command = Command::Change { request, actor: "node:2".into(), time_ms: 1, change };
            let outcomes = world.apply(&command);
            let [(_, Outcome::Change(Err(ChangeError::Officer(OfficerError::SpeaksForAnother { .. }))))] =
                &outcomes[..]
            else {
                panic!("{name}: {outcomes:?}")
            };
        }
    }
    assert_eq!(world.state.registry().halts().count(), 1);
}
