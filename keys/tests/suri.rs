//! Secret URIs give the keys Substrate gives, and refuse the rest without a word of what was in them.

mod common;

use common::{SCHEMES, key, public, secret};
use proptest::prelude::*;
use signonce_keys::{SecretKey, SuriError};
use signonce_protocol::Scheme;
use signonce_substrate::{ECDSA, ED25519, SR25519};

const PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
const ABANDON: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

fn from(scheme: Scheme, suri: &str, password: Option<&str>) -> Result<SecretKey, SuriError> {
    let password = password.map(secret);
    SecretKey::from_suri(scheme, &secret(suri), password.as_ref())
}

#[test]
fn the_development_keys_are_substrates() {
    let table = [
        (SR25519, "//Alice", "0xd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"),
        (SR25519, "//Bob", "0x8eaf04151687736326c9fea17e25fc5287613693c912909cb226aa4794f26a48"),
        (SR25519, "//Alice//stash", "0xbe5ddb1579b72e84524fc29e78609e3caf42e85aa118ebfe0b0ad404b5bdd25f"),
        (SR25519, "/Alice", "0xd6c71059dbbe9ad2b0ed3f289738b800836eb425544ce694825285b958ca755e"),
        (ED25519, "//Alice", "0x88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee"),
        (ED25519, "//Bob", "0xd17c2d7823ebf260fd138f2d7e27d114c0145d968b5ff5006125f2414fadae69"),
        (ECDSA, "//Alice", "0x020a1091341fe5664bfa1782d5e04779689068c916b04cb365ec3153755684d9a1"),
        (ECDSA, "//Charlie", "0x0389411795514af1627765eceffcbd002719f031604fadd7d188e2dc585b4e1afb"),
    ];
    for (scheme, suri, expected) in table {
        assert_eq!(key(scheme, suri).public(), public(expected), "{scheme} {suri}");
        let spelled_out = format!("{PHRASE}{suri}");
        assert_eq!(key(scheme, &spelled_out).public(), public(expected), "{scheme} {suri} spelled out");
    }
}

#[test]
fn a_phrase_and_password_give_the_seed_substrate_bip39_gives() {
    // Vectors of the crate substrate-bip39; the first 32 of its 64 bytes are the seed.
    let table = [
        (ABANDON, "0x44e9d125f037ac1d51f0a7d3649689d422c2af8b1ec8e00d71db4d7bf6d127e3"),
        (
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "0x4313249608fe8ac10fd5886c92c4579007272cb77c21551ee5b8d60b78041685",
        ),
    ];
    for (phrase, seed) in table {
        for scheme in SCHEMES {
            let expected = key(scheme, seed).public();
            assert_eq!(key(scheme, &format!("{phrase}///Substrate")).public(), expected);
            assert_eq!(from(scheme, phrase, Some("Substrate")).unwrap().public(), expected);
            assert_eq!(
                from(scheme, &format!("{phrase}///other"), Some("Substrate")).unwrap().public(),
                expected
            );
            assert_ne!(key(scheme, phrase).public(), expected);
        }
    }
}

#[test]
fn phrases_of_every_length_are_read() {
    for words in [12, 15, 18, 21, 24] {
        let entropy = vec![7; words * 4 / 3];
        let phrase = bip39::Mnemonic::from_entropy(&entropy).unwrap().to_string();
        assert_eq!(phrase.split(' ').count(), words);
        for scheme in SCHEMES {
            key(scheme, &phrase);
        }
        let one_less = phrase.rsplit_once(' ').unwrap().0;
        assert_eq!(from(SR25519, one_less, None).unwrap_err(), SuriError::Phrase);
    }
}

#[test]
fn a_password_has_no_effect_on_a_raw_seed() {
    let seed = "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
    let alice = key(SR25519, "//Alice").public();
    for suri in [seed.to_owned(), seed.to_uppercase().replace("0X", "0x"), format!("{seed}///password")] {
        assert_eq!(from(SR25519, &suri, None).unwrap().public(), alice);
        assert_eq!(from(SR25519, &suri, Some("other")).unwrap().public(), alice);
    }
}

#[test]
fn an_empty_password_is_no_password() {
    for scheme in SCHEMES {
        let plain = key(scheme, PHRASE).public();
        assert_eq!(key(scheme, &format!("{PHRASE}///")).public(), plain);
        assert_eq!(from(scheme, &format!("{PHRASE}///pw"), Some("")).unwrap().public(), plain);
    }
}

#[test]
fn soft_junctions_are_for_sr25519() {
    for scheme in SCHEMES {
        match from(scheme, "//a/b", None) {
            Ok(_) => assert_eq!(scheme, SR25519),
            Err(e) => assert_eq!(e, SuriError::SoftJunction(scheme)),
        }
    }
}

#[test]
fn importing_a_soft_key_twice_gives_one_signer() {
    use signonce_protocol::ToSign;
    let sign = || key(SR25519, "//Alice/a/b").sign(ToSign::Message(b"m")).unwrap();
    assert_eq!(sign(), sign());
}

#[test]
fn what_is_no_uri_is_refused_with_its_reason() {
    let table = [
        ("", SuriError::Empty),
        ("0x", SuriError::Seed),
        ("0x00", SuriError::Seed),
        ("0xzz5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0", SuriError::Seed),
        ("e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a", SuriError::Phrase),
        ("hello world", SuriError::Phrase),
        (
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon",
            SuriError::Phrase,
        ),
        ("//Alice/", SuriError::Format),
        ("hello-world", SuriError::Format),
    ];
    for (suri, expected) in table {
        assert_eq!(from(SR25519, suri, None).unwrap_err(), expected, "{suri:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(suri in ".{0,200}", password in proptest::option::of(".{0,20}")) {
        for scheme in SCHEMES {
            let _ = from(scheme, &suri, password.as_deref());
        }
    }

    #[test]
    fn any_path_of_hard_junctions_gives_a_key(path in proptest::collection::vec("[^/]{1,40}", 0..5)) {
        let suri = format!("0x{}{}", "11".repeat(32), path.iter().map(|p| format!("//{p}")).collect::<String>());
        for scheme in SCHEMES {
            let derived = key(scheme, &suri);
            prop_assert_eq!(derived.scheme(), scheme);
            if !path.is_empty() {
                prop_assert_ne!(derived.public(), key(scheme, &format!("0x{}", "11".repeat(32))).public());
            }
        }
    }

    #[test]
    fn numbers_are_the_same_junction_however_they_are_written(n: u64) {
        prop_assert_eq!(
            key(SR25519, &format!("//{n}")).public(),
            key(SR25519, &format!("//0{n}")).public()
        );
    }
}
