//! Node identities: saved once, for the owner's eyes, and loaded only whole and with the right passphrase.

mod common;

use common::{CHAIN, id, key, secret};
use signonce_keys::{IdentityError, NodeIdentity, Recipient, ScryptWork, open, seal};
use signonce_substrate::{ED25519, GRANDPA};

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

fn saved(dir: &Path) -> (NodeIdentity, PathBuf) {
    let identity = NodeIdentity::generate();
    let path = dir.join("identity.age");
    identity.save(&path, &secret("open sesame"), ScryptWork::QUICK).unwrap();
    (identity, path)
}

fn load(path: &Path) -> Result<NodeIdentity, IdentityError> {
    NodeIdentity::load(path, &secret("open sesame"))
}

#[test]
fn an_identity_survives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, path) = saved(dir.path());
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.recipient(), identity.recipient());
    let key = key(ED25519, "//Alice");
    let id = id(GRANDPA, &key);
    let sealed = seal(&key, &id, &CHAIN, &[identity.recipient()]).unwrap();
    assert_eq!(open(&sealed, &loaded, &id, &CHAIN).unwrap().public(), key.public());
}

#[test]
fn the_file_is_for_its_owner_and_holds_no_secret_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path) = saved(dir.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let content = fs::read(&path).unwrap();
    assert!(content.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(!content.windows(14).any(|w| w.eq_ignore_ascii_case(b"AGE-SECRET-KEY")));
}

#[test]
fn the_plaintext_is_an_identity_file_of_age() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, path) = saved(dir.path());
    let passphrase = age::scrypt::Identity::new(secret("open sesame"));
    let plain = age::decrypt(&passphrase, &fs::read(path).unwrap()).unwrap();
    let text = String::from_utf8(plain).unwrap();
    let parsed: age::x25519::Identity = text.lines().find(|l| !l.starts_with('#')).unwrap().parse().unwrap();
    assert_eq!(parsed.to_public().to_string(), identity.recipient().to_string());
}

#[test]
fn an_identity_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, path) = saved(dir.path());
    let again = NodeIdentity::generate().save(&path, &secret("x"), ScryptWork::QUICK);
    assert!(matches!(again, Err(IdentityError::Exists(_))));
    assert_eq!(load(&path).unwrap().recipient(), identity.recipient());
}

#[test]
fn each_failure_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, path) = saved(dir.path());
    assert!(matches!(
        NodeIdentity::load(&path, &secret("open sesame\n")),
        Err(IdentityError::WrongPassphrase(_))
    ));
    assert!(matches!(load(&dir.path().join("other")), Err(IdentityError::Missing(_))));
    assert!(matches!(load(dir.path()), Err(IdentityError::Io { .. })));
    let nowhere = dir.path().join("no/such/dir");
    assert!(matches!(
        identity.save(&nowhere, &secret("x"), ScryptWork::QUICK),
        Err(IdentityError::Io { .. })
    ));
    let new = dir.path().join("new");
    assert!(matches!(
        identity.save(&new, &secret(""), ScryptWork::QUICK),
        Err(IdentityError::EmptyPassphrase)
    ));
    assert!(!new.exists());
}

#[test]
fn a_file_that_asks_for_hours_of_work_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path) = saved(dir.path());
    let content = fs::read(&path).unwrap();
    let line_end = content.windows(4).position(|w| w == b" 10\n").unwrap();
    let greedy = [&content[..line_end], b" 40\n", &content[line_end + 4..]].concat();
    fs::write(&path, greedy).unwrap();
    assert!(matches!(load(&path), Err(IdentityError::TooMuchWork { work: 40, .. })));
}

#[test]
fn what_this_program_did_not_write_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.age");
    let locked = |plain: &[u8]| {
        let mut recipient = age::scrypt::Recipient::new(secret("open sesame"));
        recipient.set_work_factor(1);
        let recipients = std::iter::once(&recipient as &dyn age::Recipient);
        let mut bytes = Vec::new();
        let mut writer =
            age::Encryptor::with_recipients(recipients).unwrap().wrap_output(&mut bytes).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap();
        bytes
    };
    let bare = age::x25519::Identity::generate();
    use signonce_keys::ExposeSecret as _;
    let bare_text = bare.to_string();
    let files = [
        Vec::new(),
        b"hello".to_vec(),
        bare_text.expose_secret().as_bytes().to_vec(),
        age::encrypt(&bare.to_public(), b"# signonce node identity 1\n").unwrap(),
        locked(b""),
        locked(bare_text.expose_secret().as_bytes()),
        locked(b"# signonce node identity 2\nx\n"),
        locked(b"# signonce node identity 1\n"),
        locked(b"# signonce node identity 1\nnothing\n"),
        locked(format!("# signonce node identity 1\n{}", bare_text.expose_secret()).as_bytes()),
    ];
    for (n, content) in files.into_iter().enumerate() {
        fs::write(&path, content).unwrap();
        let refused = load(&path).unwrap_err();
        assert!(matches!(refused, IdentityError::NotOurs { .. }), "file {n}: {refused}");
    }
}

#[test]
fn a_damaged_file_is_never_an_identity() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path) = saved(dir.path());
    let content = fs::read(&path).unwrap();
    // The work factor's digits are left alone: another work factor is tested above, and costs.
    let digits = content.windows(4).position(|w| w == b" 10\n").unwrap();
    for at in (0..content.len()).step_by(5).filter(|at| !(digits..digits + 4).contains(at)) {
        let mut changed = content.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert!(load(&path).is_err(), "byte {at} changed");
        fs::write(&path, &content[..at]).unwrap();
        assert!(load(&path).is_err(), "cut at byte {at}");
    }
}

#[test]
fn a_recipient_is_read_as_it_is_shown() {
    let recipient = NodeIdentity::generate().recipient();
    let text = recipient.to_string();
    assert!(text.starts_with("age1"));
    assert_eq!(text.parse::<Recipient>().unwrap(), recipient);
    let json = serde_json::to_string(&recipient).unwrap();
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Recipient>(&json).unwrap(), recipient);
    for wrong in ["", "age1", "age1qqq", &text[1..], &text[..text.len() - 1], &format!("{text}q")] {
        assert!(wrong.parse::<Recipient>().is_err(), "{wrong:?}");
    }
}
