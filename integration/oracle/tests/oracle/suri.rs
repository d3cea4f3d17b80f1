//! Secret URIs give the keys that `sp_core::Pair::from_string_with_seed` gives, and are refused where it refuses.

use crate::random::Random;
use signonce_keys::{SecretKey, SecretString};
use signonce_protocol::{Algorithm, Scheme};
use signonce_substrate::{ECDSA, ED25519, SR25519};
use sp_core::{Pair, ecdsa, ed25519, sr25519};

const SCHEMES: [Scheme; 3] = [SR25519, ED25519, ECDSA];

/// The public key the reference derives, if it does.
pub fn theirs(scheme: Scheme, suri: &str, password: Option<&str>) -> Option<Vec<u8>> {
    fn public<P: Pair>(suri: &str, password: Option<&str>) -> Option<Vec<u8>> {
        let (pair, _) = P::from_string_with_seed(suri, password).ok()?;
        let public: &[u8] = &sp_core::crypto::ByteArray::to_raw_vec(&pair.public());
        Some(public.to_vec())
    }
    signonce_substrate::install();
    match scheme.algorithm() {
        Algorithm::Sr25519 => public::<sr25519::Pair>(suri, password),
        Algorithm::Ed25519 => public::<ed25519::Pair>(suri, password),
        Algorithm::Secp256k1Recoverable => public::<ecdsa::Pair>(suri, password),
        Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
    }
}

fn ours(scheme: Scheme, suri: &str, password: Option<&str>) -> Option<Vec<u8>> {
    let password = password.map(SecretString::from);
    let key = SecretKey::from_suri(scheme, &SecretString::from(suri), password.as_ref()).ok()?;
    Some(key.public().as_bytes().to_vec())
}

const WORDS: [&str; 6] = [
    "bottom drive obey lake curtain smoke basket hold race lonely fit walk",
    "legal winner thank year wave sausage worth useful legal winner thank year wave sausage wise",
    "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal will",
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
     abandon abandon abandon abandon abandon abandon admit",
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
     abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
    "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong",
];
const SEED: &str = "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
const PATHS: [&str; 16] = [
    "",
    "//Alice",
    "//Alice//stash",
    "/soft",
    "//0",
    "/0",
    "//007",
    "//18446744073709551615",
    "//18446744073709551616",
    "//-1",
    "//+5",
    "//polkadot//0/1//a b",
    "//a junction of more than thirty-one bytes",
    "/a soft junction of more than thirty-one bytes",
    "//ünïcode/☃",
    "//0x1234",
];
const PASSWORDS: [&str; 7] = ["", "///", "///pw", "///Substrate", "////a/b", "///p w", "///pässwörd"];

/// Every form, in a table.
pub fn forms() -> Vec<String> {
    let mut forms = Vec::new();
    for phrase in WORDS.into_iter().chain([SEED, ""]) {
        // Every path without password and every password without path; together they are told apart at the slashes.
        forms.extend(PATHS.iter().map(|path| format!("{phrase}{path}")));
        forms.extend(PASSWORDS.iter().map(|password| format!("{phrase}{password}")));
        forms.push(format!("{phrase}//Alice/a///pw"));
    }
    // Substrate reads nothing at all as the development phrase. We refuse it: nobody means that in a key file.
    forms.retain(|it| !it.is_empty());
    forms.sort();
    forms.dedup();
    forms
}

#[test]
fn every_form_of_a_uri_gives_the_references_key() {
    let mut keys = 0;
    for suri in forms() {
        for password in [None, Some(""), Some("override")] {
            for scheme in SCHEMES {
                let expected = theirs(scheme, &suri, password);
                assert_eq!(ours(scheme, &suri, password), expected, "{scheme} {suri:?} {password:?}");
                keys += usize::from(expected.is_some());
            }
        }
    }
    assert!(keys > 1000, "the table has too few that are keys: {keys}");
}

#[test]
fn what_the_reference_refuses_is_refused() {
    let upper = SEED.to_uppercase();
    let refused = [
        "/",
        "//",
        "//a/",
        "//a//",
        "a-b",
        "word",
        "///a\nb",
        "0x",
        "0x00",
        "hello world",
        &SEED[2..],
        &SEED[..65],
        &upper,
        "bottom drive obey lake curtain smoke basket hold race lonely fit",
        "bottom drive obey lake curtain smoke basket hold race lonely fit fit",
        "Bottom drive obey lake curtain smoke basket hold race lonely fit walk",
        "bottom\tdrive obey lake curtain smoke basket hold race lonely fit walk",
    ];
    for suri in refused {
        for scheme in SCHEMES {
            assert_eq!(theirs(scheme, suri, None), None, "the reference reads {suri:?}");
            assert_eq!(ours(scheme, suri, None), None, "{suri:?}");
        }
    }
}

#[test]
fn any_text_made_of_the_pieces_of_uris_is_read_alike() {
    const PIECES: [&str; 20] = [
        "/", "//", "///", "0x", " ", "  ", "a", "Alice", "0", "7", "_", "-", "é", "\n", SEED, WORDS[0],
        WORDS[5], "//Bob", "/soft", "///pw",
    ];
    let mut keys = 0;
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let suri: String = (0..=random.below(5)).map(|_| *random.pick(&PIECES)).collect();
        // sp_core strips a second 0x from a seed, by accident of its hex reader; nothing ever wrote one.
        if suri.starts_with("0x0x") {
            continue;
        }
        let password = *random.pick(&[None, None, Some(""), Some("pw")]);
        for scheme in SCHEMES {
            let expected = theirs(scheme, &suri, password);
            assert_eq!(ours(scheme, &suri, password), expected, "{scheme} {suri:?} {password:?}");
            keys += usize::from(expected.is_some());
        }
    }
    assert!(keys > 200, "the pieces make too few keys: {keys}");
}

#[test]
fn any_seed_gives_the_references_key() {
    for seed in 0..100 {
        let suri = crate::cases::hex(Random::new(seed).block());
        for scheme in SCHEMES {
            assert_eq!(ours(scheme, &suri, None), theirs(scheme, &suri, None), "{scheme} {suri}");
        }
    }
}
