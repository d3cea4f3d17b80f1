//! Tests of who asks, for which chain and with which key.

use super::*;
use signonce_core::{Change, Command, Floors, KeySelector, Outcome, RequestId, Right};
use signonce_protocol::{LogIndex, NodeId, Position};
use signonce_shared::tls::PeerIdentity;
use signonce_substrate::{
    ALL_KEY_TYPES, BABE, BABE_BLOCK, BABE_VRF, ChainFormat, ChainSettings, Limits, OWNERSHIP_PROOF, PARA,
    PARA_SIDE, SR25519,
};

const POLKADOT: ChainId = ChainId([1; 32]);
const KUSAMA: ChainId = ChainId([2; 32]);

fn public(n: u8) -> PublicKey {
    PublicKey::try_from(&[n; 32][..]).unwrap()
}

fn id(key_type: KeyType, n: u8) -> KeyId {
    KeyId { key_type, public: public(n) }
}

fn peer(n: u8) -> Caller {
    let spki = Fingerprint([n; 32]);
    Caller::Certificate(PeerIdentity { spki, client: Some("validator-x".into()), admin: None })
}

/// Keys 1 (armed babe), 2 (registered babe), 3 (armed babe of another group), 4 (removed babe) on Polkadot, 5 on
/// Kusama; client 1 may use group a, client 2 nothing.
fn state() -> State {
    signonce_shared::families::install();
    let settings =
        ChainSettings { format: ChainFormat::default(), slot_duration_ms: 6_000, limits: Limits::default() };
    let chain = |genesis, name: &str| Change::AddChain(settings.chain(genesis, name));
    let register = |n, chain, group: &str| Change::RegisterKey {
        id: id(BABE, n),
        scheme: SR25519,
        chain,
        group: Some(group.into()),
        sealed: vec![1].into(),
    };
    let floors = Floors::from(Position::new(BABE_BLOCK, &[1]).unwrap());
    let arm = |n| Change::ArmKey { id: id(BABE, n), floors: floors.clone() };
    let classes = vec![BABE_BLOCK, OWNERSHIP_PROOF];
    let right = Right { keys: KeySelector::Group("a".into()), chain: None, classes };
    let client = |n: u8, rights| Change::AddClient {
        name: format!("validator-{n}"),
        spki: Fingerprint([n; 32]),
        rights,
    };
    let changes = [
        chain(POLKADOT, "polkadot"),
        chain(KUSAMA, "kusama"),
        register(1, POLKADOT, "a"),
        register(2, POLKADOT, "a"),
        register(3, POLKADOT, "b"),
        register(4, POLKADOT, "a"),
        register(5, KUSAMA, "a"),
        arm(1),
        arm(3),
        Change::RemoveKey { id: id(BABE, 4) },
        client(1, vec![right]),
        client(2, vec![]),
    ];
    let mut state = State::new();
    for (n, change) in (1..).zip(changes) {
        let request = RequestId { node: NodeId(1), boot: 1, seq: n };
        let command = Command::Change { request, actor: "test".into(), time_ms: 1, change };
        let outcomes = state.apply(LogIndex(n), command).unwrap();
        assert!(matches!(&outcomes[..], [(_, Outcome::Change(Ok(_)))]), "{outcomes:?}");
    }
    state
}

#[test]
fn an_unknown_certificate_is_told_its_fingerprint_and_the_command_that_adds_it() {
    let error = client(&state(), &peer(9)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);
    let command = format!("signonce clients add validator-x --spki 0x{}", "09".repeat(32));
    assert!(error.message.contains(&command), "{}", error.message);
    assert_eq!(client(&state(), &peer(2)).unwrap().name, "validator-2");
}

#[test]
fn a_dialled_node_is_the_client_that_the_registry_says_while_that_is_one() {
    let mut state = state();
    let dialled = |n| Caller::Dialled { client: ClientId(n), address: "tcp://127.0.0.1:26659".into() };
    assert_eq!(client(&state, &dialled(1)).unwrap().name, "validator-1");
    assert_eq!(client(&state, &dialled(9)).unwrap_err().code, ErrorCode::Forbidden);
    let request = RequestId { node: NodeId(1), boot: 1, seq: 100 };
    let change = Change::RemoveClient { name: "validator-1".into() };
    let command = Command::Change { request, actor: "test".into(), time_ms: 1, change };
    state.apply(LogIndex(100), command).unwrap();
    let error = client(&state, &dialled(1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert!(error.message.contains("tcp://127.0.0.1:26659"), "{}", error.message);
    assert_eq!(client(&state, &Caller::Local { uid: 0 }).unwrap_err().code, ErrorCode::Forbidden);
}

#[test]
fn a_chain_is_found_by_name_and_by_genesis() {
    let state = state();
    for (named, found) in [
        (ChainRef::Name("polkadot".into()), Some(POLKADOT)),
        (ChainRef::Id(KUSAMA), Some(KUSAMA)),
        (ChainRef::Name("westend".into()), None),
        (ChainRef::Id(ChainId([9; 32])), None),
    ] {
        let got = chain(&state, &named);
        assert_eq!(got.as_ref().ok().map(|chain| chain.genesis), found, "{named}");
        if let Err(error) = got {
            assert_eq!(error.code, ErrorCode::WrongChain);
            assert!(error.message.contains("polkadot, kusama"), "{}", error.message);
        }
    }
}

#[test]
fn the_first_thing_that_is_wrong_with_a_key_is_told() {
    use ErrorCode::*;
    let state = state();
    let babe = (BABE_BLOCK, &[BABE][..]);
    let para = (PARA_SIDE, &[PARA][..]);
    let owner = (OWNERSHIP_PROOF, &ALL_KEY_TYPES[..]);
    let free = (BABE_VRF, &[BABE][..]);
    for (who, chain, n, work, wanted) in [
        (1, POLKADOT, 1, babe, Ok(id(BABE, 1))),
        (1, POLKADOT, 1, owner, Ok(id(BABE, 1))),
        (1, POLKADOT, 1, free, Err(Forbidden)),
        (2, POLKADOT, 1, babe, Err(Forbidden)),
        (1, POLKADOT, 3, babe, Err(Forbidden)),
        (1, POLKADOT, 2, babe, Err(KeyNotArmed)),
        (1, POLKADOT, 4, babe, Err(KeyNotArmed)),
        (1, POLKADOT, 1, para, Err(WrongKeyType)),
        (1, POLKADOT, 5, babe, Err(WrongChain)),
        (1, KUSAMA, 1, babe, Err(WrongChain)),
        (1, POLKADOT, 9, babe, Err(UnknownKey)),
    ] {
        let client = client(&state, &peer(who)).unwrap();
        let got = key(&state, &client, chain, &public(n), work);
        assert_eq!(got.as_ref().map_err(|e| e.code).copied(), wanted, "client {who}, key {n}, {work:?}");
        if let Err(error) = got {
            assert!(error.message.contains(&public(n).to_string()), "{}", error.message);
        }
    }
}
