//! Starting: what is refused, what is survived, and that dropping the shutdown future frees everybody.

use super::*;
use crate::testing::{Behaviour, FakeSigners, GENESIS, TempDir, vote};
use signonce_substrate::PARA;

use sp_core::{Pair as _, ed25519, sr25519};
use sp_keystore::Keystore as _;

fn params() -> RemoteSignerParams {
    RemoteSignerParams {
        remote_signer: vec!["https://127.0.0.1:1".into()],
        remote_signer_cert: Some("cert.pem".into()),
        remote_signer_key: Some("key.pem".into()),
        remote_signer_ca: Some("no-such-ca.pem".into()),
        remote_signer_wait: None,
    }
}

const SETUP: Setup<'static> = Setup {
    genesis: GENESIS.0,
    keystore_dir: None,
    data_dir: None,
    registry: None,
    votes: UnsignedVotes::EndTheVoter,
};

fn start_error(params: &RemoteSignerParams) -> String {
    RemoteSigner::start(params, SETUP).unwrap_err().to_string()
}

#[test]
fn every_missing_argument_is_named_with_its_variable() {
    assert!(start_error(&RemoteSignerParams::default()).contains("--remote-signer"));
    let without = [
        (
            RemoteSignerParams { remote_signer_cert: None, ..params() },
            "--remote-signer-cert",
            "SIGNONCE_REMOTE_SIGNER_CERT",
        ),
        (
            RemoteSignerParams { remote_signer_key: None, ..params() },
            "--remote-signer-key",
            "SIGNONCE_REMOTE_SIGNER_KEY",
        ),
        (
            RemoteSignerParams { remote_signer_ca: None, ..params() },
            "--remote-signer-ca",
            "SIGNONCE_REMOTE_SIGNER_CA",
        ),
    ];
    for (params, argument, env) in without {
        let error = start_error(&params);
        assert!(error.contains(argument) && error.contains(env), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    assert!(start_error(&params()).contains("no-such-ca.pem"));
}

#[test]
fn slashable_key_files_are_found_before_anything_else_is_tried() {
    let dir = std::env::temp_dir().join(format!("signonce-keystore-start-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("6772616e{}", "0a".repeat(32))), "\"phrase\"").unwrap();
    let error = RemoteSigner::start(&params(), Setup { keystore_dir: Some(&dir), ..SETUP }).unwrap_err();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(matches!(error, StartError::KeyFiles { .. }), "{error}");
}

#[test]
fn a_node_that_starts_without_signers_knows_the_keys_they_listed_last() {
    let dir = TempDir::new();
    let setup = Setup { data_dir: Some(dir.path()), ..SETUP };
    let gran = ed25519::Pair::from_seed(&[1; 32]);
    let para = sr25519::Pair::from_seed(&[2; 32]);
    let para_key = (para.public().0.to_vec(), sp_core::crypto::KeyTypeId(*b"para"));
    let gran_key = (gran.public().0.to_vec(), sp_core::crypto::key_types::GRANDPA);
    let there = Arc::new(FakeSigners::default().with_grandpa(&gran).with_sr25519(PARA, &para));
    let signer = RemoteSigner::with_signers(there, setup).unwrap();
    assert!(signer.0.asker.keys.wait_for_list(Duration::from_secs(60)));
    let began = Instant::now();
    while KeyFile::in_dir(dir.path(), GENESIS).read().len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "the list is not on disk");
        std::thread::yield_now();
    }
    drop(signer);

    let away = Arc::new(FakeSigners::default());
    away.behave(Behaviour::Away);
    let signer = RemoteSigner::with_signers(away.clone(), setup).unwrap();
    signer.wait_for_list(Duration::ZERO);
    assert!(signer.keystore().has_keys(std::slice::from_ref(&para_key)));
    assert!(
        !signer.keystore().has_keys(std::slice::from_ref(&gran_key)),
        "nobody said how far it has signed"
    );
    assert!(signer.rpc_keystore().has_keys(std::slice::from_ref(&gran_key)));
    // What the signers list when they are back is what counts.
    away.behave(Behaviour::Good);
    assert!(signer.0.asker.keys.wait_for_list(Duration::from_secs(60)));
    assert!(!signer.keystore().has_keys(std::slice::from_ref(&para_key)));
}

#[test]
fn dropping_the_shutdown_future_frees_a_vote_that_waits_for_the_signers() {
    let pair = ed25519::Pair::from_seed(&[1; 32]);
    let signers = Arc::new(FakeSigners::default().with_grandpa(&pair));
    signers.behave(Behaviour::Silent);
    let signer = RemoteSigner::with_signers(signers.clone(), SETUP).unwrap();
    assert!(signer.0.asker.keys.wait_for_list(Duration::from_secs(60)));
    let shutdown = signer.until_shutdown();
    let keystore = signer.keystore();
    let voting = std::thread::spawn(move || {
        keystore.ed25519_sign(sp_core::crypto::key_types::GRANDPA, &pair.public(), &vote(1, 1, [1; 32]))
    });
    signers.wait_until_asked();
    drop(shutdown);
    let result = voting.join().unwrap();
    assert!(matches!(result, Err(sp_keystore::Error::Unavailable)), "{result:?}");
    let keys = sp_core::crypto::key_types::GRANDPA;
    let later = signer.keystore().ed25519_sign(
        keys,
        &ed25519::Pair::from_seed(&[1; 32]).public(),
        &vote(1, 1, [1; 32]),
    );
    assert!(matches!(later, Err(sp_keystore::Error::Unavailable)), "{later:?}");
}
