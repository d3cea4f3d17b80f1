//! Chains, keys, clients, members.

use crate::world::*;
use signonce_core::{
    ApplyError, ChainError, Change, ChangeError, ClientError, ClientId, FEATURE_LEVEL, FIRST_LEVEL,
    FeatureError, Fingerprint, Floors, InputError, KeyError, KeySelector, KeyState, Member, MemberError,
    Refusal, Right, Verdict,
};
use signonce_protocol::{ChainId, DutyClass, KeyId, KeyType, LogIndex, NodeId};
use signonce_substrate::AuraMode;
use signonce_substrate::Limits;
use signonce_substrate::{
    AURA, AUTHORITY_DISCOVERY, BABE, BABE_BLOCK, BABE_VRF, BEEFY, ED25519, GRANDPA, GRANDPA_VOTE, IM_ONLINE,
    OWNERSHIP_PROOF, PARA, SR25519,
};

fn right(keys: KeySelector, classes: &[DutyClass]) -> Right {
    Right { keys, chain: None, classes: classes.to_vec() }
}

fn add_client(name: &str, spki: u8, rights: Vec<Right>) -> Change {
    Change::AddClient { name: name.into(), spki: Fingerprint([spki; 32]), rights }
}

fn member(node: u64, recipient: &str, supports: u32) -> Member {
    Member {
        node: NodeId(node),
        recipient: recipient.into(),
        peer_addr: "signer:7000".into(),
        client_url: "https://signer:7001".into(),
        supports,
    }
}

#[test]
fn a_chain_is_found_by_name_and_by_genesis_and_is_added_once() {
    let mut world = World::new();
    for text in ["relay", &CHAIN.to_string()] {
        assert_eq!(world.state.chain_by_name_or_id(text).unwrap().genesis, CHAIN);
    }
    assert!(world.state.chain_by_name_or_id("other").is_none());
    for twin in [chain(CHAIN, "other", AuraMode::Slot), chain(ChainId([9; 32]), "relay", AuraMode::Slot)] {
        let refused = ChangeError::Chain(ChainError::ChainExists { name: "relay".into(), genesis: CHAIN });
        assert_eq!(world.change(Change::AddChain(twin)), Err(refused));
    }
}

#[test]
fn names_that_mislead_are_refused() {
    let mut world = World::new();
    let long = "a".repeat(65);
    for name in ["", "0x01", "with space", "new\nline", "ünicode", long.as_str()] {
        let named = chain(ChainId([9; 32]), name, AuraMode::Slot);
        assert!(
            matches!(
                world.change(Change::AddChain(named)),
                Err(ChangeError::Input(InputError::BadName { .. }))
            ),
            "{name:?}"
        );
        assert!(
            matches!(
                world.change(add_client(name, 1, vec![])),
                Err(ChangeError::Input(InputError::BadName { .. }))
            ),
            "{name:?}"
        );
        let key = register(key(BABE, 1), CHAIN, Some(name));
        assert!(matches!(world.change(key), Err(ChangeError::Input(InputError::BadName { .. }))), "{name:?}");
    }
}

#[test]
fn a_slot_must_last() {
    let mut world = World::new();
    let still = chain_of(ChainId([9; 32]), "still", AuraMode::Slot, 0, Limits::default());
    let refused = world.change(Change::AddChain(still)).unwrap_err();
    assert!(
        matches!(&refused, ChangeError::Chain(ChainError::BadSettings { name, why }) if name == "still" && why.contains("0 ms")),
        "{refused}"
    );
}

#[test]
fn a_public_key_belongs_to_one_chain_for_ever_whatever_its_type() {
    let mut world = World::new();
    let babe_key = key(BABE, 1);
    world.register(babe_key, CHAIN);
    world.change(Change::RemoveKey { id: babe_key }).unwrap();
    let same_public = KeyId { key_type: AURA, public: babe_key.public };
    let refused = ChangeError::Key(KeyError::KeyOnOtherChain { key: same_public, chain: CHAIN });
    assert_eq!(world.change(register(same_public, COLLATOR_CHAIN, None)), Err(refused));
    world.change(register(same_public, CHAIN, None)).unwrap();
    let ids: Vec<_> = world.state.keys_by_public(&CHAIN, &babe_key.public).map(|key| key.id).collect();
    assert_eq!(ids, [babe_key, same_public]);
    assert_eq!(world.state.keys_by_public(&COLLATOR_CHAIN, &babe_key.public).count(), 0);
}

#[test]
fn a_removed_key_never_comes_back_and_keeps_its_watermark() {
    let mut world = World::new();
    let id = world.armed(BABE, from_slot(100));
    world.claim(id, babe(100), 1);
    world.change(Change::RemoveKey { id }).unwrap();
    let tombstone = world.state.key(&id).unwrap();
    assert_eq!((tombstone.state, tombstone.sealed.as_bytes()), (KeyState::Removed, &[][..]));
    assert_eq!(world.state.watermarks(&id)[0].highest, Some(at_slot(100)));
    assert_eq!(world.refusal(id, babe(100), 1), Refusal::KeyRemoved { key: id });
    let removed = || Err(ChangeError::Key(KeyError::KeyRemoved { key: id }));
    assert_eq!(world.change(register(id, CHAIN, None)), removed());
    assert_eq!(world.change(Change::ArmKey { id, floors: from_slot(200) }), removed());
    assert_eq!(world.change(Change::DisableKey { id }), removed());
    assert_eq!(world.change(Change::RemoveKey { id }), removed());
    assert_eq!(world.change(Change::ResealKey { id, sealed: vec![1].into() }), removed());
    assert_eq!(world.raise(id, from_slot(200)), removed());
}

#[test]
fn a_key_signs_nothing_before_it_is_armed_or_while_it_is_disabled() {
    let mut world = World::new();
    let id = key(BABE, 1);
    assert_eq!(world.refusal(id, babe(100), 1), Refusal::UnknownKey { key: id });
    world.register(id, CHAIN);
    assert_eq!(
        world.refusal(id, babe(100), 1),
        Refusal::KeyNotArmed { key: id, state: KeyState::Registered }
    );
    world.change(Change::ArmKey { id, floors: from_slot(100) }).unwrap();
    assert_eq!(world.claim(id, babe(100), 1), Verdict::Granted);
    world.change(Change::DisableKey { id }).unwrap();
    assert_eq!(world.refusal(id, babe(100), 1), Refusal::KeyNotArmed { key: id, state: KeyState::Disabled });
    world.change(Change::ArmKey { id, floors: from_slot(100) }).unwrap();
    assert!(matches!(world.claim(id, babe(100), 1), Verdict::Repeated { .. }), "nothing was forgotten");
}

#[test]
fn arming_again_never_lowers_a_floor() {
    let mut world = World::new();
    let id = world.armed(GRANDPA, from_round(5, 10));
    world.change(Change::DisableKey { id }).unwrap();
    let refused =
        ChangeError::Key(KeyError::AlreadyHigher { key: id, floor: at_round(5, 10), asked: at_round(5, 9) });
    assert_eq!(world.change(Change::ArmKey { id, floors: from_round(5, 9) }), Err(refused.clone()));
    assert_eq!(world.state.key(&id).unwrap().state, KeyState::Disabled);
    assert_eq!(world.raise(id, from_round(5, 9)), Err(refused));
    world.change(Change::ArmKey { id, floors: from_round(6, 0) }).unwrap();
    assert_eq!(world.floor(id), at_round(6, 0));
}

#[test]
fn arming_takes_exactly_the_floor_of_the_keys_work() {
    let wrong: [(KeyType, Floors); 9] = [
        (BABE, Floors::default()),
        (AURA, from_round(1, 1)),
        (AURA, from_slot(1)),
        (GRANDPA, from_slot(1)),
        (BEEFY, [at_slot(1), at_block(1, 1)].into_iter().collect()),
        (BEEFY, [at_block(1, 1), at_block(1, 1)].into_iter().collect()),
        (BEEFY, [at_block(1, 1), at_block(1, 2)].into_iter().collect()),
        (PARA, Floors::default()),
        (IM_ONLINE, from_slot(1)),
    ];
    for (key_type, floors) in wrong {
        let mut world = World::new();
        let id = key(key_type, 1);
        world.register(id, CHAIN);
        let refused = world.change(Change::ArmKey { id, floors: floors.clone() }).unwrap_err();
        let missing = matches!(refused, ChangeError::Key(KeyError::MissingFloor { .. }));
        assert!(missing || matches!(refused, ChangeError::Key(KeyError::ForeignFloor { .. })), "{refused}");
        assert_eq!(missing, floors == Floors::default(), "{refused}");
        assert_eq!(world.state.key(&id).unwrap().state, KeyState::Registered);
        assert!(world.state.watermarks(&id).is_empty());
    }
    let mut world = World::new();
    let free = world.armed(AUTHORITY_DISCOVERY, Floors::default());
    assert_eq!(world.state.key(&free).unwrap().state, KeyState::Armed);
    assert!(matches!(world.refusal(free, babe(1), 1), Refusal::WrongDuty { .. }));
}

#[test]
fn a_key_is_armed_once_and_raised_only_when_it_was_armed() {
    let mut world = World::new();
    let id = key(BABE, 1);
    world.register(id, CHAIN);
    assert!(matches!(world.raise(id, from_slot(1)), Err(ChangeError::Key(KeyError::WrongState { .. }))));
    assert!(matches!(
        world.change(Change::DisableKey { id }),
        Err(ChangeError::Key(KeyError::WrongState { .. }))
    ));
    world.change(Change::ArmKey { id, floors: from_slot(1) }).unwrap();
    let again = world.change(Change::ArmKey { id, floors: from_slot(2) });
    assert!(matches!(again, Err(ChangeError::Key(KeyError::WrongState { state: KeyState::Armed, .. }))));
    world.raise(id, from_slot(1)).unwrap();
    assert_eq!(world.floor(id), at_slot(1));
}

#[test]
fn a_key_must_fit_its_chain_scheme_and_envelope() {
    let mut world = World::new();
    let id = key(GRANDPA, 1);
    let with = |scheme, chain, sealed: Vec<u8>| {
        let sealed = sealed.into();
        Change::RegisterKey { id, scheme, chain, group: None, sealed }
    };
    let nowhere = ChainId([9; 32]);
    let cases = [
        (with(ED25519, nowhere, vec![1]), ChangeError::Chain(ChainError::UnknownChain { genesis: nowhere })),
        (with(SR25519, CHAIN, vec![1]), ChangeError::Key(KeyError::WrongScheme { key: id, scheme: SR25519 })),
        (
            with(ED25519, CHAIN, vec![]),
            ChangeError::Key(KeyError::BadEnvelope { key: id, len: 0, limit: 16_384 }),
        ),
        (
            with(ED25519, CHAIN, vec![1; 16_385]),
            ChangeError::Key(KeyError::BadEnvelope { key: id, len: 16_385, limit: 16_384 }),
        ),
    ];
    for (change, refused) in cases {
        assert_eq!(world.change(change), Err(refused));
    }
    world.register(id, CHAIN);
    let refused = ChangeError::Key(KeyError::KeyExists { key: id, state: KeyState::Registered });
    assert_eq!(world.change(register(id, CHAIN, None)), Err(refused));
    world.change(Change::ResealKey { id, sealed: vec![5; 9].into() }).unwrap();
    assert_eq!(world.state.key(&id).unwrap().sealed.as_bytes(), [5; 9]);
}

#[test]
fn a_client_may_do_what_a_right_names_and_nothing_else() {
    let mut world = World::new();
    let babe_key = world.armed(BABE, from_slot(1));
    let gran_key = world.armed(GRANDPA, from_round(1, 1));
    let rights = vec![
        right(KeySelector::Key(babe_key), &[BABE_BLOCK]),
        right(KeySelector::Group("validator-1".into()), &[GRANDPA_VOTE]),
        right(KeySelector::Group("validator-2".into()), &all_classes()),
        Right { chain: Some(COLLATOR_CHAIN), ..right(KeySelector::All, &all_classes()) },
        right(KeySelector::All, &[]),
    ];
    let client = world.change(add_client("node-a", 1, rights)).unwrap().client.unwrap();
    let may =
        |world: &World, id: KeyId, class| world.state.allows(client, world.state.key(&id).unwrap(), class);
    assert!(may(&world, babe_key, BABE_BLOCK));
    assert!(!may(&world, babe_key, BABE_VRF));
    assert!(may(&world, gran_key, GRANDPA_VOTE));
    assert!(!may(&world, gran_key, OWNERSHIP_PROOF));
    let stranger = ClientId(77);
    assert!(!world.state.allows(stranger, world.state.key(&babe_key).unwrap(), BABE_BLOCK));
    world.change(Change::RemoveClient { name: "node-a".into() }).unwrap();
    assert!(!may(&world, babe_key, BABE_BLOCK));
}

#[test]
fn a_removed_clients_certificate_is_never_accepted_again_but_its_name_is_free() {
    let mut world = World::new();
    let first = world.change(add_client("node-a", 1, vec![])).unwrap().client.unwrap();
    assert_eq!(
        world.change(add_client("node-a", 2, vec![])),
        Err(ChangeError::Client(ClientError::ClientExists { name: "node-a".into() }))
    );
    assert_eq!(world.state.client_by_spki(&Fingerprint([1; 32])).unwrap().id, first);
    world.change(Change::RemoveClient { name: "node-a".into() }).unwrap();
    assert!(world.state.client_by_spki(&Fingerprint([1; 32])).is_none());
    let refused = ChangeError::Client(ClientError::CertificateTaken { client: first, name: "node-a".into() });
    assert_eq!(world.change(add_client("node-b", 1, vec![])), Err(refused));
    let second = world.change(add_client("node-a", 2, vec![])).unwrap().client.unwrap();
    assert!(second > first);
    assert_eq!(world.state.clients().count(), 2);
}

#[test]
fn a_client_changes_its_certificate_and_rights_in_place() {
    let mut world = World::new();
    let id = world.change(add_client("node-a", 1, vec![])).unwrap().client.unwrap();
    world.change(add_client("node-b", 2, vec![])).unwrap();
    let update = |spki, rights| Change::UpdateClient { name: "node-a".into(), spki, rights };
    assert!(matches!(
        world.change(update(Some(Fingerprint([2; 32])), None)),
        Err(ChangeError::Client(ClientError::CertificateTaken { .. }))
    ));
    let rights = vec![right(KeySelector::All, &all_classes())];
    world.change(update(Some(Fingerprint([3; 32])), Some(rights.clone()))).unwrap();
    assert!(world.state.client_by_spki(&Fingerprint([1; 32])).is_none());
    assert_eq!(world.state.client_by_spki(&Fingerprint([3; 32])).unwrap().id, id);
    assert_eq!(world.state.client(id).unwrap().rights, rights);
    let unknown = Change::UpdateClient { name: "node-c".into(), spki: None, rights: None };
    assert_eq!(
        world.change(unknown),
        Err(ChangeError::Client(ClientError::UnknownClient { name: "node-c".into() }))
    );
}

#[test]
fn a_node_id_keeps_its_identity_and_is_never_reused() {
    let mut world = World::new();
    // Three are left to vote, whoever goes.
    for node in 2..=4 {
        world.change(Change::AnnounceMember(member(node, &format!("age1-{node}"), 1))).unwrap();
    }
    world.change(Change::AnnounceMember(member(1, "age1first", 1))).unwrap();
    let moved = Member { peer_addr: "elsewhere:7000".into(), ..member(1, "age1first", 1) };
    world.change(Change::AnnounceMember(moved.clone())).unwrap();
    assert_eq!(world.state.members().filter(|member| member.node == NodeId(1)).collect::<Vec<_>>(), [&moved]);
    let refused = ChangeError::Member(MemberError::MemberIdentityChanged {
        node: NodeId(1),
        known: "age1first".into(),
    });
    assert_eq!(world.change(Change::AnnounceMember(member(1, "age1other", 1))), Err(refused));
    world.change(Change::RemoveMember { node: NodeId(1) }).unwrap();
    assert!(world.state.members().all(|member| member.node != NodeId(1)));
    let refused = ChangeError::Member(MemberError::MemberRemoved { node: NodeId(1) });
    assert_eq!(world.change(Change::AnnounceMember(member(1, "age1first", 1))), Err(refused));
    assert_eq!(
        world.change(Change::AnnounceMember(member(0, "age1", 1))),
        Err(ChangeError::Member(MemberError::ZeroNode))
    );
    assert_eq!(
        world.change(Change::RemoveMember { node: NodeId(9) }),
        Err(ChangeError::Member(MemberError::UnknownMember { node: NodeId(9) }))
    );
}

/// Level 2 is what this program lacks: it holds the level back, and where the others do not, it stops.
#[test]
fn the_feature_level_waits_for_every_member_and_never_falls() {
    let mut world = World::new();
    assert_eq!(world.state.feature_level(), FIRST_LEVEL);
    world.change(Change::AnnounceMember(member(1, "age1a", 2))).unwrap();
    world.change(Change::AnnounceMember(member(2, "age1b", 1))).unwrap();
    let refused =
        ChangeError::Feature(FeatureError::FeatureUnsupported { node: NodeId(2), supports: 1, level: 2 });
    assert_eq!(world.change(Change::RaiseFeatureLevel { level: 2 }), Err(refused));
    assert_eq!(world.state.feature_level(), FIRST_LEVEL);
    for level in [0, FIRST_LEVEL] {
        let refused = FeatureError::FeatureNotHigher { current: FIRST_LEVEL, level };
        assert_eq!(world.change(Change::RaiseFeatureLevel { level }), Err(ChangeError::Feature(refused)));
    }
    let refused = ChangeError::Feature(FeatureError::MemberTooOld {
        node: NodeId(3),
        supports: 0,
        current: FIRST_LEVEL,
    });
    assert_eq!(world.change(Change::AnnounceMember(member(3, "age1c", 0))), Err(refused));
    world.change(Change::AnnounceMember(member(2, "age1b", 2))).unwrap();
    let raise = change_command(Change::RaiseFeatureLevel { level: 2 });
    let stopped = world.state.apply(LogIndex(world.at + 1), raise);
    assert_eq!(
        stopped,
        Err(ApplyError::TooNew { at: LogIndex(world.at + 1), level: 2, supports: FEATURE_LEVEL })
    );
}

#[test]
fn the_registry_version_moves_with_changes_and_not_with_claims_or_refused_changes() {
    let mut world = World::new();
    let id = world.armed(BABE, from_slot(1));
    let version = world.state.registry_version();
    world.claim(id, babe(1), 1);
    world.change(register(id, CHAIN, None)).unwrap_err();
    assert_eq!(world.state.registry_version(), version);
    let done = world.raise(id, from_slot(2)).unwrap();
    assert_eq!((done.registry_version, done.at.0), (version + 1, world.at));
    let limits = Limits { beefy_shield: None, ..Limits::default() };
    world.change(set_limits(limits)).unwrap();
    assert_eq!(world.state.registry_version(), version + 2);
}

#[test]
fn a_change_that_is_refused_leaves_nothing_but_its_place_in_the_audit() {
    let mut world = World::new();
    let id = world.armed(BABE, from_slot(10));
    world.state.take_changes();
    let before = rows_but_audit(&world.state);
    world.raise(id, from_slot(9)).unwrap_err();
    world.raise(id, from_round(1, 1)).unwrap_err();
    world.change(add_client("bad name", 1, vec![])).unwrap_err();
    assert_eq!(rows_but_audit(&world.state), before);
    let changes = world.state.take_changes();
    assert!(changes.iter().all(|change| is_audit_head(change.table, &change.key)), "{changes:?}");
}
