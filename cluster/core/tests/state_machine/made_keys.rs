//! Keys that clients have made: who may, and what one command does.

use crate::world::*;
use signonce_core::{
    ChainError, Change, ChangeError, ClientError, ClientId, CodecError, Command, Fingerprint, Floors,
    InputError, KeyAllowance, KeySelector, KeyState, Right, State, Verdict, seal_record,
};
use signonce_protocol::{ChainId, DutyClass, KeyId};
use signonce_substrate::{
    BABE, BABE_BLOCK, BEEFY, BEEFY_VOTE, ECDSA, GRANDPA, GRANDPA_VOTE, OWNERSHIP_PROOF,
};

fn allowance(limit: u32) -> KeyAllowance {
    KeyAllowance { group: "validator-a".into(), chain: None, limit }
}

fn allow(allowance: Option<KeyAllowance>) -> Change {
    Change::SetKeyAllowance { name: "a".into(), allowance }
}

fn made(client: ClientId, id: KeyId, floors: Floors) -> Change {
    let scheme = id.key_type.schemes()[0];
    Change::AddGeneratedKey { client, id, scheme, chain: CHAIN, sealed: vec![7; 200].into(), floors }
}

/// A world with the client `a`, which may have `limit` keys made.
fn world(limit: u32) -> (World, ClientId) {
    let mut world = World::new();
    let client = add(&mut world, "a", 1, vec![]);
    world.change(allow(Some(allowance(limit)))).unwrap();
    (world, client)
}

fn add(world: &mut World, name: &str, spki: u8, rights: Vec<Right>) -> ClientId {
    let add = Change::AddClient { name: name.into(), spki: Fingerprint([spki; 32]), rights };
    world.change(add).unwrap().client.unwrap()
}

fn may(world: &World, client: ClientId, id: KeyId, class: DutyClass) -> bool {
    world.state.allows(client, world.state.key(&id).unwrap(), class)
}

#[test]
fn one_command_registers_arms_and_grants_the_key_to_the_client_and_to_nobody_else() {
    let (mut world, client) = world(64);
    let other = add(&mut world, "b", 2, vec![]);
    let id = key(GRANDPA, 1);
    world.change(made(client, id, from_round(0, 0))).unwrap();
    let made = world.state.key(&id).unwrap();
    assert_eq!((made.state, made.group.as_deref()), (KeyState::Armed, Some("validator-a")));
    for class in [GRANDPA_VOTE, OWNERSHIP_PROOF] {
        assert!(may(&world, client, id, class));
        assert!(!may(&world, other, id, class));
    }
    assert!(!may(&world, client, id, BABE_BLOCK));
    assert_eq!(world.claim(id, prevote(40_000, 7), 1), Verdict::Granted, "wherever the chain is");
    assert_eq!(world.state.registry().keys_made_for(client).count(), 1);
}

#[test]
fn a_client_without_leave_gets_nothing_and_leave_can_be_taken_away() {
    let (mut world, client) = world(64);
    let other = add(&mut world, "b", 2, vec![]);
    let id = key(BABE, 1);
    let denied = |name: &str| {
        Err(ChangeError::Client(ClientError::MayNotGenerate { name: name.into(), chain: CHAIN }))
    };
    assert_eq!(world.change(made(other, id, from_slot(1))), denied("b"));
    assert_eq!(world.change(made(ClientId(77), id, from_slot(1))), denied("client 77"));
    world.change(made(client, id, from_slot(1))).unwrap();
    world.change(allow(None)).unwrap();
    assert_eq!(world.change(made(client, key(BABE, 2), from_slot(1))), denied("a"));
    assert!(may(&world, client, id, BABE_BLOCK), "what was made stays");
    world.change(allow(Some(allowance(64)))).unwrap();
    world.change(Change::RemoveClient { name: "a".into() }).unwrap();
    assert_eq!(world.change(made(client, key(BABE, 3), from_slot(1))), denied("a"));
}

#[test]
fn leave_for_one_chain_is_none_for_another() {
    let (mut world, client) = world(64);
    world.change(allow(Some(KeyAllowance { chain: Some(COLLATOR_CHAIN), ..allowance(64) }))).unwrap();
    let refused = ChangeError::Client(ClientError::MayNotGenerate { name: "a".into(), chain: CHAIN });
    assert_eq!(world.state.may_generate(client, &CHAIN), Err(refused.clone()));
    assert_eq!(world.change(made(client, key(BABE, 1), from_slot(1))), Err(refused));
    assert!(world.state.may_generate(client, &COLLATOR_CHAIN).is_ok());
}

#[test]
fn the_quota_counts_keys_that_were_not_removed() {
    let (mut world, client) = world(2);
    let ids = [1, 2, 3].map(|n| key(BABE, n));
    for id in &ids[..2] {
        world.change(made(client, *id, from_slot(1))).unwrap();
    }
    let full = || Err(ChangeError::Client(ClientError::KeyQuota { name: "a".into(), limit: 2 }));
    assert_eq!(world.change(made(client, ids[2], from_slot(1))), full());
    world.change(Change::DisableKey { id: ids[0] }).unwrap();
    assert_eq!(world.change(made(client, ids[2], from_slot(1))), full(), "a disabled key may come back");
    world.change(Change::RemoveKey { id: ids[0] }).unwrap();
    world.change(made(client, ids[2], from_slot(1))).unwrap();
    assert_eq!(world.change(made(client, key(BABE, 4), from_slot(1))), full());
    let rights = &world.state.client(client).unwrap().rights;
    let named: Vec<_> = rights.iter().map(|right| right.keys.clone()).collect();
    assert_eq!(named, [KeySelector::Key(ids[1]), KeySelector::Key(ids[2])], "no right to what was removed");
}

#[test]
fn a_client_whose_rights_cover_the_key_gets_no_other_right() {
    let (mut world, _) = world(64);
    let group = KeySelector::Group("validator-a".into());
    let all = Right { keys: group, chain: None, classes: all_classes() };
    let client = add(&mut world, "c", 3, vec![all.clone()]);
    world.change(Change::SetKeyAllowance { name: "c".into(), allowance: Some(allowance(64)) }).unwrap();
    let id = key(BEEFY, 1);
    world.change(made(client, id, from_block(0, 0))).unwrap();
    assert_eq!(world.state.client(client).unwrap().rights, [all]);
    assert!(may(&world, client, id, BEEFY_VOTE));
}

#[test]
fn a_key_that_cannot_be_added_leaves_nothing_behind() {
    let (mut world, client) = world(64);
    let taken = world.armed(BABE, from_slot(1));
    let id = key(BABE, 9);
    world.state.take_changes();
    let before = rows_but_audit(&world.state);
    let nowhere = ChainId([9; 32]);
    let good = || made(client, id, from_slot(1));
    let changed = |change: &mut dyn FnMut(&mut Change)| {
        let mut it = good();
        change(&mut it);
        it
    };
    let cases = [
        made(client, id, Floors::default()),
        made(client, id, from_round(1, 1)),
        made(client, taken, from_slot(1)),
        changed(&mut |it| match it {
            Change::AddGeneratedKey { chain, .. } => *chain = nowhere,
            _ => unreachable!(),
        }),
        changed(&mut |it| match it {
            Change::AddGeneratedKey { scheme, .. } => *scheme = ECDSA,
            _ => unreachable!(),
        }),
        changed(&mut |it| match it {
            Change::AddGeneratedKey { sealed, .. } => *sealed = vec![].into(),
            _ => unreachable!(),
        }),
    ];
    for case in cases {
        world.change(case.clone()).expect_err(&format!("{case:?}"));
        assert_eq!(rows_but_audit(&world.state), before, "{case:?}");
    }
    let changes = world.state.take_changes();
    assert!(changes.iter().all(|change| is_audit_head(change.table, &change.key)), "{changes:?}");
    world.change(good()).unwrap();
}

#[test]
fn an_allowance_is_for_a_known_chain_a_usable_group_and_a_sane_number() {
    let (mut world, _) = world(64);
    let nowhere = ChainId([9; 32]);
    let cases = [
        (allowance(0), ChangeError::Client(ClientError::BadKeyLimit { asked: 0, most: 500 })),
        (allowance(501), ChangeError::Client(ClientError::BadKeyLimit { asked: 501, most: 500 })),
        (
            KeyAllowance { group: "two words".into(), ..allowance(1) },
            ChangeError::Input(InputError::BadName { name: "two words".into() }),
        ),
        (
            KeyAllowance { chain: Some(nowhere), ..allowance(1) },
            ChangeError::Chain(ChainError::UnknownChain { genesis: nowhere }),
        ),
    ];
    for (given, refused) in cases {
        assert_eq!(world.change(allow(Some(given))), Err(refused));
    }
    let unknown = Change::SetKeyAllowance { name: "z".into(), allowance: None };
    assert_eq!(
        world.change(unknown),
        Err(ChangeError::Client(ClientError::UnknownClient { name: "z".into() }))
    );
}

#[test]
fn made_keys_survive_a_restart_and_are_missed_where_they_are_missing() {
    let (mut world, client) = world(2);
    for n in [1, 2] {
        world.change(made(client, key(BABE, n), from_slot(1))).unwrap();
    }
    let again = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(again.hash(), world.state.hash());
    let refused = again.may_generate(client, &CHAIN).unwrap_err();
    assert_eq!(refused, ChangeError::Client(ClientError::KeyQuota { name: "a".into(), limit: 2 }));

    let clientless = world.state.records().filter(|(_, key, _)| key.first() != Some(&3));
    let error = State::from_records(clientless, world.state.hash()).unwrap_err();
    assert!(error.to_string().contains("made for client 1"), "{error}");
}

#[test]
fn a_command_is_of_the_version_of_what_is_in_it_and_another_program_stops_at_it() {
    let command = change_command(allow(Some(allowance(64))));
    let bytes = command.to_bytes();
    let body = [
        &[1][..],                                          // a change
        &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // node 3, boot 1
        &[0, 0, 0, 0, 0, 0, 0, 0],                         // request 0
        &[32],
        b"operator",
        &[1, 0, 0, 0, 0, 0, 0, 0], // at 1 ms
        &[14, 4],                  // an allowance, for
        b"a",
        &[1, 44],
        b"validator-a",
        &[0, 64, 0, 0, 0], // any chain, 64 keys
    ]
    .concat();
    assert_eq!(bytes, seal_record(1, &body));
    let newer = seal_record(2, &body);
    assert_eq!(Command::from_bytes(&newer), Err(CodecError::UnknownVersion { found: 2, known: 1 }));
    assert_eq!(Command::from_bytes(&bytes), Ok(command));
}
