//! Envelopes open for the members, as the key they were sealed as, and for nobody and nothing else.

mod common;

use common::{CHAIN, SCHEMES, id, key};
use proptest::prelude::*;
use signonce_keys::{NodeIdentity, Recipient, SealError, SealedKey, SecretKey, open, reseal, seal};
use signonce_protocol::{Algorithm, ChainId, KeyId, KeyType, PublicKey, Scheme, ToSign};
use signonce_substrate::{BABE, BEEFY, ED25519, GRANDPA, PARA, SR25519};
use std::io::Write as _;

fn usual_type(scheme: Scheme) -> KeyType {
    match scheme.algorithm() {
        Algorithm::Sr25519 => BABE,
        Algorithm::Ed25519 => GRANDPA,
        Algorithm::Secp256k1Recoverable => BEEFY,
        Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
    }
}

/// A BABE key, its name, and an envelope to one node.
fn sealed() -> (SecretKey, KeyId, NodeIdentity, SealedKey) {
    let key = key(SR25519, "//Alice");
    let id = id(BABE, &key);
    let node = NodeIdentity::generate();
    let sealed = seal(&key, &id, &CHAIN, &[node.recipient()]).unwrap();
    (key, id, node, sealed)
}

/// An envelope with a plaintext of the test's own.
fn forge(plain: &[u8], recipient: &Recipient) -> SealedKey {
    let recipient: age::x25519::Recipient = recipient.to_string().parse().unwrap();
    SealedKey::from_bytes(age::encrypt(&recipient, plain).unwrap()).unwrap()
}

/// The documented layout, written out by hand.
fn plaintext(
    version: u8,
    key_type: u16,
    public: &PublicKey,
    scheme: u16,
    chain: [u8; 32],
    material: &[u8],
) -> Vec<u8> {
    let mut plain = b"signonce-key".to_vec();
    plain.push(version);
    plain.extend(key_type.to_be_bytes());
    plain.push(public.as_bytes().len() as u8);
    plain.extend(public.as_bytes());
    plain.extend(scheme.to_be_bytes());
    plain.extend(chain);
    plain.extend(material);
    plain
}

#[test]
fn every_member_opens_the_key_and_signs_the_same_bytes() {
    let members: Vec<_> = (0..5).map(|_| NodeIdentity::generate()).collect();
    let recipients: Vec<_> = members.iter().map(NodeIdentity::recipient).collect();
    for scheme in SCHEMES {
        let key = key(scheme, "//Alice//seal");
        let id = id(usual_type(scheme), &key);
        let sealed = seal(&key, &id, &CHAIN, &recipients).unwrap();
        let expected = key.sign(ToSign::Message(b"m")).unwrap();
        for member in &members {
            let opened = open(&sealed, member, &id, &CHAIN).unwrap();
            assert_eq!((opened.scheme(), opened.public()), (scheme, key.public()));
            assert_eq!(opened.sign(ToSign::Message(b"m")).unwrap(), expected);
        }
    }
}

#[test]
fn a_hundred_members_fit_an_envelope_and_too_many_are_refused() {
    let (key, id, node, _) = sealed();
    let hundred = vec![node.recipient(); 100];
    let sealed = seal(&key, &id, &CHAIN, &hundred).unwrap();
    open(&sealed, &node, &id, &CHAIN).unwrap();
    assert_eq!(sealed.recipient_count(), 100);
    assert_eq!(SealedKey::from_bytes(b"-> X25518 ".to_vec()).unwrap().recipient_count(), 0);
    let crowd = vec![node.recipient(); 300];
    assert!(matches!(seal(&key, &id, &CHAIN, &crowd), Err(SealError::TooLong(_))));
    assert!(matches!(SealedKey::from_bytes(vec![0; SealedKey::MAX_BYTES + 1]), Err(SealError::TooLong(_))));
}

#[test]
fn a_node_that_is_no_recipient_cannot_open() {
    let (_, id, _, sealed) = sealed();
    let stranger = NodeIdentity::generate();
    assert!(
        matches!(open(&sealed, &stranger, &id, &CHAIN), Err(SealError::NotForThisNode(found)) if found == id)
    );
}

#[test]
fn an_envelope_in_the_place_of_another_is_refused() {
    let (key, id, node, sealed) = sealed();
    let other = KeyId { public: common::key(SR25519, "//Bob").public(), ..id };
    assert!(
        matches!(open(&sealed, &node, &other, &CHAIN), Err(SealError::AnotherKey { found, .. }) if found == id)
    );
    // The same public key under another key type is another key.
    let para = KeyId { key_type: PARA, ..id };
    assert!(matches!(open(&sealed, &node, &para, &CHAIN), Err(SealError::AnotherKey { .. })));
    let chain = ChainId([7; 32]);
    assert!(
        matches!(open(&sealed, &node, &id, &chain), Err(SealError::AnotherChain { found, .. }) if found == CHAIN)
    );
    drop(key);
}

#[test]
fn sealing_checks_name_scheme_and_recipients() {
    let (key, id, node, _) = sealed();
    let to = [node.recipient()];
    let bob = KeyId { public: common::key(SR25519, "//Bob").public(), ..id };
    assert!(matches!(seal(&key, &bob, &CHAIN, &to), Err(SealError::NotThatKey { .. })));
    let gran = KeyId { key_type: GRANDPA, ..id };
    assert!(matches!(seal(&key, &gran, &CHAIN, &to), Err(SealError::WrongScheme { .. })));
    assert!(matches!(seal(&key, &id, &CHAIN, &[]), Err(SealError::NoRecipients)));
}

#[test]
fn a_new_set_of_members_opens_a_resealed_key_and_the_old_node_does_not() {
    let (key, id, old, sealed) = sealed();
    let new = NodeIdentity::generate();
    let resealed = reseal(&sealed, &old, &id, &CHAIN, &[new.recipient()]).unwrap();
    let opened = open(&resealed, &new, &id, &CHAIN).unwrap();
    assert_eq!(opened.sign(ToSign::Message(b"m")), key.sign(ToSign::Message(b"m")));
    assert!(matches!(open(&resealed, &old, &id, &CHAIN), Err(SealError::NotForThisNode(_))));
}

#[test]
fn the_layout_is_the_documented_one() {
    let (key, id, node, _) = sealed();
    let secret = schnorrkel::MiniSecretKey::from_bytes(&common::bytes(
        "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a",
    ))
    .unwrap()
    .expand(schnorrkel::ExpansionMode::Ed25519);
    let plain = plaintext(1, 0x0100, &id.public, 0x0100, CHAIN.0, &secret.to_bytes());
    let opened = open(&forge(&plain, &node.recipient()), &node, &id, &CHAIN).unwrap();
    assert_eq!(opened.sign(ToSign::Message(b"m")), key.sign(ToSign::Message(b"m")));
}

#[test]
fn a_forged_plaintext_is_refused_for_what_is_wrong_with_it() {
    let (_, id, node, _) = sealed();
    let good = schnorrkel::MiniSecretKey::from_bytes(&common::bytes(
        "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a",
    ))
    .unwrap()
    .expand(schnorrkel::ExpansionMode::Ed25519)
    .to_bytes();
    let of = |material: &[u8]| plaintext(1, 0x0100, &id.public, 0x0100, CHAIN.0, material);
    let refusal = |plain: &[u8]| open(&forge(plain, &node.recipient()), &node, &id, &CHAIN).unwrap_err();

    let mut no_nonce_seed = good;
    no_nonce_seed[32..].fill(0);
    let other = schnorrkel::MiniSecretKey::from_bytes(&[5; 32]).unwrap();
    let other = other.expand(schnorrkel::ExpansionMode::Ed25519).to_bytes();

    let damaged = [
        vec![],
        b"something else altogether".to_vec(),
        b"signonce-key".to_vec(),
        of(&[]),
        of(&good[..63]),
        [&of(&good)[..], &[0]].concat(),
        [&of(&good)[..], &[0; 600]].concat(),
        of(&[0; 64]),
        of(&no_nonce_seed),
        plaintext(1, 0x0100, &id.public, 0x0109, CHAIN.0, &good),
        plaintext(1, 0x0109, &id.public, 0x0100, CHAIN.0, &good),
        // A family that this program does not know.
        plaintext(1, 0xfe00, &id.public, 0x0100, CHAIN.0, &good),
        plaintext(1, 0x0100, &id.public, 0xfe00, CHAIN.0, &good),
    ];
    for plain in damaged {
        let refused = refusal(&plain);
        assert!(matches!(refused, SealError::Damaged { .. }), "{plain:02x?}: {refused}");
    }
    assert!(matches!(refusal(&of(&other)), SealError::NotThatKey { .. }));
    assert!(matches!(
        refusal(&plaintext(2, 0x0100, &id.public, 0x0100, CHAIN.0, &good)),
        SealError::UnknownVersion { version: 2, .. }
    ));
    assert!(matches!(
        refusal(&plaintext(1, 0x0100, &id.public, 0x0101, CHAIN.0, &good[..32])),
        SealError::WrongScheme { scheme: ED25519, .. }
    ));
}

#[test]
fn a_passphrase_locked_file_is_no_envelope() {
    let (_, id, node, _) = sealed();
    let mut recipient = age::scrypt::Recipient::new(common::secret("pw"));
    recipient.set_work_factor(1);
    let mut bytes = Vec::new();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
    let mut writer = encryptor.wrap_output(&mut bytes).unwrap();
    writer.write_all(b"x").unwrap();
    writer.finish().unwrap();
    let refused = open(&SealedKey::from_bytes(bytes).unwrap(), &node, &id, &CHAIN);
    assert!(matches!(refused, Err(SealError::Damaged { .. })));
}

#[test]
fn no_byte_of_an_envelope_can_be_changed_or_missed() {
    let (_, id, node, sealed) = sealed();
    let bytes = sealed.as_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let changed = SealedKey::from_bytes(changed).unwrap();
        assert!(open(&changed, &node, &id, &CHAIN).is_err(), "byte {at} changed");
        let cut = SealedKey::from_bytes(bytes[..at].to_vec()).unwrap();
        assert!(open(&cut, &node, &id, &CHAIN).is_err(), "cut at byte {at}");
    }
    let longer = SealedKey::from_bytes([bytes, &[0]].concat()).unwrap();
    assert!(open(&longer, &node, &id, &CHAIN).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (_, id, node, _) = sealed();
        prop_assert!(open(&SealedKey::from_bytes(bytes).unwrap(), &node, &id, &CHAIN).is_err());
    }

    #[test]
    fn any_plaintext_is_refused_without_a_panic(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, id, node, _) = sealed();
        let whole = [&b"signonce-key\x01"[..], &plain].concat();
        for plain in [&plain, &whole] {
            prop_assert!(open(&forge(plain, &node.recipient()), &node, &id, &CHAIN).is_err());
        }
    }
}
