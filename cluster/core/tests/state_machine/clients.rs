//! What clients may use, and certificates that change.

use crate::world::*;
use signonce_core::{Change, ChangeError, ClientError, ClientId, ClientLimits, Fingerprint, State};

/// A world with the client `a`, which has certificate 1.
fn world() -> (World, ClientId) {
    let mut world = World::new();
    let client = world.change(add("a", 1)).unwrap().client.unwrap();
    (world, client)
}

fn add(name: &str, spki: u8) -> Change {
    Change::AddClient { name: name.into(), spki: Fingerprint([spki; 32]), rights: vec![] }
}

fn rotate(spki: u8) -> Change {
    Change::RotateClient { name: "a".into(), spki: Fingerprint([spki; 32]) }
}

fn finish(keep_new: bool) -> Change {
    Change::FinishRotation { name: "a".into(), keep_new }
}

/// Whose certificate it is.
fn owner(state: &State, spki: u8) -> Option<ClientId> {
    state.client_by_spki(&Fingerprint([spki; 32])).map(|client| client.id)
}

fn limits(per_second: u32) -> ClientLimits {
    ClientLimits { per_second, burst: 2 * per_second, in_flight: 9 }
}

#[test]
fn a_clients_own_limits_go_before_everybodys() {
    let (mut world, a) = world();
    let b = world.change(add("b", 2)).unwrap().client.unwrap();
    let of = |world: &World, client| world.state.registry().limits_of(client);
    assert_eq!(of(&world, a), ClientLimits::default());
    let set = |name: Option<&str>, limits| Change::SetClientLimits { name: name.map(str::to_owned), limits };
    world.change(set(None, Some(limits(5)))).unwrap();
    world.change(set(Some("b"), Some(limits(7)))).unwrap();
    assert_eq!((of(&world, a), of(&world, b)), (limits(5), limits(7)));
    world.change(set(None, None)).unwrap();
    world.change(set(Some("b"), None)).unwrap();
    assert_eq!((of(&world, a), of(&world, b)), (ClientLimits::default(), ClientLimits::default()));

    let before = world.state.registry_version();
    let unknown = ChangeError::Client(ClientError::UnknownClient { name: "c".into() });
    assert_eq!(world.change(set(Some("c"), None)), Err(unknown));
    for bad in [0, 1_000_001] {
        let refused = world.change(set(Some("a"), Some(ClientLimits { in_flight: bad, ..limits(1) })));
        assert!(
            matches!(refused, Err(ChangeError::Client(ClientError::BadClientLimit { asked, .. })) if asked == bad)
        );
    }
    assert_eq!(world.state.registry_version(), before);
    assert_eq!(of(&world, a), ClientLimits::default());
}

#[test]
fn while_a_certificate_changes_both_are_accepted_and_afterwards_the_old_one_never_again() {
    let (mut world, a) = world();
    world.change(rotate(2)).unwrap();
    assert_eq!((owner(&world.state, 1), owner(&world.state, 2)), (Some(a), Some(a)));
    assert_eq!(
        world.change(rotate(3)),
        Err(ChangeError::Client(ClientError::RotationUnderWay { name: "a".into() }))
    );
    world.change(finish(true)).unwrap();
    assert_eq!((owner(&world.state, 1), owner(&world.state, 2)), (None, Some(a)));
    assert_eq!(
        world.change(finish(true)),
        Err(ChangeError::Client(ClientError::NoRotation { name: "a".into() }))
    );
    let taken = ChangeError::Client(ClientError::CertificateTaken { client: a, name: "a".into() });
    assert_eq!(world.change(add("b", 1)), Err(taken.clone()));
    assert_eq!(world.change(rotate(1)), Err(taken.clone()), "nor for itself");

    world.change(rotate(4)).unwrap();
    world.change(finish(false)).unwrap();
    assert_eq!((owner(&world.state, 2), owner(&world.state, 4)), (Some(a), None));
    assert_eq!(world.change(rotate(4)), Err(taken));
}

#[test]
fn a_removed_client_loses_every_certificate_it_has() {
    let (mut world, _) = world();
    world.change(rotate(2)).unwrap();
    world.change(Change::RemoveClient { name: "a".into() }).unwrap();
    assert_eq!((owner(&world.state, 1), owner(&world.state, 2)), (None, None));
    for spki in [1, 2] {
        assert!(matches!(
            world.change(add("b", spki)),
            Err(ChangeError::Client(ClientError::CertificateTaken { .. }))
        ));
    }
}

#[test]
fn a_certificate_that_is_replaced_at_once_is_revoked() {
    let (mut world, _) = world();
    let replace = Change::UpdateClient { name: "a".into(), spki: Some(Fingerprint([2; 32])), rights: None };
    world.change(replace).unwrap();
    assert!(matches!(
        world.change(add("b", 1)),
        Err(ChangeError::Client(ClientError::CertificateTaken { .. }))
    ));
}

#[test]
fn limits_and_certificates_survive_a_snapshot() {
    let (mut world, a) = world();
    world.change(rotate(2)).unwrap();
    world.change(finish(true)).unwrap();
    world.change(rotate(3)).unwrap();
    world.change(Change::SetClientLimits { name: None, limits: Some(limits(5)) }).unwrap();
    let restored = State::from_snapshot(&world.state.snapshot()).unwrap();
    assert_eq!(restored.hash(), world.state.hash());
    assert_eq!(restored.registry().limits_of(a), limits(5));
    assert_eq!([1, 2, 3].map(|spki| owner(&restored, spki)), [None, Some(a), Some(a)]);
    let mut restored = World { state: restored, at: world.at };
    assert!(matches!(
        restored.change(add("b", 1)),
        Err(ChangeError::Client(ClientError::CertificateTaken { .. }))
    ));
}
