//! Starting: what is refused, what is survived, and that dropping the shutdown future frees everybody.

use super::*;
use crate::testing::{Behaviour, FakeSigners, GENESIS, vote};
use sp_core::{Pair as _, ed25519};
use sp_keystore::Keystore as _;

fn params() -> RemoteSignerParams {
    RemoteSignerParams {
        remote_signer: vec!["https://127.0.0.1:1".into()],
        remote_signer_cert: Some("cert.pem".into()),
        remote_signer_key: Some("key.pem".into()),
        remote_signer_ca: Some("no-such-ca.pem".into()),
    }
}

const SETUP: Setup<'static> = Setup { genesis: [1; 32], keystore_dir: None, registry: None };

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
fn dropping_the_shutdown_future_frees_a_vote_that_waits_for_the_signers() {
    let pair = ed25519::Pair::from_seed(&[1; 32]);
    let signers = Arc::new(FakeSigners::default().with_grandpa(&pair));
    signers.behave(Behaviour::Silent);
    let signer = RemoteSigner::with_signers(signers.clone(), GENESIS, None).unwrap();
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
